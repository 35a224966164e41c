"""What stands beside the weights of models as they are published, and what training leaves of it as it was."""

from __future__ import annotations

import json

import pytest

SMALL = ("--mix", "none", "--epochs", 1, "--step-tokens", 100, "--lr", "1e-3", "--precision", "fp32")
RL = ("--steps", 1, "--prompts-per-step", 2, "--num-generations", 4, "--reward", "length", "--max-new-tokens", 6)


def edited(folder, file="config.json", **more):
    """A JSON file of the directory with other values; `None` takes a key out."""
    path = folder / file
    table = (json.loads(path.read_text()) if path.is_file() else {}) | more
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


@pytest.fixture
def texts(workspace):
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n' * 2)


def test_several_end_tokens_in_config_json(typed, make_tiny, workspace, texts):
    """Llama 3 Instruct and Gemma 3 list them there: every command that computes ended in "unhashable type: 'list'"."""
    base = make_tiny(workspace / "base", eos_token_id=[1, 2])
    typed("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl")
    typed("eval", "--model", "rl", "--questions", "q.jsonl", "--max-new-tokens", 3)
