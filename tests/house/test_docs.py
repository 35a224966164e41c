"""What the documents say of the program is made from the program, and is made again when it changes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT


def generate(*words):
    return subprocess.run([sys.executable, ROOT / "docs" / "generate.py", *words], capture_output=True, text=True)


def test_commands_man_page_and_picture_are_up_to_date():
    done = generate("--check")
    assert done.returncode == 0, f"run: python docs/generate.py\n{done.stdout}"


def test_every_command_and_setting_is_in_the_reference():
    from pastcli import cli, config

    text = (ROOT / "docs" / "COMMANDS.md").read_text()
    for title in cli.COMMANDS:
        assert f"## past {title}" in text
    for stage, cls in config.STAGES.items():
        assert f"### [{stage}]" in text
        assert all(f"| `{name}` |" in text for name in cls.__dataclass_fields__)


def test_every_function_that_the_method_names_is_there():
    text = (ROOT / "docs" / "METHOD.md").read_text()
    named = re.findall(r"`(pastcli[\w.]*):(\w+)`", text)
    assert len(named) > 25
    for module, name in named:
        assert hasattr(import_module(module), name), f"{module}:{name}"


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))), "CONTRIBUTING.md"]
)
def test_links_between_the_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text()):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_the_readme_fits_on_a_few_screens():
    assert (ROOT / "README.md").read_text().count("\n") < 150
