"""JSON lines as every part writes and reads them: whatever text a model says comes back, and a cut-off line is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pastcli.files import read_lines, write_lines

SAID = "half \ud83d, lines\u2028and\u2029paragraphs\x85\x0b\x0c\x1c\x1d\x1e\r\nend"
ROWS = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=20), max_size=3))


@settings(deadline=None)  # it writes files
@given(ROWS, ROWS)
@example([{"a": SAID}], [{SAID: "b"}])
def test_whatever_is_said_comes_back(tmp_path_factory, first, more):
    file = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    write_lines(file, first)
    write_lines(file, more, "a", sync=True)
    assert read_lines(file) == first + more


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    write_lines(file, [{"a": SAID}, {"a": "b"}])
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert len(read_lines(file)) == whole[:size].count(b"\n")


def test_a_training_is_watched_whatever_its_answers_hold(workspace, past_json):
    run = Path("runs/.partial/rl-1")
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"id": "rl-1", "stage": "rl", "status": "running", "config": {}}))
    write_lines(run / "log.jsonl", [{"step": 1, "loss": 0.5}])
    write_lines(run / "rollouts.jsonl", [{"step": 1, "question": "q?", "answer": SAID, "reward": 0.0}])
    assert past_json("runs", "watch")["rollouts"][0]["answer"] == SAID


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_queries_and_scripts_may_hold_any_line_break_of_unicode(workspace, past_json, suffix):
    Path("tools.json").write_text(json.dumps([{"name": "f", "description": "d", "parameters": {"type": "object"}}]))
    Path("tasks.jsonl").write_text(json.dumps({"id": "a", "query": "One\u2028two?"}, ensure_ascii=False) + "\n")
    reply = ' Done.\nAction: Finish\nAction Input: {"final_answer": "x\u2028y"}'
    text = json.dumps([reply] if suffix == "json" else reply, ensure_ascii=False)
    Path(f"model.{suffix}").write_text(text + "\n")
    words = ("--tools", "tools.json", "--tasks", "tasks.jsonl", "--backend", "echo", "--model", f"model.{suffix}")
    assert past_json("agent", *words)["episodes"] == 1
