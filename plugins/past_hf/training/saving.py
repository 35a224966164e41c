"""Trained weights out of however many processes, whole and in float32 (METHOD 5: no 16-bit gather)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3

from pastcli.environment import cores
from pastcli.errors import PastError
from pastcli.files import copy_beside

from ..folder import companions
from ..portable import make_portable
from ..saved import save_model


def gathered(trainer: Any) -> dict[str, torch.Tensor]:
    """Name -> trained weight in float32, whole, on rank 0; other ranks get what they hold. All processes call it."""
    if not trainer.is_fsdp_enabled:
        return {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    trained = [name for name, value in trainer.model.named_parameters() if value.requires_grad]
    whole = trainer.accelerator.get_state_dict(trainer.model)
    return {name: whole[name] for name in trained if name in whole}


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """BLAKE3 over the trainable weights, fp32, by every core."""
    digest = blake3(max_threads=cores())
    for name, value in weights.items():
        if getattr(value, "requires_grad", True) or not isinstance(value, torch.nn.Parameter):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().flatten().view(torch.uint8).numpy())
    return f"blake3:{digest.hexdigest()}"


def save(trainer: Any, state: dict[str, torch.Tensor], folder: Path) -> Path:
    """Write the model, or the adapter, that `gathered` gave; for rank 0."""
    job, model = trainer.job, trainer.accelerator.unwrap_model(trainer.model)
    whole = state if trainer.is_fsdp_enabled else None
    if job.config.method == "full":
        return save_model(model, job.model, folder, whole)
    model.peft_config["default"].base_model_name_or_path = str(job.model)
    try:
        model.save_pretrained(folder, state_dict=whole)
    except Exception as error:  # OSError, or safetensors' own type when the disk is full
        raise PastError(f"the adapter cannot be written to {folder}: {error}", "is the disk full?") from error
    of_model = ("generation_config.json", "past.json")
    beside = [file for file in companions(job.model) if file.name not in of_model and file.suffix != ".py"]
    copy_beside(beside, job.model, folder)
    make_portable(folder)
    return folder
