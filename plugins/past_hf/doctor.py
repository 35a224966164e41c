"""Self-test of the transformers backend, for `past doctor`: a tiny model is made, trained for a step, and asked."""

from __future__ import annotations

import time
from typing import Any

from pastcli.errors import PastError

MEASURED = "5.23.0"
"""The transformers of .ci/constraints.txt, for whoever has one that past does not know."""


def doctor() -> list[tuple[str, bool, str] | tuple[str, bool, str, str]]:
    """(check, passed, detail[, command that mends it]): forward, backward and our decoding really work with the torch and transformers installed."""
    import torch
    import transformers

    begun = time.monotonic()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=64, **sizes))
    ids = torch.arange(16).reshape(2, 8)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    learns = losses[-1] < losses[0] and bool(torch.isfinite(torch.tensor(losses)).all())
    trouble = _trouble_with_answers(model.eval()) if learns else f"a step of training does not lower the loss: {losses}"
    detail = f"transformers {transformers.__version__}, torch {torch.__version__}; {time.monotonic() - begun:.1f} s"
    if trouble:
        return [("transformers", False, f"{trouble}; {detail}", f"pip install 'transformers=={MEASURED}'")]
    return [("transformers", True, f"trains and answers; {detail}")]


def _trouble_with_answers(model: Any) -> str:
    from .habits import habits

    try:
        if not _answers_as_it_reads(model):
            return "an answer is not what the model says when it reads all at once"
    except PastError as error:
        return error.message
    return "" if habits(model).cache else "what a model has read cannot be kept: it would read all again for each token"


def _answers_as_it_reads(model: Any) -> bool:
    """Whether our decoding, which keeps what was read, finds the tokens that the model gives when it reads all anew for each."""
    import torch

    from .generation import generate

    prompt = [3, 1, 4, 1, 5]
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(4):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return generate(model, [prompt], max_new_tokens=4, stopped=lambda _: False, pad=0) == [ids[len(prompt) :]]
