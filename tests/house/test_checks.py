"""What `make check` holds the code to: the same everywhere, and no finding silenced without a reason."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from types import SimpleNamespace

import pytest
import yaml
from conftest import ROOT
from packaging.specifiers import SpecifierSet

from pastcli.vectors.numbers import sources


def test_what_silences_mypy_has_a_code_and_a_reason_and_is_rare():
    silenced = [
        (path, line)
        for top in ("pastcli", "plugins", "examples")
        for path in sorted((ROOT / top).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#\s*type:\s*ignore", line)
    ]
    bare = [
        f"{path}: {line.strip()}" for path, line in silenced if not re.search(r"# type: ignore\[[\w-]+\]  # \S", line)
    ]
    assert not bare, "write `# type: ignore[code]  # reason`"
    assert len(silenced) < 10, [line.strip() for _, line in silenced]


def test_make_ci_and_pre_commit_check_the_same():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck:")[2].partition("\n\n")[0]
    checks = {" ".join(words.split()[:2]).removesuffix(" .") for words in re.findall(r"python (?:-m )?(.+)", recipe)}
    assert {"ruff check", "ruff format", "mypy", "docs/generate.py --check"} == checks
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [re.sub(r".*/python (-m )?", "", hook["entry"]) for hook in hooks]
    assert {" ".join(entry.split()[:2]) for entry in entries} == checks
    assert "\nmake check\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


def test_the_pinned_versions_install_on_every_python_that_is_promised():
    """Debian 12 has Python 3.11.2: a pin that wants 3.11.5 would stop its `make` before anything is installed."""
    promised = ("3.11.0", "3.11.2", "3.12.0", "3.13.0")
    too_narrow = []
    for line in (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        try:
            found = distribution(name) if version else None
        except PackageNotFoundError:
            continue
        if found is not None and found.version == version:
            wanted = SpecifierSet(found.metadata.get("Requires-Python") or "")
            too_narrow += [f"{name}=={version}: {wanted}" for python in promised if not wanted.contains(python)]
    assert not too_narrow


def test_what_users_get_and_the_tests_do_not_run_on_is_listed(tmp_path, monkeypatch, capsys):
    """transformers 5.24 was out, and broke past for whoever installed it, while every test ran on 5.23."""
    spec = importlib.util.spec_from_file_location("newest", ROOT / ".ci" / "newest.py")
    newest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(newest)
    report = {"install": [{"metadata": {"name": name, "version": version}} for name, version in TAKEN]}
    monkeypatch.setattr(
        newest.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=json.dumps(report))
    )
    monkeypatch.setattr(newest, "ROOT", tmp_path)
    (tmp_path / ".ci").mkdir()
    for pins, code, told in (
        ("torch==2.13.0 # CUDA\nPyYAML==6.0.4\n", 0, ["torch 2.13.0 -> 2.15.0 (stays behind: CUDA)"]),
        ("transformers==5.23.0\nabsent==1\n", 1, ["transformers 5.23.0 -> 5.24.0"]),
        ("transformers==5.24.0\npydantic_core==2.50.5\n", 0, []),
    ):
        (tmp_path / ".ci" / "constraints.txt").write_text(f"# what is tested\n{pins}")
        assert newest.main() == code and capsys.readouterr().out.splitlines() == told


TAKEN = [("torch", "2.15.0"), ("pyyaml", "6.0.4"), ("transformers", "5.24.0"), ("pydantic-core", "2.50.5")]


def test_the_kernels_know_all_their_sources():
    folder = ROOT / "pastcli" / "vectors" / "numbers"
    assert {path.name for path in folder.glob("*.[ch]")} == set(sources.NAMES)
    assert len(sources.digest(folder)) == 64 and sources.digest(folder / "nowhere") == ""


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_builds_anew_when_the_compiled_sources_changed(tmp_path):
    numbers = tmp_path / "pastcli" / "vectors" / "numbers"
    shutil.copytree(ROOT / "pastcli" / "vectors" / "numbers", numbers, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", "setup.py", ".ci/constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    ready = tmp_path / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))

    def would() -> str:
        return subprocess.run(["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "pip install" not in would()
    for changed in ("adding.c", "kernels.h", "sources.py"):
        os.utime(numbers / changed, (1_000_000_100, 1_000_000_100))
        assert "pip install" in would(), changed
        os.utime(numbers / changed, (1_000_000_000, 1_000_000_000))
    assert "pip install" not in would()
