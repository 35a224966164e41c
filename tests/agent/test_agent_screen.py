"""`past agent` as somebody at a terminal sees it: at several widths, interrupted, killed and taken up again."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from agent_tools import finish
from screens import Terminal

TOOLS = '''
import os, signal, time
from pathlib import Path

def get_fare(sailing: str, day: str = "") -> dict:
    """Fare of a sailing."""
    if sailing == os.environ.get("PYTEST_DIE_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
    while day and not Path("go").exists():
        time.sleep(0.02)
    return {"fare": 12.5, "sailing": sailing, "remark": "no cars, no bicycles, no dogs, no complaints " * 4}
'''
"""A call with a `day` is answered when the test allows it."""

THOUGHT = (
    " I look up the fare of this sailing, 日本語 as well, which takes a line that no terminal is wide enough for " * 2
)
COUNT = 6
ASK = ("agent", "--tools", "ferry.py", "--tasks", "tasks.json", "--backend", "echo", "--model", "script.json")


@pytest.fixture
def ferry(workspace):
    """Six queries: the fare, then the fare of a day, then an answer."""
    Path("ferry.py").write_text(TOOLS)
    names = [f"q{n}" if n else "a-name-that-is-longer-than-anybody-would-want-to-read" for n in range(COUNT)]
    asked = [
        {"id": name, "query": f"Fare of SK-{n}, there and back, on a Sunday in winter?", "expected_answer": "12.5"}
        for n, name in enumerate(names)
    ]
    Path("tasks.json").write_text(json.dumps(asked))
    script = []
    for n in range(COUNT):
        first, second = (
            f"{THOUGHT}\nAction: get_fare\nAction Input: " + json.dumps({"sailing": f"SK-{n}", **more})
            for more in ({}, {"day": "Sunday"})
        )
        script += [
            {"match": rf"SK-{n},[\s\S]*Sunday\"}}\nObservation", "reply": finish("It is 12.5.")},
            {"match": rf"SK-{n},[\s\S]*SK-{n}\"}}\nObservation", "reply": second},
            {"match": rf"SK-{n},", "reply": first},
        ]
    Path("script.json").write_text(json.dumps(script))
    return workspace


def whole(text):
    """How many episodes are shown to the end: what is being drawn may be read in parts."""
    return text.count('  Observation: {"error": ""')


@pytest.mark.parametrize(("columns", "lanes"), [(60, 1), (60, 4), (80, 1), (80, 4), (120, 4)])
def test_the_view_is_whole_at_any_width_and_goes_when_the_run_is_over(ferry, columns, lanes):
    with Terminal(*ASK, "--parallel", lanes, columns=columns, lines=40) as terminal:
        lines = terminal.until(lambda text: whole(text) == lanes)
        assert terminal.cursor_hidden
        assert re.match(rf"0:0\d  0/{COUNT} episodes, 0 solved(, |$)", lines[0]), lines
        figures = 1 if columns > 60 else 2
        assert len([line for line in lines if line]) == figures + 5 * lanes, "a line was broken, or is missing"
        for label in ("Thought: ", "Action: get_fare", 'Action Input: {"sailing": "SK-', 'Observation: {"error": ""'):
            assert sum(line.startswith(f"  {label}") for line in lines) == lanes, (label, lines)
        assert all(len(line) <= columns - 2 for line in lines)
        Path("go").touch()
        assert terminal.wait() == 0
        text = terminal.text
        assert not terminal.cursor_hidden and "turn " not in text and "under way" not in text
        assert terminal.raw.count(b"Solved, 3 steps: ") == COUNT  # the screen has moved on over some of them


@pytest.mark.parametrize(("columns", "lines", "each"), [(40, 15, 3), (80, 10, 2), (40, 6, 1), (60, 18, 4)])
def test_in_a_small_terminal_every_episode_is_seen_and_every_figure(ferry, columns, lines, each):
    """Four episodes of five lines did not fit into fifteen: the last was not seen, nor were tokens and time at 40 columns."""
    with Terminal(*ASK, "--parallel", 4, columns=columns, lines=lines) as terminal:
        shown = terminal.until(lambda text: text.count("  turn 2, ") == 4)
        heads = [n for n, line in enumerate(shown) if "  turn 2, " in line]
        assert [after - before for before, after in pairwise(heads)] == [each] * 3, shown
        assert all(len(line) <= columns - 2 for line in shown)
        first = "\n".join(shown[: heads[0]])
        assert "0/6 episodes, 0 solved" in first and ("tokens/s" in first or each == 1), shown
        if each > 1:
            call = 'Action: get_fare {"sailing": "SK-'
            assert sum(line.startswith(f"  {call}"[: columns - 3]) for line in shown) == 4, shown
        assert sum(line.startswith("  Thought: ") for line in shown) == (4 if each > 2 else 0), shown
        assert sum(line.startswith("  Observation: ") for line in shown) == (4 if each > 3 else 0), shown
        Path("go").touch()
        assert terminal.wait() == 0


def test_what_is_no_call_is_told_once(ferry):
    Path("script.json").write_text(json.dumps([{"match": "SK-0", "reply": "It should be 12,\n\n I think."}]))
    with Terminal(*ASK, "--limit", 1, "--max-turns", 1, "--show") as terminal:
        assert terminal.wait() == 0
        assert terminal.raw.count(b"It should be 12,") == 1


@pytest.mark.parametrize("lanes", [1, 4])
def test_an_interrupt_leaves_nothing_of_the_view_behind(ferry, lanes):
    with Terminal(*ASK, "--parallel", lanes, "--name", "mine", columns=60, lines=40) as terminal:
        terminal.until(lambda text: whole(text) == lanes)
        terminal.press(b"\x03")
        Path("go").touch()  # a tool that is being called is waited for
        assert terminal.wait() == 130
        text = terminal.text
        assert "error: interrupted" in text and "--resume" in text and not terminal.cursor_hidden
        assert "turn 2" not in text and "Thought: " not in text and "solved" not in text, text


def test_a_killed_run_goes_on_at_a_terminal(ferry):
    Path("go").touch()
    with Terminal(*ASK, "--name", "mine", PYTEST_DIE_AT="SK-3") as terminal:
        assert terminal.wait() == -9
    with Terminal(*ASK, "--name", "mine", "--resume", lines=60) as terminal:
        assert terminal.wait() == 0, terminal.text
        assert terminal.text.count("Solved, 3 steps: ") == COUNT, "what was recorded is shown as it was played"
        assert not terminal.cursor_hidden


@pytest.mark.parametrize(
    ("where", "environment"), [("log", {"FORCE_COLOR": "1"}), ("terminal", {"TERM": "dumb"})], ids=["log", "dumb"]
)
def test_what_cannot_be_drawn_over_gets_lines(ferry, past, where, environment):
    """FORCE_COLOR is set by many a continuous integration: a log of it would be full of cursor movements."""
    Path("go").touch()
    if where == "log":
        said = past(*ASK, "--json", env=environment).stderr
    else:
        with Terminal(*ASK, **environment) as terminal:
            assert terminal.wait() == 0
            said = terminal.raw.decode()
    assert "\x1b[?25l" not in said and "\x1b[1A" not in said and "\x1b[2K" not in said


def test_no_color_is_no_colour(ferry):
    with Terminal(*ASK, "--parallel", 4, NO_COLOR="1") as terminal:
        terminal.until(lambda text: whole(text) == 4)
        Path("go").touch()
        assert terminal.wait() == 0
        assert not re.search(rb"\x1b\[[0-9;]*\b(3[0-7]|4[0-7]|38|9[0-7])m", terminal.raw)
