"""A workspace, or the environment it was made in, is moved: what it names is found where it is now."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import pastcli
from pastcli import packaged

BUILT_IN = "package:pastcli/ingest/qa_format.jsonl"


def test_what_a_package_brings_is_named_by_it(tmp_path):
    import pytest as other

    own = Path(pastcli.__file__).resolve().parent / "ingest" / "qa_format.jsonl"
    assert packaged.named(own) == BUILT_IN and packaged.located(BUILT_IN) == own
    file = Path(other.__file__).resolve()
    assert packaged.named(file) == "package:pytest/__init__.py" and packaged.located(packaged.named(file)) == file
    assert packaged.named(tmp_path / "mine.jsonl") == "" and packaged.located(str(tmp_path)) is None
    for text in ("package:nowhere_to_be_found/x.jsonl", "package:../../etc/passwd", "package:"):
        assert packaged.located(text) == Path(text)


def test_a_stranger_in_a_folder_called_site_packages_is_no_package(tmp_path):
    folder = tmp_path / "site-packages" / "stranger"
    folder.mkdir(parents=True)
    assert packaged.named(folder / "x.txt") == ""


@pytest.fixture
def trained(past, workspace, tiny_model):
    """A workspace with all in it: base, documents, and a model that learnt the built-in pairs as well."""
    home = workspace / "first"
    shutil.copytree(tiny_model, home / "base")
    (home / "docs").mkdir()
    (home / "docs" / "a.txt").write_text("The bridge over a river founded in 1843.\n")
    past("-C", home, "sft", home / "docs", "--base", home / "base", "--epochs", "1", "--name", "one")
    return home


def test_another_environment_has_the_package_s_file_too(trained, tmp_path, monkeypatch):
    """The workspace copied, the first deleted, `past` installed elsewhere: the manifest means the file that is there now."""
    assert BUILT_IN in [
        one["path"] for one in json.loads((trained / "runs/one/manifest.json").read_text())["inputs"].values()
    ]
    moved = trained.with_name("second")
    trained.rename(moved)
    site = tmp_path / "site"
    shutil.copytree(ROOT / "pastcli", site / "pastcli", ignore=shutil.ignore_patterns("__pycache__"))
    shown = subprocess.run(
        [sys.executable, "-m", "pastcli", "-C", str(moved), "runs", "show", "one", "--json"],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [one["path"] for one in json.loads(shown.stdout)["inputs"].values()]
    assert str(site / "pastcli" / "ingest" / "qa_format.jsonl") in paths
    assert all(path.startswith((str(site), str(moved))) for path in paths), paths


def test_manifests_of_before_are_read_and_nothing_in_the_workspace_names_the_old_place(past, trained):
    """Also what was made of what was made, and what is meant to be shared: model cards, a study's file, results and reports."""
    manifest = trained / "runs" / "one" / "manifest.json"
    old = json.loads(manifest.read_text())
    for entry in old["inputs"].values():
        if entry["path"] == BUILT_IN:
            entry["path"] = str(packaged.located(BUILT_IN))
    manifest.write_text(json.dumps(old))
    (trained / "q.jsonl").write_text('{"question": "When?", "answer": "1843", "doc": "a"}\n')
    ask = ("--questions", trained / "q.jsonl", "--max-new-tokens", 2)
    past("-C", trained, "extract", "--sft", trained / "base", "--rl", "one", "--name", "skill")
    past("-C", trained, "inject", "--vector", "skill", "--target", "one", "--name", "made")
    past("-C", trained, "eval", *ask, "--model", "a=one", "--model", "b=made", "--name", "told")
    past("-C", trained, "runs", "report", "told", "-o", trained / "report.md")
    text = " ".join(f"The bridge {n} over a river founded in {1500 + n}." for n in range(120))
    (trained / "manual.txt").write_text(text)
    skill = trained / "runs" / "skill" / "skill.safetensors"
    words = (
        "study",
        "init",
        trained / "manual.txt",
        "--base",
        trained / "base",
        "--vector",
        skill,
        "-o",
        trained / "study",
    )
    past("-C", trained, *words)
    moved = trained.with_name("second")
    trained.rename(moved)
    for name in ("one", "made"):
        assert name in past("-C", moved, "runs", "show", name).stdout
    past("-C", moved, "inject", "--vector", "skill", "--target", "one", "--name", "again")
    past("-C", moved, "eval", "--questions", moved / "q.jsonl", "--model", "a=again", "--max-new-tokens", 2)
    past("-C", moved, "study", "run", moved / "study" / "study.toml", "--dry-run")
    own = ("argv", "config")  # what was typed, and the settings as they were given
    for file in moved.rglob("*"):
        if (
            file.suffix in (".json", ".md", ".toml", ".jsonl")
            and file.name != "config.toml"
            and "again" not in str(file)
        ):
            text = file.read_text(encoding="utf-8")
            if file.name == "manifest.json":
                text = json.dumps({key: value for key, value in json.loads(text).items() if key not in own})
            assert str(trained) not in text, file
