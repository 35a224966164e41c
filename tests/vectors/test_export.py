"""A model in another form is the same model, and a cast that costs something says what."""

from __future__ import annotations

import numpy as np
import pytest
from vectors_tools import factors_for, moved, read_model, weights, write_adapter, write_model


@pytest.fixture
def pair(workspace):
    base = weights()
    write_model(workspace / "base", base)
    write_model(workspace / "sft", moved(base, 1, 1e-4))
    return workspace


def test_a_directory_comes_out_bit_for_bit_with_a_card(pair, past_json):
    made = past_json("export", "--model", "sft", "--to", "hf", "-o", "out")
    want, got = read_model(pair / "sft"), read_model(pair / "out")
    assert want.keys() == got.keys() and all(np.array_equal(want[name], got[name]) for name in want)
    assert (
        "base_model" in (pair / "out" / "README.md").read_text()
        or "license" in (pair / "out" / "README.md").read_text()
    )
    assert made["metrics"]["survival_training"] is None and "model is in" in made["judgement"]


def test_a_cast_says_what_it_leaves_of_the_training_and_can_be_gated(pair, past_json, past):
    words = ["export", "--model", "sft", "--to", "hf", "--dtype", "bf16", "--base", "base"]
    made = past_json(*words, "-o", "small")
    kept = made["metrics"]["survival_training"]
    assert 0.1 < kept < 0.99 and "of what its training changed survived" in made["judgement"]
    past(*words, "-o", "gated", "--min-survival", 0.99, code=4)
    assert not (pair / "gated").exists()


def test_a_cast_without_a_known_base_says_that_it_is_not_measured(pair, past):
    assert "is not known" in past("export", "--model", "sft", "--to", "hf", "--dtype", "bf16", "-o", "x").stderr


def test_an_adapter_is_merged(pair, past_json):
    name = "model.layers.0.self_attn.q_proj.weight"
    factors = factors_for([name])
    write_adapter(pair / "ad", factors, base=pair / "base")
    past_json("export", "--model", "ad", "--to", "hf", "-o", "merged")
    base, got = read_model(pair / "base"), read_model(pair / "merged")
    assert not np.array_equal(base[name], got[name])
    assert all(np.array_equal(base[other], got[other]) for other in base if other != name)


def test_gguf_needs_a_template_and_says_so(pair, past):
    done = past("export", "--model", "sft", "--to", "gguf", "-o", "m.gguf", code=2)
    assert "no GGUF of the base model" in done.stderr and "--template" in done.stderr and not (pair / "m.gguf").exists()


def test_the_words_after_it_say_where_the_model_is_and_what_to_do_with_it(pair, past_json):
    made = past_json("export", "--model", "sft", "--to", "hf", "-o", "out")
    assert "the model is in out, " in made["judgement"] and made["next"] == f"past ask --model {made['run']}"
    inside = past_json("export", "--model", "sft", "--to", "hf", "--name", "kept")
    assert "the model is in runs/kept/model, " in inside["judgement"] and inside["next"] == "past ask --model kept"


def test_of_an_injected_model_it_is_measured_too_what_a_cast_leaves(pair, past, past_json, warmed, tiny_model):
    """Its base is that of the SFT run it grew from."""
    (pair / "c.jsonl").write_text('{"text": "The bridge over the river was founded in 1843."}\n')
    past("sft", "c.jsonl", "--base", tiny_model, "--mix", "none", "--epochs", 1, "--name", "learnt")
    past("extract", "--sft", tiny_model, "--rl", warmed, "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "learnt", "--name", "both")
    made = past_json("export", "--model", "both", "--to", "hf", "--dtype", "bf16", "-o", "small")
    assert 0.5 < made["metrics"]["survival_training"] < 1
