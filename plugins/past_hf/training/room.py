"""Room on the disk for what a training makes, looked for before it costs hours."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pastcli.diskspace import require


def refuse_without_room(model: nn.Module, folder: Path) -> None:
    """Raise `FullDisk` where the result, what is trained in float32, does not fit into `folder`; checkpoints, which a training can do
    without, are not counted. Beside an adapter nothing else is written; towers beside a language model are, in 16 bits at least."""
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    beside = 0 if hasattr(model, "peft_config") else sum(one.numel() for one in model.parameters()) - trained
    needed = 4 * trained + 2 * beside
    hint = "free some space, or train in a workspace elsewhere: -C WORKSPACE; LoRA takes less: --method lora"
    require(folder, needed, f"the trained model takes {needed / 1e9:.2f} GB", hint)
