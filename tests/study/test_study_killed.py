"""kill -9 at any step of a study, its own and those of the commands that it starts: it goes on, and nothing is torn or left about.

As `test_kill_publishing`: a run gives a still of the workspace before each step, and in each of them the study is run again.
"""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from study_tools import records

STUDY = """
title = "tiny"
base = "base"
seeds = [0]
[target]
documents = "target.json"
[sft]
mix = ["none"]
epochs = 1
batch_tokens = 200
precision = "fp32"
[eval]
max_new_tokens = 2
"""
ARMS = """
[vectors.v]
kind = "file"
file = "skill.safetensors"
[arms.SFT]
[arms."SFT + v"]
add = ["v"]
test = true
"""
EVERY = 4
"""Of the steps (95 or so) one of so many is gone on from: each takes some seconds."""

WORDS = ("study", "run", "study.toml", "-o", "out")


@pytest.fixture
def home(past, make_tiny, workspace, monkeypatch):
    folder = workspace / "home"
    base = make_tiny(folder / "base")
    make_tiny(folder / "tuned", seed=1)
    past("extract", "--sft", base, "--rl", "tuned", "-o", "skill.safetensors", cwd=folder)
    (folder / "target.json").write_text(json.dumps(records("Harsk", 3, questions=1)))
    (folder / "study.toml").write_text('reference = "base"' + STUDY + "[arms.base]\nmodel = 'base'\n")
    past(*WORDS, cwd=folder)  # an old result, which the new one replaces
    (folder / "study.toml").write_text(STUDY + ARMS)
    monkeypatch.chdir(folder)
    return folder


def results(folder):
    """The arms of the results there, which are whole with their table at every step."""
    document = json.loads((folder / "out" / "results.json").read_text())
    assert document["title"] == "tiny" and (folder / "out" / "table.md").read_text().endswith("\n")
    return {arm: found for arm, found in document["arms"].items() if found}


def answers(found):
    return {arm: [one["answers"] for by in seeds.values() for one in by.values()] for arm, seeds in found.items()}


def lies_about(folder):
    """What no command needs any more."""
    runs = folder / "runs"
    torn = [path for path in folder.rglob("*") if path.name.endswith((".writing", ".tmp")) or ".past-" in path.name]
    held = [path for name in ("claims", "making") for path in (runs / ".study" / name).glob("[!.]*")]
    begun = [path for path in (runs / ".partial").iterdir() if not path.name.startswith(".new-")]
    passing = [path for path in runs.iterdir() if path.name.startswith(("inject", "eval", "answers"))]
    return [str(path.relative_to(folder)) for path in (*torn, *held, *begun, *passing)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("place", "left"),
    [("pastcli.study.execute:read_lines 1", "answers"), ("pastcli.study.execute:_one 4", "inject")],
    ids=["answers read, their run not removed", "an injected model asked, not removed"],
)
def test_what_a_killed_study_did_not_come_to_remove_goes_when_it_goes_on(past, begin, home, place, left):
    """A run of `eval` stayed for ever, and an injected model of the size of the base."""
    with begin(*WORDS, env={"DYING": place}) as command:
        assert command.wait().returncode == -signal.SIGKILL
    assert any(left in path for path in lies_about(home)), lies_about(home)
    past(*WORDS, cwd=home, timeout=600)
    assert list(results(home)) == ["SFT", "SFT + v"] and not lies_about(home)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_study_killed_at_any_step_goes_on_and_leaves_nothing_about(past, home, workspace):
    stills = workspace / "stills"
    stills.mkdir()
    old = results(home)
    past(*WORDS, cwd=home, env={"STILLS": str(stills)}, timeout=1800)
    new = results(home)
    assert list(new) == ["SFT", "SFT + v"] and list(old) == ["base"] and not lies_about(home)
    taken = sorted(stills.iterdir())
    assert len(taken) >= 60
    for still in taken[EVERY - 1 :: EVERY]:
        assert list(results(still)) in ([], ["base"], ["SFT"], ["SFT", "SFT + v"])
        assert "Traceback" not in past("runs", "list", cwd=still).stderr
        past(*WORDS, cwd=still, timeout=900)
        assert answers(results(still)) == answers(new) and not lies_about(still), still.name
        shutil.rmtree(still)
