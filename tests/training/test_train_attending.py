"""Long rows are attended in tiles on processors, short ones with all scores at once; what is learnt is the same."""

from __future__ import annotations

import pytest
import torch
from train_tools import job_of


@pytest.fixture
def wide_model(make_tiny, tmp_path):
    return make_tiny(tmp_path / "wide", max_position_embeddings=1024)


def loaded(folder):
    from past_hf.materialize import load_model

    return load_model(folder, torch.float32, "eager").train()


def gradients(model, rows, how):
    from past_hf.compute import pad_right, token_logprobs

    ids = pad_right(rows, 0)
    wanted = torch.tensor([[0 < n < len(row) for n in range(ids.shape[1])] for row in rows])
    model.zero_grad()
    model.set_attn_implementation(how)
    loss = -token_logprobs(model, ids, wanted, entropies_too=False)[0].mean()
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters()}


def test_loss_and_gradients_in_tiles_are_those_of_all_scores(wide_model):
    model = loaded(wide_model)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 300, (length,), generator=generator).tolist() for length in (700, 640, 300)]
    (loss, one), (other, two) = (gradients(model, rows, how) for how in ("eager", "sdpa"))
    assert loss == pytest.approx(other, abs=1e-6)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two[name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_way_follows_the_width_and_nothing_is_changed_that_was_chosen_otherwise(wide_model):
    from past_hf.attending import WIDE, attend

    model = loaded(wide_model)
    for width, how in ((WIDE - 1, "eager"), (WIDE, "sdpa"), (10 * WIDE, "sdpa"), (2, "eager")):
        attend(model, width)
        assert model.config._attn_implementation == how
    model.config.attn_logit_softcapping = 50.0  # of Gemma 2, which torch's own attention would leave out
    attend(model, WIDE)
    assert model.config._attn_implementation == "eager"


def test_a_training_on_long_rows_keeps_no_scores_and_plans_for_none(wide_model, tmp_path, monkeypatch):
    from past_hf.attending import WIDE
    from past_hf.planning import plan
    from past_hf.training import HFTrainer, sft

    from pastcli.config import SftConfig

    words = "the bridge of Velmora was founded by Ada Krol and stood over river Oder".split()
    rows = [{"text": " ".join(words[n % 7 :] * (12 if n % 2 else 1))} for n in range(6)]
    seen = []
    scored = sft.token_logprobs

    def spied(model, ids, *more, **how):
        seen.append((ids.shape[1] >= WIDE, model.config._attn_implementation))
        return scored(model, ids, *more, **how)

    monkeypatch.setattr(sft, "token_logprobs", spied)
    config = SftConfig(epochs=1, step_tokens=600, batch_tokens=600, precision="fp32", lr=1e-3)
    HFTrainer().sft(job_of(tmp_path / "job", "sft", wide_model, rows, config))
    assert set(seen) == {(True, "sdpa"), (False, "eager")}

    def planned(**changes):
        return plan("sft", wide_model, rows, SftConfig(**{**vars(config), **changes}), probing=False)["memory_gb"]

    long, cut = planned()["activations"], planned(max_length=WIDE - 1)["activations"]
    assert 0 < long < cut, "rows of half the length take more, whose scores are kept"
