"""`past agent` with somebody else's tools or judge that fails: one line that names it, and never a run that looks finished."""

from __future__ import annotations

import json

import pytest
from agent_tools import call, finish, queries

SOURCE = """
import sys
from pastcli.api import Observation, Verdict

NAME = "stranger"
name = "stranger"
version = "stranger/1"


def claims(path):
    return False


def tools(path, warnings):
    return []


class Env:
    name = version = "stranger"

    def call(self, spec, arguments):
        {at_call}
        return Observation("", {{"fare": 3.5}})

    def close(self):
        {at_close}


def open(path, tools, tasks, **options):
    {at_open}
    return Env()


class Judged:
    name = version = "stranger"

    def judge(self, episode):
        {at_judge}
        return Verdict("Solved", "")


judge = Judged()


def load_chat(path):
    sys.exit(0)
"""
ENDS = {"exit": "sys.exit(0)", "exit with a text": "sys.exit('bye')", "error": "raise RuntimeError('lost the ferry')"}
GIVES = {"None": "return None", "text": "return 'Solved'", "label": "return Verdict('solved', 'lower case')"}


@pytest.fixture
def agent(past, workspace):
    """`past agent` on one query whose tools and judge are the package's, which ends so at one place."""
    (workspace / "tools.json").write_text(json.dumps(queries(1)))
    replies = [{"match": r'"fare": \d', "reply": finish("3.5")}, {"match": ".", "reply": call("SK-1")}]
    (workspace / "script.json").write_text(json.dumps(replies))
    info = workspace / "site" / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[past.environments]\nstranger = stranger\n[past.judges]\nstranger = stranger:judge\n"
        "[past.chat]\nstranger = stranger:load_chat\n"
    )

    def run(place, how, *more, code):
        ends = {
            f"at_{name}": (ENDS | GIVES)[how] if name == place else "pass"
            for name in ("call", "open", "judge", "close")
        }
        if place != "as it is":
            (workspace / "site" / "stranger.py").write_text(SOURCE.format(**ends))
        words = ("agent", "--tools", "tools.json", "--backend", "echo", "--model", "script.json")
        parts = ("--environment", "stranger", "--judge", "stranger")
        return past(*words, *parts, *more, code=code, env={"PYTHONPATH": str(workspace / "site")})

    return run


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("place", ["call", "open", "judge", "close"])
def test_what_a_strangers_code_ends_in_is_one_line_and_no_result(agent, workspace, place, how):
    done = agent(place, how, code=1)
    assert "stranger" in done.stderr and "Traceback" not in done.stderr
    assert ("lost the ferry" if how == "error" else "SystemExit") in done.stderr
    finished = [json.loads(path.read_text()) for path in workspace.glob("runs/*/manifest.json")]
    assert all(run["status"] != "complete" for run in finished)


@pytest.mark.parametrize("also", [(), ("--judge", "rules", "--also-judge", "stranger")], ids=["judge", "also"])
@pytest.mark.parametrize(
    ("place", "how", "said"),
    [
        ("call", "None", "environment 'stranger' gave no Observation, but None"),
        ("judge", "None", "judge 'stranger' gave no Verdict, but None"),
        ("judge", "text", "judge 'stranger' gave no Verdict, but a str"),
        ("judge", "label", "judge 'stranger' gave the label 'solved'"),
        ("judge", "error", "judge 'stranger' crashed: RuntimeError: lost the ferry"),
    ],
)
def test_what_is_no_answer_and_no_verdict_is_told(agent, place, how, said, also):
    """A label that nobody knows counted as "could not be graded", and the run as done."""
    told = agent(place, how, *also, code=1).stderr
    assert f"error: {said}" in told and "unexpected" not in told


def test_a_fault_is_not_hidden_by_another_one_in_closing(agent, workspace):
    agent("close", "error", code=1)
    source = (workspace / "site" / "stranger.py").read_text()
    broken = source.replace(
        "def call(self, spec, arguments):", "def call(self, spec, arguments):\n        raise KeyError('first')"
    )
    assert broken != source
    (workspace / "site" / "stranger.py").write_text(broken)
    told = agent("as it is", "", code=1).stderr
    assert "crashed: KeyError: 'first'" in told and "lost the ferry" not in told


def test_the_run_goes_on_when_the_strangers_code_is_mended(agent):
    assert "--resume" in agent("judge", "exit", code=1).stderr
    shown = json.loads(agent("nowhere", "exit", "--resume", "--json", code=0).stdout)
    assert shown["labels"] == {"Solved": 1} and shown["queries"] == 1


def test_sys_exit_anywhere_in_a_plugin_is_no_success(agent, past, workspace, tiny_model):
    """The floor below all roles: a command that somebody else's code ends has not done what it was asked."""
    agent("nowhere", "exit", code=0)
    words = ("agent", "--tools", "tools.json", "--backend", "stranger", "--model", tiny_model)
    done = past(*words, code=1, env={"PYTHONPATH": str(workspace / "site")})
    assert "SystemExit" in done.stderr and "Traceback" not in done.stderr
