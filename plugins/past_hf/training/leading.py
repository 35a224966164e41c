"""Rows of GRPO with their padding behind them.

TRL pads prompts on the left and answers on the right. A padded token on the left may attend to nothing, for which attention has
no definition: seen on an H100 (torch 2.11, bf16), rows of 64 tokens gave a finite loss and gradients that were NaN. And a model
with learned positions would read a prompt at other positions than it answered it at. Padded on the right, each token has at
least itself to attend to, and every prompt begins at position 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Leading:
    """B rows that begin with their prompts. The last `keep` columns hold every answer."""

    ids: torch.Tensor
    """(B, W)."""
    mask: torch.Tensor
    """(B, W): 1, then 0."""
    keep: int
    where: torch.Tensor
    """(B, C): the column, among the last `keep`, of each token of the answers."""

    def answers(self, scored: torch.Tensor) -> torch.Tensor:
        """(B, C) of what the model said of the last `keep` columns, (B, `keep`); what is padding is left as it comes."""
        return scored.gather(1, self.where)


def leading(ids: torch.Tensor, mask: torch.Tensor, answer: int) -> Leading:
    """Rows (B, P + C) of prompts padded on the left and answers of up to C = `answer` tokens padded on the right."""
    pads = (mask.cumsum(1) == 0).sum(1, keepdim=True)
    columns = torch.arange(ids.shape[1], device=ids.device)
    order = (columns + pads) % ids.shape[1]
    moved = mask.gather(1, order)
    starts = ids.shape[1] - answer - pads
    first = int(starts.min())
    width = max(first + 1, int((moved * (columns + 1)).max()))
    where = starts - first + columns[:answer]
    keep = width - first
    return Leading(ids.gather(1, order)[:, :width], moved[:, :width], keep, where.clamp(max=keep - 1))
