"""A model as its files hold it, where transformers would make something up or set it to zero when it loads them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pastcli import output
from pastcli.errors import MismatchError
from pastcli.words import counted

from .checkpoint import HFCheckpoint
from .composite import auto_class, full_name, read_config


def whole(folder: Path, **how: Any) -> Any:
    """The model of the class that its config names. Raises `MismatchError` where weights are missing: transformers makes them up at
    random, and only warns."""
    from .choosing import settle

    with closing(HFCheckpoint(folder)) as files:  # refuses what transformers would read as something else
        kind = auto_class(read_config(folder))
        model, found = kind.from_pretrained(folder, output_loading_info=True, trust_remote_code=False, **how)
        refuse_made_up(model, found, folder)
        _keep_padding(model, files)
    return settle(model)


def _keep_padding(model: Any, files: HFCheckpoint) -> None:
    """Give the embedding of the token for padding what the files hold: transformers 5.24 sets it to zero when it loads Youtu, whose output
    layer it is once more."""
    import torch

    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Embedding) or module.padding_idx is None or module.weight.is_meta:
            continue
        stored = full_name(f"{name}.weight")
        spec = files.specs().get(stored)
        if spec is None or spec.shape != tuple(module.weight.shape):
            continue
        row, width = module.padding_idx, module.embedding_dim
        held = torch.from_numpy(files.read(stored, row * width, (row + 1) * width)).to(module.weight)
        if not torch.equal(module.weight[row], held):
            with torch.no_grad():
                module.weight[row] = held
            output.note(
                f"transformers sets {stored} of token {row} to zero when it loads {files.path}: past keeps what the file holds"
            )


def refuse_made_up(model: Any, found: Mapping[str, Any], folder: Path) -> None:
    """Raise `MismatchError` for parameters that transformers found no weights for (`found` is its loading info)."""
    made_up = sorted({name for name, _ in model.named_parameters()} & set(found["missing_keys"]))
    if made_up:
        raise MismatchError(
            f"{folder} holds no weights for {made_up[0]}"
            + (f" and {counted(len(made_up) - 1, 'more tensors')}" if made_up[1:] else "")
            + f" of {type(model).__name__}, the class that its config.json names",
            "is it complete, and of that class? transformers would make them up at random",
        )
