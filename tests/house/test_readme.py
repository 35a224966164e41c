"""The README's commands are run here, in order, exactly as printed (with training made short by the environment)."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import QUICKSTART, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")

SHORT = {
    "PAST_SFT_EPOCHS": "0.6",
    "PAST_SFT_LR": "1e-3",
    "PAST_RL_STEPS": "2",
    "PAST_RL_PROMPTS_PER_STEP": "12",
    "PAST_RL_NUM_GENERATIONS": "8",
    "PAST_RL_MAX_NEW_TOKENS": "8",
    "PAST_EVAL_LIMIT": "6",
    "PAST_EVAL_MAX_NEW_TOKENS": "6",
    "PAST_AGENT_MAX_TURNS": "2",
    "PAST_AGENT_MAX_NEW_TOKENS": "32",
}


def blocks() -> list[list[str]]:
    """The command lines of each fenced sh block, comments cut off."""
    found = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [[line.split("  #")[0].strip() for line in block.splitlines() if line.strip()] for block in found]


def commands(program: str) -> list[str]:
    return [line for block in blocks() for line in block if line.split()[0] == program]


def test_every_command_in_the_readme_is_one_this_test_runs():
    assert {line.split()[0] for block in blocks() for line in block} == {"make", "past"}
    assert commands("make") and commands("past")


@pytest.mark.parametrize("line", commands("make"))
def test_make_targets_of_the_readme_exist(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_the_readme_path_works_as_typed(workspace, past):
    for line in commands("past"):
        # The source needs enough SFT that some answer earns a reward, or RL has nothing to learn; the target needs none.
        epochs = "0.05" if "target" in line else SHORT["PAST_SFT_EPOCHS"]
        words = shlex.split(line.replace("$EX", str(QUICKSTART)))
        past(*words[1:], env={**SHORT, "PAST_SFT_EPOCHS": epochs})
    assert Path(workspace, "skill.safetensors").is_file()
