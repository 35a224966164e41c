"""What computes an evaluation is what is stored, unless asked otherwise; and then it is said what is left of the difference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from vectors_tools import write_adapter

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def pair(make_tiny, past, workspace):
    """(SFT model, SFT + a skill that bfloat16 cannot hold), both float32, and questions."""
    rng = np.random.default_rng(0)
    sft = make_tiny(workspace / "sft")
    factors = {Q: tuple(rng.standard_normal(s).astype(np.float32) * 1e-3 for s in ((2, 32), (32, 2)))}
    write_adapter(workspace / "rl", factors, base="../sft", alpha=2.0)
    past("extract", "--sft", sft, "--rl", "rl", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", sft, "-o", "made")
    (workspace / "q.jsonl").write_text(
        '{"question": "who", "answer": "fox"}\n{"question": "where", "answer": "Velmora"}\n'
    )
    return sft


def test_eval_computes_in_the_stored_type(pair, past_json, make_tiny, workspace):
    import torch

    half = make_tiny(workspace / "half", dtype=torch.bfloat16)
    words = ("eval", "--questions", "q.jsonl", "--model", "sft=sft", "--model", "made=made")
    found = past_json(*words)["models"]
    assert {found[label]["precision"] for label in found} == {"float32"} and "cast_survival" not in found["made"]
    assert (
        past_json("eval", "--questions", "q.jsonl", "--model", f"half={half}")["models"]["half"]["precision"]
        == "bfloat16"
    )


def test_a_cast_is_reported_with_what_it_keeps_of_the_difference(pair, past, past_json):
    words = ("eval", "--questions", "q.jsonl", "--model", "sft=sft", "--model", "made=made", "--precision", "bf16")
    done = past(*words, "--json")
    found = json.loads(done.stdout)["models"]
    assert {found[label]["precision"] for label in found} == {"bfloat16"}
    assert 0 < found["made"]["cast_survival"] < 0.6
    assert "keeps only cosine 0." in done.stderr


def test_models_of_two_types_are_not_compared_without_a_word(pair, past, make_tiny, workspace):
    import torch

    make_tiny(workspace / "half", dtype=torch.bfloat16)
    words = ("eval", "--questions", "q.jsonl", "--model", "sft=sft", "--model", "half=half")
    assert "different types: sft in float32, half in bfloat16" in past(*words).stderr
    assert "different types" not in past(*words, "--precision", "fp32").stderr


def test_a_backend_without_the_choice_says_so(pair, past, workspace):
    words = ("eval", "--questions", "q.jsonl", "--backend", "echo", "--model", "x", "--precision", "bf16")
    assert "cannot compute in bf16" in past(*words, code=2).stderr


def test_one_sweep_computes_in_one_type(pair, past_json, workspace):
    words = ("sweep", "--vector", "v.safetensors", "--target", "sft", "--questions", "q.jsonl", "--grid", "1")
    stored = past_json(*words)["points"]
    cast = past_json(*words, "--dtype", "bf16", "--name", "cast")["points"]
    computed = past_json(*words, "--precision", "bf16", "--name", "computed")["points"]
    assert stored[1]["survival"] > 0.9999
    assert 0 < cast[1]["survival"] < 0.6 and 0 < computed[1]["survival"] < 0.6
    assert cast[0]["kl"] == computed[0]["kl"] == 0.0
