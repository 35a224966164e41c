"""The live view of `past agent`: what it shows, whom it may steer, and that it touches nothing else."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from agent_tools import ASK, N, compared_runs
from rich.console import Console

from pastcli.agent.live import Live
from pastcli.agent.watch import Log
from pastcli.api import Completion, Observation, Step, Verdict


def step(index, thought, action="get_fare", arguments=None, outcome="ok", tokens=7):
    said = Completion("raw", completion_tokens=tokens)
    observed = Observation("", {"fare": 12.5}) if outcome == "ok" else Observation("no such order", "")
    return Step(index, 0, said, thought, action, arguments or {"code": "SK-1"}, (), "", outcome, observed)


def drawn(live, width=100):
    live._console.width = width
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(live.view())
    return console.file.getvalue()


@pytest.fixture
def live():
    found = Live(Console(file=io.StringIO(), width=100, force_terminal=True, markup=False))
    found.total(4)
    return found


def test_the_view_shows_what_each_episode_thinks_and_calls(live):
    live.begun(("a", 0), "What is the fare of SK-1?")
    live.begun(("b", 1), "Is there a ferry on Sunday?")
    assert "turn 1" in drawn(live) and "tokens/s" not in drawn(live) and "left" not in drawn(live)
    live.stepped(("a", 0), step(0, "I look the fare up."), False)
    live.stepped(("b", 1), step(0, "I guess.", outcome="invalid"), False)
    text = drawn(live)
    for words in (
        "a  turn 2",
        "What is the fare of SK-1?",
        "I look the fare up.",
        "get_fare",
        '{"code": "SK-1"}',
        '{"fare": 12.5}',
    ):
        assert words in text, (words, text)
    assert (
        "b#2  turn 2" in text
        and "no such order" in text
        and "0/4 episodes, 0 solved, " in text
        and "2 under way, 2 turns" in text
    )
    live.ended(("a", 0), Verdict("Solved", "all is well"))
    text = drawn(live)
    assert (
        re.search(r"1/4 episodes, 1 solved, \d:\d\d left, ", text)
        and "tokens/s" in text
        and "1 under way" in text
        and "left" in drawn(live, 60)
        and "SK-1" not in text.split("b#2")[0]
    )
    assert "a Solved, 1 step: all is well" in re.sub(r"\x1b\[[0-9;]*m", "", live._console.file.getvalue())


def test_what_is_recorded_counts_for_no_rate(live):
    live.begun(("a", 0), "q")
    live.stepped(("a", 0), step(0, "t"), True)
    live.ended(("a", 0), Verdict("Solved", ""))
    assert (live.done, live.turns, live.tokens, live.left()) == (1, 1, 0, None)


def test_nothing_that_a_model_says_steers_the_terminal_or_begins_a_line(live):
    evil = "\x1b[2J\x1b]0;owned\x07 [bold red]markup[/] \r\n\nObservation: forged\u202e " + "x" * 5000
    live.begun((evil, 0), evil)
    live.stepped((evil, 0), step(0, evil, action=evil, arguments={"a": evil}), False)
    text = drawn(live, width=60)
    assert (
        "\x1b" not in text and "\x07" not in text and "\r" not in text and "\u202e" not in text and "[bold red]" in text
    )
    assert all(len(row) <= 60 for row in text.splitlines()) and len(text.splitlines()) <= 8
    assert not any(row.startswith("Observation: forged") for row in text.splitlines())
    live.ended((evil, 0), Verdict("Unsolved", evil))
    written = re.sub(r"\x1b\[[0-9;]*m", "", live._console.file.getvalue())
    assert "\x1b" not in written and "\x07" not in written and len(written.splitlines()) == 1


def test_many_threads_may_tell_it_at_once(live):
    def play(name):
        live.begun((name, 0), "q")
        for index in range(50):
            live.stepped((name, 0), step(index, "t"), False)
            drawn(live)
        live.ended((name, 0), Verdict("Solved", ""))

    threads = [threading.Thread(target=play, args=(str(n),)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert (live.done, live.solved, live.turns, live.tokens) == (4, 4, 200, 1400)
    assert "4/4 episodes" in drawn(live)


def test_a_log_gets_the_same_figures():
    told = []
    log = Log(lambda done, total, figures: told.append((done, total, dict(figures))))
    log.total(2)
    log.begun(("a", 0), "q")
    log.stepped(("a", 0), step(0, "t"), False)
    log.ended(("a", 0), Verdict("Solved", ""))
    assert (
        told[-1][:2] == (1, 2)
        and (told[-1][2]["solved"], told[-1][2]["turns"]) == (1, 1)
        and told[-1][2]["tokens/s"] > 0
    )


def at_a_terminal(*words):
    """(stdout, what a terminal on stderr got) of the real command."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pastcli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=env,
    )
    os.close(theirs)
    seen = []

    def read():
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    out = process.communicate(timeout=120)[0]
    reader.join(30)
    os.close(ours)
    assert process.returncode == 0, b"".join(seen)
    return out.decode(), b"".join(seen).decode("utf-8", "replace")


def test_at_a_terminal_stdout_is_the_one_json_document(workspace, past_json):
    compared_runs(past_json)
    out, seen = at_a_terminal(*ASK, "1.json", "--parallel", 3, "--json")
    assert json.loads(out)["sopr"] == 10 / N
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    for n in range(N):
        assert re.search(rf"t{n} (?:Solved|Unsolved), 2 steps: ", plain), n
    assert "\x1b[?25h" in seen[-300:]  # the cursor is back


def test_in_a_pipe_nothing_is_drawn(workspace, past_json, past):
    compared_runs(past_json)
    done = past(*ASK, "1.json", "--json")
    assert "\x1b" not in done.stderr and json.loads(done.stdout)["queries"] == N


def test_episodes_played_together_are_shown_one_after_the_other(workspace, past_json, past):
    compared_runs(past_json)
    shown = past(*ASK, "1.json", "--parallel", 4, "--show").stdout.partition("measure")[0]
    parts = shown.split("── query ")[1:]
    assert len(parts) == N
    for n, part in enumerate(sorted(parts, key=lambda text: int(text.split(",")[0][1:]))):
        asked, *_, verdict = part.rstrip().splitlines()[1:]
        assert asked == f"Query: Fare of SK-{n}?" and part.count("Query: ") == part.count("Answer: ") == 1
        assert part.count("Action: ") == 2 and verdict.startswith(("Solved: ", "Unsolved: ")) and f'"SK-{n}"' in part
