"""What `make check` holds the code to: the same everywhere, and no finding silenced without a reason."""

from __future__ import annotations

import re

import yaml
from conftest import ROOT


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
