"""How many tokens a card's memory holds in one backward pass, where the user has not said."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pastcli import api, output
from pastcli.errors import MismatchError

from ..composite import read_config
from ..compute import compute_dtype
from ..materialize import load_tokenizer
from ..training.arguments import Machine
from ..training.layout import Layout
from .memory import CARD_RUNTIME, GB, parts, peak
from .shape import Shape, shape_of
from .work import Settings, Sizes, measured, sizes

USUAL = 1000
"""Without a card, where more at once is no faster; on a card the least."""
SHARE = 0.8
"""Of the free memory: the plan is right to a fifth (tests/training/test_train_plan.py)."""

_ASK = "import torch; print(min(torch.cuda.mem_get_info(card)[0] for card in range(torch.cuda.device_count())))"


def of_job(job: api.TrainJob, read: Callable[[], Sequence[dict[str, Any]]], layout: Layout) -> Any:
    """The job's settings with a `batch_tokens`, by the memory that is free on this machine's cards now, and by the rows, which
    are `read` only where this depends on them.

    One place decides for all processes: they share out each step by it. Episodes with tools, whose length nobody knows, and
    models that cannot be planned for get `USUAL`.
    """
    settings = job.config
    machine = Machine(torch.cuda.is_available(), layout.processes, settings.sharding == "full" and layout.processes > 1)
    if settings.batch_tokens or not machine.cuda or job.episodes is not None:
        return dataclasses.replace(settings, batch_tokens=settings.batch_tokens or USUAL)
    room = _free(layout)
    try:
        shape = shape_of(read_config(job.model), settings)
        rows_are = sizes(read(), load_tokenizer(job.model), settings)
        made = with_batch_tokens(settings, machine, shape, rows_are, room, compute_dtype(settings.precision))
    except MismatchError:
        return dataclasses.replace(settings, batch_tokens=USUAL)
    output.note(f"batch_tokens: {made.batch_tokens}, by the {room / GB:.0f} GB free on a card")
    return made


def with_batch_tokens(
    settings: Settings, machine: Machine, shape: Shape, rows: Sizes, room: float, dtype: torch.dtype
) -> Settings:
    """`settings` with a `batch_tokens`: the user's; without a card `USUAL`; else the largest `USUAL` x 2^k of which the plan says
    that it fits `room` bytes, and no more than a step fills."""
    if settings.batch_tokens:
        return settings
    chosen = dataclasses.replace(settings, batch_tokens=USUAL)
    filled = 0
    while machine.cuda:
        more = dataclasses.replace(chosen, batch_tokens=2 * chosen.batch_tokens)
        load = measured(rows, more, machine).load
        need = peak(parts(shape, more, machine, load, dtype.itemsize), CARD_RUNTIME)
        if load.rows * load.width <= filled or need > room * (SHARE - _of_vllm(settings)):
            break
        chosen, filled = more, load.rows * load.width
    return chosen


def _of_vllm(settings: Any) -> float:
    """The share of a card that answers are decoded in."""
    return settings.vllm_memory if getattr(settings, "rollouts", "own") == "vllm" else 0.0


def _free(layout: Layout) -> float:
    """Bytes free on the fullest card. With several processes another one looks: looking takes memory of the card for good."""
    if layout.processes == 1:
        return float(torch.cuda.mem_get_info()[0])
    return float(subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True).stdout)
