"""Whether a model computes in 16 bits at all, found out before the first step."""

from __future__ import annotations

from typing import Any

import torch

from pastcli import output
from pastcli.errors import UsageError

from ..habits import alone, holds, samples

MANY = 8
"""Times that a sample is repeated: some kernels are other ones for long rows."""


def settle_precision(trainer: Any) -> None:
    """Let a trainer of the tuned step compute in float32 where its model breaks down in 16 bits: some hold tables in float32 (XGLM's
    positions, xLSTM's gates) that do not go together with weights in another type. Raises `UsageError` where 16 bits were asked for.
    """
    if trainer.dtype == torch.float32 or _computes(trainer):
        return
    name = type(trainer.model).__name__
    if trainer.job.config.precision != "auto":
        raise UsageError(f"{name} does not compute in {trainer.dtype}: parts of it stay float32", "--precision fp32")
    output.note(f"{name} does not compute in 16 bits: parts of it stay float32; training in float32")
    trainer.dtype = torch.float32
    del trainer.working


def _computes(trainer: Any) -> bool:
    model, training = trainer.model, trainer.model.training
    model.train()  # as in a step: kernels may differ
    with trainer.working, torch.no_grad():
        found = holds(lambda: bool(alone(model, samples(model)[0] * MANY).numel()))
    model.train(training)
    return found
