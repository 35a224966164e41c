"""Answers to one question read in one row: the numbers and gradients of rows apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from train_tools import RL, job_of, rl_rows, variety, weights

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.lists(st.integers(1, 300), min_size=4, max_size=4), st.integers(20, 600))
def test_each_answer_is_in_one_row_of_its_own_prompt_within_the_memory(rows, lengths, most):
    from past_hf.training import groups

    prompts = [(number,) * lengths[number] for number, _ in rows]
    answers = [length for _, length in rows]
    made = groups.shared(prompts, answers, most)
    assert sorted(row for group in made for row in group) == list(range(len(rows)))
    for group in made:
        assert len({prompts[row] for row in group}) == 1
        length = groups.length_of(group, prompts, answers)
        apart = sum((len(prompts[row]) + answers[row]) ** 2 for row in group)
        assert len(group) == 1 or (length <= most and (length <= groups.SHORT or length**2 <= apart))


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_log_probabilities_and_gradients_are_those_of_rows_apart(make_tiny, tmp_path, arch):
    from past_hf.compute import token_logprobs
    from past_hf.materialize import load_model
    from past_hf.training import groups

    generator = torch.Generator().manual_seed(1)

    def some(length):
        return tuple(torch.randint(3, 320, (length,), generator=generator).tolist())

    questions = [some(7), some(12)]
    prompts = [questions[0], questions[1], questions[0], questions[0], questions[1]]
    answers = [some(length) for length in (4, 6, 1, 5, 3)]

    def read(rows):
        model = load_model(make_tiny(tmp_path / f"{arch}{len(rows)}", seed=3, arch=arch), torch.float32, "eager")
        made = groups.pack(prompts, answers, rows, pad=2)
        hidden = torch.zeros(made.seen.shape).masked_fill(~made.seen, torch.finfo(torch.float32).min)
        reading = {"attention_mask": hidden, "position_ids": made.positions}
        logps, entropies = token_logprobs(model, made.ids, made.answer, 0.7, made.previous, **reading)
        (logps * torch.linspace(-1, 1, len(logps))[_ranks(made.order, answers)]).sum().backward()
        by_row = dict(zip(made.order, logps.split([len(answers[row]) for row in made.order]), strict=True))
        return by_row, entropies.sum(), {name: one.grad for name, one in model.named_parameters()}

    apart, entropy_apart, slopes_apart = read([[row] for row in range(5)])
    together, entropy, slopes = read(groups.shared(prompts, [len(answer) for answer in answers], 1000))
    for row in range(5):
        torch.testing.assert_close(together[row], apart[row], rtol=0, atol=2e-5)
    torch.testing.assert_close(entropy, entropy_apart)
    for name in slopes:
        torch.testing.assert_close(slopes[name], slopes_apart[name], rtol=1e-3, atol=2e-5)


def _ranks(order, answers):
    """Where each token of the rows in `order` stands when the rows are in their own order."""
    starts = [sum(len(answer) for answer in answers[:row]) for row in range(len(answers))]
    return [starts[row] + at for row in order for at in range(len(answers[row]))]


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_step_of_grpo_teaches_what_rows_apart_teach(tmp_path, tiny_model, monkeypatch, beta):
    from past_hf.training import HFTrainer, tuned

    reads = []

    def trained(name):
        config = dataclasses.replace(RL, steps=2, beta=beta, warmup=0.0)
        job = job_of(tmp_path / name, "rl", tiny_model, rl_rows(), config, rewards=[("variety", 1.0, variety)])
        return weights(HFTrainer().rl(job))

    pack = tuned.groups.pack
    monkeypatch.setattr(tuned.groups, "pack", lambda *given: reads.append(pack(*given)) or reads[-1])
    together, rows = trained("together"), [len(made.ids) for made in reads]
    assert any(len(made.order) > len(made.ids) for made in reads)
    reads.clear()
    monkeypatch.setattr(tuned, "shares_rows", lambda model: False)
    apart = trained("apart")
    assert sum(rows) < sum(len(made.ids) for made in reads) and all(len(m.order) == len(m.ids) for m in reads)
    # Adam's first steps have the size of the learning rate whatever the gradient: agreement is in its sign.
    wrong = sum(((together[name] - apart[name]).abs() > 1e-4).sum().item() for name in apart)
    assert wrong / sum(tensor.numel() for tensor in apart.values()) < 2e-3
