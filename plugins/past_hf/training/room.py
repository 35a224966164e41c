"""Room on the disk for what a training makes, looked for before it costs hours."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from pastcli.errors import FullDisk


def refuse_without_room(model: nn.Module, folder: Path) -> None:
    """Raise `FullDisk` where the result, what is trained in float32, does not fit into `folder`; checkpoints, which a training can do
    without, are not counted."""
    needed = 4 * sum(one.numel() for one in model.parameters() if one.requires_grad)
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"{folder} has {free / 1e9:.2f} GB free, and the trained model takes {needed / 1e9:.2f} GB"
        raise FullDisk(
            message, "free some space, or train in a workspace elsewhere: -C WORKSPACE; LoRA takes less: --method lora"
        )
