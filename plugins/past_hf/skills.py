"""Skills added to a loaded model: W + scale * v in float32, in memory only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pastcli import output
from pastcli.api import Checkpoint, TensorSpec
from pastcli.errors import MismatchError
from pastcli.vectors.deltas.common_rows import fitted
from pastcli.vectors.files.opening import Products, format_of, open_model, refuse_tied
from pastcli.vectors.files.skill import open_skill
from pastcli.vectors.inject import check_fit

from .composite import decoder_name, full_names
from .materialize import base_directory, load_model, load_tensors

Skill = tuple[Path | str, float]
PROBE = 4096
"""Values of a tensor compared between file and memory, at its beginning and in its middle."""


def load_with_skills(path: Path, skills: Sequence[Skill]) -> Any:
    """The model at `path` in float32 with each (skill file or adapter directory, scale) added.

    The sum is the one `past inject` writes with a float32 output. A model may hold its weights under other names or in other
    shapes than its file does (experts in one tensor, say); a skill of such is added to the weights as the file has them, and
    transformers makes a model of the sum. Raises `MismatchError` for a skill of another model.
    """
    model = load_model(path, _float32())
    placed = [(Path(file), scale, _is_placed(model, Path(file), path)) for file, scale in skills]
    stored = [(file, scale) for file, scale, here in placed if not here]
    if stored:
        kind, config, generation = type(model), model.config, model.generation_config
        del model
        model = load_tensors(kind, config, _sums(path, stored), path)
        model.generation_config = generation
    for file, scale, here in placed:
        if here:
            _add(model, file, scale, path)
    return model


def _float32() -> Any:
    import torch

    return torch.float32


def _is_placed(model: Any, file: Path, path: Path) -> bool:
    """Whether the model in memory holds every tensor that `file` changes as its own file does: same name, shape and values."""
    held = _held(model)
    with _opened(file, path, say=True) as delta, closing(open_model(path)) as stored:
        for name, spec in delta.specs().items():
            if name not in held or tuple(held[name].shape) != tuple(spec.shape):
                return False
            if name in stored.specs() and not _alike(held[name], stored, spec):
                return False
    return True


def _held(model: Any) -> dict[str, Any]:
    """The tensors in memory, by the names that files have here."""
    held = model.state_dict()
    return {name: held[key] for key, name in full_names(held).items()} if decoder_name(model) else held


def _alike(held: Any, stored: Checkpoint, spec: TensorSpec) -> bool:
    count = math.prod(spec.shape)
    flat = held.detach().reshape(-1)
    for start in (0, count // 2):
        stop = min(count, start + PROBE)
        if not np.allclose(flat[start:stop].float().cpu().numpy(), stored.read(spec.name, start, stop), atol=1e-6):
            return False
    return True


def _add(model: Any, file: Path, scale: float, path: Path) -> None:
    import torch

    held = _held(model)
    with _opened(file, path) as delta, torch.no_grad():
        for name, spec in delta.specs().items():
            held[name] += torch.from_numpy(_change(delta, spec, scale)).to(held[name].device)


def _change(delta: Any, spec: TensorSpec, scale: float) -> np.ndarray:
    change = np.ascontiguousarray(delta.block(spec.name, 0, math.prod(spec.shape)), np.float32) * np.float32(scale)
    return change.reshape(spec.shape)


def _sums(path: Path, skills: Sequence[Skill]) -> dict[str, np.ndarray]:
    """Every tensor of floats of the model at `path`, as its file names it, with the skills added."""
    with closing(open_model(path if path.is_dir() else base_directory(path))) as model:
        found = {name: model.read(name).reshape(spec.shape) for name, spec in model.specs().items()}
    for file, scale in skills:
        with _opened(Path(file), path) as delta:
            for name, spec in delta.specs().items():
                if name not in found or found[name].shape != tuple(spec.shape):
                    raise MismatchError(f"{file} changes {name} {tuple(spec.shape)}, which {path} does not have")
                found[name] = found[name] + _change(delta, spec, scale)
    return found


@contextmanager
def _opened(file: Path, path: Path, say: bool = False) -> Iterator[Any]:
    """The change a file makes, after it was found to belong to the model; how it fits is told where `say`."""
    if file.suffix == ".gguf":
        raise MismatchError(
            f"{file} is an adapter for llama.cpp", "use --backend llamacpp, or the skill it was made of"
        )
    if not file.is_dir():
        notes = check_fit([file], path)
        for text in notes if say else ():
            output.warn(text)
        with closing(open_skill(file)) as skill, closing(open_model(path)) as model:
            yield fitted(skill, model.specs())
        return
    adapter, base = format_of(file).open(file), open_model(path)
    try:
        refuse_tied(adapter, base)
        yield Products([adapter])
    finally:
        adapter.close()
        base.close()
