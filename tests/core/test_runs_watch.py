"""`past runs watch` as somebody at a terminal sees it: drawn over itself, whole at any width, gone or left as it should be."""

import contextlib
import json
import time
from pathlib import Path

import pytest
from screens import Terminal

from pastcli import curves, runs
from pastcli.config import RlConfig

LONG = "Question: which of the rivers of Velmora, 日本語, flows by the bridge that the seven wizards founded?"


def grow(folder, steps):
    """Write a training's files as they are after so many steps."""
    log = [
        {
            "step": step,
            "loss": -1 / step,
            "reward": step / 50,
            "tokens_per_second": 120.0,
            "episodes/first_calls_right": 0.5,
            "lr": 3e-5,
            "seconds": 2.0,
            "seconds_rollout": 1.5,
        }
        for step in range(1, steps + 1)
    ]
    rows = [
        {"step": steps, "prompt": prompt, "completion": f" fox {steps}" * 9, "reward": 0.5}
        for prompt in (LONG, "", "\n")
    ]
    for name, lines in (("log", log), ("rollouts", rows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def sampled(text, step):
    """How many of the answers of a step are shown: what is being drawn may be read in parts."""
    return sum(f"fox {step} " in line for line in text.splitlines())


@pytest.mark.parametrize("columns", [50, 60, 80, 120])
def test_the_view_is_drawn_over_until_the_run_ends(workspace, columns):
    with contextlib.ExitStack() as going:
        run = going.enter_context(runs.start("rl", RlConfig(), name="mine"))
        grow(run.dir, 7)
        with Terminal("runs", "watch", "--every", "0.1", columns=columns) as watching:
            watching.until(lambda text: "step 7, 120 tokens/s" in text and sampled(text, 7) == 3)
            assert watching.cursor_hidden
            grow(run.dir, 40)
            lines = [line for line in watching.until(lambda text: "step 40" in text and sampled(text, 40) == 3) if line]
            assert len(lines) == 1 + 1 + 4 + 1 + 3 and lines[0].startswith("mine (running)"), lines
            assert [line.split()[0] for line in lines[2:5]] == ["loss", "reward", "lr"] and lines[5].startswith("epis")
            assert all(line[-1].isdigit() for line in lines[2:6]) and all(
                "▁" in line and "█" in line for line in lines[2:4]
            )
            assert all(len(line) <= columns - 2 for line in lines)
            going.close()
            assert watching.wait() == 0
            assert watching.text.startswith("mine (complete): step 40") and not watching.cursor_hidden
            assert watching.text.count("loss") == 1


def test_whoever_leaves_keeps_the_view_and_the_run_goes_on(workspace):
    with runs.start("rl", RlConfig(), name="mine") as run:
        grow(run.dir, 7)
        with Terminal("runs", "watch", columns=60) as watching:
            watching.until(lambda text: sampled(text, 7) == 3)
            began = time.monotonic()
            watching.press(b"\x03")
            assert watching.wait() == 130 and time.monotonic() - began < 30
            text = watching.text
            assert text.count("mine (running): step 7") == 1 and "the run goes on" in text and "error" not in text
            assert not watching.cursor_hidden
        assert runs.is_locked(run.dir)


def test_where_nothing_can_be_drawn_over_there_is_one_view(workspace, past):
    with runs.start("rl", RlConfig(), name="mine") as run:
        grow(run.dir, 7)
        said = past("runs", "watch", env={"FORCE_COLOR": "1"}).stdout
        with Terminal("runs", "watch", TERM="dumb") as watching:
            assert watching.wait() == 0
            shown = watching.raw.decode()
    for text in (said, shown):
        assert text.count("step 7") == 1 and "\x1b[?25l" not in text and "\x1b[2J" not in text
    assert Path("runs/mine").is_dir()


def test_curves_are_as_wide_as_there_is_room_for():
    drawn = {"loss": [1.0, 2.0] * 40, "episodes/first_calls_right": [0.125, 0.5], "empty": []}
    for width in (30, 40, 60, 80, 200):
        lines = curves.table(drawn, width)
        assert len(lines) == 3 and all(len(line) <= max(width, 30) for line in lines), (width, lines)
    assert len(lines[1].split()[2]) == 48 and lines[2].split()[0] == "episodes/first_calls_right"
    assert curves.table({}, 80) == []
