"""How fast this machine is at this model: a few layers of it, trained and decoded, in at most ten seconds of work."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..attending import attend
from ..company import Company
from ..composite import auto_class, towers
from ..compute import WorkingWeights, device, token_logprobs
from ..generation import generate
from ..training.lora import lora_config
from .memory import Load

SECONDS = 10.0
FEW = 8
"""Tokens decoded to see what one costs."""
ENOUGH = 400
"""Calls of the same work after which a faster one is hardly to come, and others at work have been met."""
Line = tuple[float, float]
"""Seconds, fixed and for each layer."""


@dataclass(frozen=True)
class Speed:
    """Seconds, fixed and for each layer: of one backward pass of the load, one optimiser step, one decoding of the load where
    every answer ends with its first token, and one where all are as long as they may be."""

    backward: Line
    update: Line
    first: Line
    decode: Line


def measure(
    model_config: Any, settings: Any, load: Load, dtype: torch.dtype, attention: str, company: Company
) -> Speed:
    """Time the model with one and with three layers, with made-up weights; what is between them is three layers less one.

    Where the whole load would take longer than there is time, fewer rows are timed, and the rest follows by a line. `company`
    learns who else was at work meanwhile, and how calls of the same work differed.
    """
    end = time.perf_counter() + SECONDS
    with company:
        small, large = (
            _timed(_cut(model_config, layers), settings, load, dtype, attention, end, company) for layers in (1, 3)
        )
    slopes = [max(0.0, (b - a) / 2) for a, b in zip(small, large, strict=True)]
    fixed = [max(0.0, a - slope) for a, slope in zip(small, slopes, strict=True)]
    return Speed(*zip(fixed, slopes, strict=True))


def _cut(model_config: Any, layers: int) -> Any:
    config = copy.deepcopy(model_config)
    text = config.get_text_config()
    whole = text.num_hidden_layers
    for name, value in list(vars(text).items()):  # the kind of each layer, whether it has rotary embeddings, ...
        if isinstance(value, list) and len(value) == whole:
            setattr(text, name, (value * layers)[:layers])
    text.num_hidden_layers = layers
    return config


def _timed(
    config: Any, settings: Any, load: Load, dtype: torch.dtype, attention: str, end: float, company: Company
) -> list[float]:
    model = _made(config, settings, attention)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    vocabulary = config.get_text_config().vocab_size

    def backward(rows: int) -> None:
        ids = torch.randint(0, vocabulary, (rows, load.width), device=device())
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        wanted[:, -max(1, min(load.width - 1, load.labels // load.rows)) :] = True
        wanted[:, 0] = False
        if attention == "eager" and not load.decoded:  # as the tuned step of SFT
            attend(model, load.width)
        with WorkingWeights(model, dtype) as working:
            working.backward(-token_logprobs(model, ids, wanted)[0].mean())

    def decode(rows: int, new: int) -> None:
        prompt = torch.randint(0, vocabulary, (max(1, load.context - load.new),)).tolist()
        copies = max(1, load.decoded // max(1, load.prompts))
        prompts = [prompt] * max(1, round(rows / copies))
        model.eval()
        with WorkingWeights(model, dtype):
            generate(model, prompts, max_new_tokens=new, stopped=lambda _: False, pad=0, copies=copies, temperature=1.0)
        model.train()

    left = 4 if load.decoded else 2  # what is still to be timed with this many layers, in parts of the time left
    took = [
        _rows(backward, load.rows, _share(end, config, left)),
        _best(optimizer.step, _share(end, config, left - 1), company),
    ]
    if not load.decoded:
        return [*took, 0.0, 0.0]
    few = min(FEW, load.new)
    first = _rows(lambda rows: decode(rows, 1), load.decoded, _share(end, config, 2))
    more = _rows(lambda rows: decode(rows, few), load.decoded, _share(end, config, 1)) if few > 1 else first
    return [*took, first, first + max(0.0, more - first) / max(1, few - 1) * (load.new - 1)]


def _made(config: Any, settings: Any, attention: str) -> Any:
    """The model with the LoRA that is to be trained; weights are of a size that keeps every number finite."""
    from peft import get_peft_model
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = auto_class(config).from_config(config, dtype=torch.float32, attn_implementation=attention)
    model.tie_weights()
    for one in model.parameters():
        one.data.fill_(0.01)
    for one in towers(model):
        one.requires_grad_(False)
    wanted = lora_config(settings, model)
    if settings.gradient_checkpointing == "on":
        model.gradient_checkpointing_enable()
    return (get_peft_model(model, wanted) if wanted else model).to(device()).train()


def _share(end: float, config: Any, parts: int) -> float:
    """Seconds for the next of `parts` measures; the smaller model leaves the larger one two thirds of the time."""
    left = max(0.0, end - time.perf_counter())
    return left / parts / (3 if config.get_text_config().num_hidden_layers == 1 else 1)


def _rows(work: Callable[[int], Any], rows: int, seconds: float) -> float:
    """Seconds that `rows` rows take: timed with 1, 4, 16, ... of them as long as `seconds` are sure to suffice for the next, up to
    all; what is left out follows from the last two."""
    end = time.perf_counter() + seconds
    took, many = _once(lambda: work(1)), 1  # which also warms up
    if time.perf_counter() + took < end:
        took = min(took, _once(lambda: work(1)))
    slope = took
    while many < rows:
        left = int((end - time.perf_counter()) / took * many)
        if left < 2 * many:
            break
        more = min(rows, 4 * many, left)
        longer = _once(lambda: work(more))  # noqa: B023 - called at once
        slope, took, many = max(0.0, (longer - took) / (more - many)), longer, more
    return took + slope * (rows - many)


def _best(work: Callable[[], Any], seconds: float, company: Company) -> float:
    """The fastest of as many calls as fit into `seconds`, at most `ENOUGH`: other work on the machine only adds. The first warms up."""
    end = time.perf_counter() + seconds
    best = _once(work)
    later: list[float] = []
    while time.perf_counter() + best < end and len(later) < ENOUGH:
        later.append(_once(work))
        best = min(best, later[-1])
    if len(later) > 1:
        company.repeated(later)
    return best


def _once(work: Callable[[], Any]) -> float:
    """Seconds by the clock, but no more than of processors: what a call waits for others, small differences would multiply."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return min(time.perf_counter() - began, time.process_time() - busy)
