"""Self-test of the transformers backend, for `past doctor`: a tiny model is made, asked, and trained in every way."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from pastcli import tested
from pastcli.errors import PastError, said
from pastcli.installed import versions_of

Check = tuple[str, bool, str] | tuple[str, bool, str, str]
TRAINERS = ("transformers", "trl", "accelerate", "peft")


def doctor() -> list[Check]:
    """(check, passed, detail[, command that mends it]) of what past takes from these libraries, in the versions installed."""
    from .quiet import quiet

    quiet()
    return [_decoding(), _training()]


def _decoding() -> Check:
    """Forward, backward and our decoding."""
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
        return ("transformers", False, f"{trouble}; {detail}", tested.install(["transformers"]))
    return ("transformers", True, f"answers; {detail}")


def _training() -> Check:
    """SFT, GRPO and LoRA give the numbers of their definitions."""
    begun = time.monotonic()
    try:
        from .training import selftest

        with tempfile.TemporaryDirectory() as folder:
            trouble = selftest.trouble(Path(folder))
    except PastError as error:
        trouble = error.message
    except Exception as error:  # what a library does when something of it is gone
        trouble = said(error)
    versions = ", ".join(f"{name} {version}" for name, version in versions_of(TRAINERS).items())
    detail = f"{versions}; {time.monotonic() - begun:.1f} s"
    if trouble:
        back = [*tested.newer(TRAINERS)] or [*tested.newer(("torch",))] or list(TRAINERS)
        return ("training", False, f"{trouble}; {detail}", tested.install(back))
    return ("training", True, f"gives the numbers of its definition; {detail}")


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
