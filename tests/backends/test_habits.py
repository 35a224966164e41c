"""How a model can be read is tried once for all models of its kind, and never taken from one that cannot stand for the others."""

import pytest
import torch
from past_hf import habits, lines
from transformers import AutoModelForCausalLM


@pytest.fixture
def loaded(make_tiny, tmp_path, monkeypatch):
    """`loaded(seed)`: (a tiny llama whose norms differ from what they begin with, a list that grows by each of its forward passes)."""
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "cache"))

    def load(seed=0, trained=True, **changes):
        folder = make_tiny(tmp_path / f"model{seed}", seed=seed, **changes)
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        if trained:
            torch.manual_seed(seed)
            for one in model.parameters():
                one.data += 0.1 * torch.randn_like(one)
        passes = []
        model.register_forward_hook(lambda *_: passes.append(1))
        return model, passes

    return load


def test_what_was_found_of_one_model_is_known_of_the_next_of_its_kind(loaded):
    first, passes = loaded()
    found = habits.habits(first), lines.possible(first)
    assert passes and found[0].cache and found[1] is True
    second, passes = loaded(seed=1)
    assert (habits.habits(second), lines.possible(second)) == found and not passes


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"rope_theta": 5e4}, {"dtype": torch.bfloat16}])
def test_a_model_of_another_kind_is_tried(changes, loaded):
    habits.habits(loaded()[0])
    other, passes = loaded(seed=1, **changes)
    habits.habits(other)
    assert passes


def test_an_untrained_model_does_not_stand_for_others(loaded):
    """Its norms are all ones: what another's do that are not would not have shown."""
    habits.habits(loaded(trained=False)[0])
    other, passes = loaded(seed=1)
    habits.habits(other)
    assert passes


def test_a_model_that_gives_no_numbers_does_not_stand_for_others(loaded):
    broken, _ = loaded()
    with torch.no_grad():
        broken.model.embed_tokens.weight[:] *= float("nan")
    habits.habits(broken)
    lines.possible(broken)
    other, passes = loaded(seed=1)
    assert lines.possible(other) and passes


def test_what_is_kept_is_not_believed_when_it_makes_no_sense(loaded, tmp_path):
    first, _ = loaded()
    found = habits.habits(first)
    (kept,) = (tmp_path / "cache" / habits.KEPT).iterdir()
    for damaged in ("", "{", '{"cache": 1, "more": 2}', "null"):
        kept.write_text(damaged)
        again, passes = loaded(seed=1)
        assert habits.habits(again) == found and passes
        passes.clear()


def test_code_that_reads_otherwise_tries_anew(loaded, monkeypatch):
    habits.habits(loaded()[0])
    monkeypatch.setattr(habits, "_tried_by", lambda: "other code")
    again, passes = loaded(seed=1)
    habits.habits(again)
    assert passes
