"""What the documents say of the program is made from the program, and is made again when it changes."""

from __future__ import annotations

import subprocess
import sys

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
