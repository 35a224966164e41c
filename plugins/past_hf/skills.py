"""Skills added to a loaded model: W + scale * v in float32, in memory only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.errors import MismatchError
from pastcli.vectors.files.opening import Products, format_of, open_model, refuse_tied
from pastcli.vectors.files.skill import open_skill
from pastcli.vectors.inject import check_fit

from .composite import decoder_name, full_names


def add_skills(model: Any, path: Path, skills: Sequence[tuple[Path | str, float]]) -> None:
    """Add each (skill file or adapter directory, scale) to `model`, loaded in float32 from `path`.

    The sum is the one `past inject` writes with a float32 output. Raises `MismatchError` for a skill of another model.
    """
    import torch

    parameters = dict(model.named_parameters())
    if decoder_name(model):
        parameters = {name: parameters[key] for key, name in full_names(parameters).items()}
    for file, scale in skills:
        with _opened(Path(file), path) as delta, torch.no_grad():
            for name, spec in delta.specs().items():
                if name not in parameters or tuple(parameters[name].shape) != tuple(spec.shape):
                    raise MismatchError(f"{file} changes {name} {tuple(spec.shape)}, which {path} does not have")
                change = np.ascontiguousarray(delta.block(name, 0, math.prod(spec.shape)), np.float32) * np.float32(
                    scale
                )
                target = parameters[name]
                target += torch.from_numpy(change).reshape(target.shape).to(target.device)


@contextmanager
def _opened(file: Path, path: Path) -> Iterator[Any]:
    """The change a file makes, after it was found to belong to the model."""
    if file.suffix == ".gguf":
        raise MismatchError(
            f"{file} is an adapter for llama.cpp", "use --backend llamacpp, or the skill it was made of"
        )
    if not file.is_dir():
        check_fit([file], path)
        skill = open_skill(file)
        try:
            yield skill
        finally:
            skill.close()
        return
    adapter, base = format_of(file).open(file), open_model(path)
    try:
        refuse_tied(adapter, base)
        yield Products([adapter])
    finally:
        adapter.close()
        base.close()
