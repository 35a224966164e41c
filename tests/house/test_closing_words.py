"""Every command that makes or measures something ends with one sentence of judgement and one `next:` line."""

from __future__ import annotations

import json
import re

import agent_tools
import pytest
from conftest import ROOT
from vectors_tools import moved, weights, write_model

from pastcli import narration, verdict

BY_COMMAND = {"eval": verdict.evaluated, "agent": verdict.attempted, "probe": verdict.probed, "study": verdict.studied}
"""Stages whose words are made of more than their manifest."""


def test_no_stage_that_makes_a_run_is_without_words():
    files = (ROOT / "pastcli" / "commands").glob("*.py")
    started = {stage for path in files for stage in re.findall(r'runs\.start\(\s*"(\w+)"', path.read_text("utf-8"))}
    assert started >= {"agent", "probe", "eval", "sft", "rl", "ingest", "study", "sweep", "inject", "export"}
    assert started <= narration._STAGES.keys() | BY_COMMAND.keys()


def attempt(**changed):
    known = {"queries": 40, "sopr": 0.5, "sopr_low": 0.35, "sopr_high": 0.65, "calls": 9, "know_nothing": {"sopr": 0.1}}
    return verdict.attempted(known | changed, "a-1")


@pytest.mark.parametrize(
    ("changed", "told", "after"),
    [
        (
            {},
            "50% of 40 queries solved [35%, 65%], more than the 10% of a program that knows nothing",
            "runs report a-1",
        ),
        ({"know_nothing": {"sopr": 0.4}}, "not shown to be more than the 40%", "runs report"),
        ({"know_nothing": {"sopr": 0.9}}, "fewer than the 90%", "runs report"),
        ({"know_nothing": None}, "solved [35%, 65%]", "runs report"),
        ({"queries": 1}, "1 query tell", "runs report"),
        ({"calls": 0}, "nothing was called", "--replay a-1"),
        ({"sopr": None, "sopr_low": None, "sopr_high": None}, "no answer to 40 queries could be graded", "runs report"),
    ],
)
def test_the_words_after_an_agent_claim_no_more_than_a_program_without_a_model_leaves(changed, told, after):
    end = attempt(**changed)
    assert told in end.judgement and after in end.next
    assert ("tell little" in end.judgement) == (changed.get("queries") == 1)


def ends(done, document, after):
    """The last line on stderr is `next:`, the one before a sentence; --json has both."""
    lines = done.stderr.rstrip().splitlines()
    assert lines[-1].startswith(f"next: past {after}") and len(lines[-2]) > 20 and "next:" not in done.stdout, lines
    assert document["next"].startswith(f"past {after}") and document["judgement"] in done.stderr.replace("\n", " ")


def test_an_evaluation_ends_with_the_page_that_shows_its_answers(past, past_json, workspace):
    (workspace / "q.jsonl").write_text('{"question": "Who?", "answer": "Ada"}\n')
    (workspace / "script.json").write_text('[{"match": "Who", "reply": "Ada"}]')
    words = ("eval", "--questions", "q.jsonl", "--backend", "echo", "--model", "one=script.json")
    ends(past(*words), past_json(*words, "--resume"), "runs report eval-")
    page = past(*past_json(*words, "--resume")["next"].split()[1:]).stdout
    assert "1 run, 0.0 MB" in page and "episode" not in page


def test_agent_probe_and_inspect_say_what_they_come_to_and_what_is_next(past, past_json, workspace):
    (workspace / "tools.json").write_text(json.dumps(agent_tools.queries(1)))
    (workspace / "script.json").write_text(json.dumps(agent_tools.script(1)))
    words = ("agent", "--tools", "tools.json", "--backend", "echo", "--model", "script.json")
    ends(past(*words), past_json(*words, "--resume"), "runs report agent-")
    base = weights()
    for name, seed in (("base", 0), ("sft", 1), ("rl", 2)):
        write_model(workspace / name, moved(base, seed, 1e-3) if seed else base)
    words = ("probe-orthogonality", "--base", "base", "--sft", "sft", "--rl", "rl", "--no-figures")
    ends(past(*words), past_json(*words, "--resume"), "extract --sft")
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    ends(past("inspect", "v.safetensors"), past_json("inspect", "v.safetensors"), "inject --vector")
    done = past("probe-orthogonality", "--base", "base", "--sft", "base", "--rl", "rl", "--no-figures")
    assert "nothing to compare" in done.stderr and "next:" not in done.stderr
