"""How fast this machine is at this model: a few layers of it, trained and decoded for at most ten seconds."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..compute import WorkingWeights, device, token_logprobs
from ..generation import generate
from .memory import Load

SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """Seconds, fixed and for each layer: of one backward pass of the load, one optimiser step, one decoding of the load."""

    backward: tuple[float, float]
    update: tuple[float, float]
    decode: tuple[float, float]


def measure(model_config: Any, load: Load, dtype: torch.dtype, attention: str, new_tokens: int) -> Speed:
    """Time the model with one and with three layers, with random weights; what is between them is three layers less one."""
    small, large = (_timed(model_config, layers, load, dtype, attention, new_tokens) for layers in (1, 3))
    slopes = [(b - a) / 2 for a, b in zip(small, large, strict=True)]
    fixed = [max(0.0, a - slope) for a, slope in zip(small, slopes, strict=True)]
    return Speed(*zip(fixed, slopes, strict=True))


def _timed(model_config: Any, layers: int, load: Load, dtype: Any, attention: str, new_tokens: int) -> list[float]:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model_config)
    config.get_text_config().num_hidden_layers = layers
    if getattr(config.get_text_config(), "layer_types", None):
        config.get_text_config().layer_types = config.get_text_config().layer_types[:layers]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention).to(device())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(0, config.get_text_config().vocab_size, (load.rows, load.width), device=device())
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    wanted[:, -max(1, min(load.width - 1, load.labels // load.rows)) :] = True
    wanted[:, 0] = False

    def backward() -> None:
        with WorkingWeights(model, dtype) as working:
            working.backward(-token_logprobs(model, ids, wanted)[0].mean())

    def decode() -> None:
        prompt = ids[0, : max(1, load.context - new_tokens)].tolist()
        rows = min(load.decoded, 512)
        model.eval()
        with WorkingWeights(model, dtype):
            generate(
                model, [prompt], max_new_tokens=new_tokens, stopped=lambda _: False, pad=0, copies=rows, temperature=1.0
            )
        model.train()

    share = SECONDS / 2 / 3
    times = [_mean(backward, share), _mean(optimizer.step, share)]
    return [*times, _mean(decode, share) if load.decoded else 0.0]


def _mean(work: Callable[[], Any], seconds: float) -> float:
    """The fastest of as many calls as fit into `seconds`, after one to warm up: other work on the machine only adds."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= end:
            return best
