"""`--strict` reaches what only the trainer can see, a dry run included."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def pairs(workspace):
    rows = [{"prompt": "Which river?", "completion": " fox"}, {"prompt": "the fox " * 60, "completion": " dog"}]
    (workspace / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workspace


def test_a_pair_too_long_is_skipped_or_under_strict_an_error(pairs, past, tiny_model):
    words = ("sft", "pairs.jsonl", "--base", tiny_model, "--epochs", "1", "--max-length", "100", "--lr", "0.01")
    strict = past(*words, "--strict", code=2)
    assert "longer than 100 tokens" in strict.stderr and not list((pairs / "runs").glob("sft-*"))
    assert past(*words, "--strict", "--dry-run", code=2).stderr.splitlines()[-2:] == strict.stderr.splitlines()[-2:]
    assert "skipped: 1 of 2 examples" in past(*words, "--dry-run").stderr


def test_a_dry_run_of_training_refuses_what_the_run_would_and_shows_every_setting(pairs, past, past_json, tiny_model):
    words = ("sft", "pairs.jsonl", "--base", tiny_model, "--epochs", "1")
    plan = past_json(*words, "--dry-run")
    assert (
        plan["settings"]["epochs"] == {"value": 1.0, "from": "--epochs"} and plan["settings"]["lr"]["from"] == "default"
    )
    assert not (pairs / "runs").exists()
    assert "alias of a model" in past(*words, "--name", "smol", "--dry-run", code=2).stderr
