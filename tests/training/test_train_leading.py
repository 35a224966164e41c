"""Padding behind the rows: what TRL's step reads, so that no token is left with nothing to attend to."""

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

ROW = st.tuples(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.lists(st.integers(1, 30), max_size=5))


def padded(rows, more=0):
    """As TRL pads: prompts on the left, answers on the right; (ids, mask, columns of answers)."""
    before, after = max(len(prompt) for prompt, _ in rows), max(1, max(len(answer) for _, answer in rows)) + more
    ids = [[0] * (before - len(p)) + p + a + [0] * (after - len(a)) for p, a in rows]
    mask = [[0] * (before - len(p)) + [1] * (len(p) + len(a)) + [0] * (after - len(a)) for p, a in rows]
    return torch.tensor(ids), torch.tensor(mask), after


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=5), st.integers(0, 3))
def test_rows_begin_with_their_prompts_and_answers_are_found_again(rows, more):
    from past_hf.training.leading import leading

    ids, mask, answer = padded(rows, more)
    made = leading(ids, mask, answer)
    assert made.mask[:, 0].all(), "a token that attends to nothing"
    for (prompt, said), row, seen in zip(rows, made.ids.tolist(), made.mask.tolist(), strict=True):
        assert row[: len(prompt) + len(said)] == prompt + said
        assert seen == [1] * (len(prompt) + len(said)) + [0] * (len(row) - len(prompt) - len(said))
    found = made.answers(made.ids[:, -made.keep :]).tolist()
    assert [row[: len(said)] for (_, said), row in zip(rows, found, strict=True)] == [said for _, said in rows]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_trl_scores_is_what_each_row_alone_would_get(kind):
    """Also with learned positions, which padding on the left shifts."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    from past_hf.training.grpo import Grpo
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    torch.manual_seed(0)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    else:
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=32,
            )
        ).eval()
    rows = [([3, 4, 5, 6, 7], [8, 9]), ([3], [11, 12, 13]), ([5, 6], [2])]
    ids, mask, answer = padded(rows)
    trainer = Grpo.__new__(Grpo)
    trainer.accelerator = SimpleNamespace(autocast=nullcontext, is_main_process=True)
    seen = []
    model.register_forward_pre_hook(lambda _, args, given: seen.append(given.get("attention_mask")), with_kwargs=True)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    logps, entropy, _ = trainer._get_per_token_logps_and_entropies(model, ids, mask, answer, compute_entropy=True)
    assert logps.shape == entropy.shape == (3, answer) and all(part[:, 0].all() for part in seen if part is not None)
    for (prompt, said), row in zip(rows, logps, strict=True):
        alone = model(input_ids=torch.tensor([prompt + said])).logits[0].log_softmax(-1)
        wanted = [alone[len(prompt) - 1 + at, token].item() for at, token in enumerate(said)]
        torch.testing.assert_close(row[: len(said)], torch.tensor(wanted), atol=1e-5, rtol=1e-5)
