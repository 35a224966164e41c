"""A trained model as a directory: what belongs to its source beside it, and of one with towers all that text does not reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pastcli.errors import PastError
from pastcli.files import copy_beside
from pastcli.vectors.checks.towers import towers
from pastcli.vectors.checks.vocabulary import HEADS
from pastcli.vectors.files.stream import BLOCK, cut
from pastcli.vectors.numbers import arithmetic

from .checkpoint import HFCheckpoint
from .composite import full_name, is_composite, read_config
from .folder import companions
from .materialize import first_line, hf_directory
from .naming import full_names
from .portable import make_portable
from .writer import HFWriter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def save_model(model: PreTrainedModel, source: Path, folder: Path, state: dict[str, Any] | None = None) -> Path:
    """Write weights and config of a float32 model, and beside them what else belongs to `source`: tokenizer, notes.

    `state` are the weights where the model itself holds only a part of them.
    """
    source = hf_directory(source)
    try:
        with closing(HFCheckpoint(source)) as original:
            if is_composite(original.config) or _holds_more(original, model, state):
                _save_as(original, _stored(original, model, state), folder)
                return folder
        with _as_read(model, source):
            model.save_pretrained(folder, state_dict=state)
        (folder / "generation_config.json").unlink(missing_ok=True)
    except PastError:
        raise
    except Exception as error:  # OSError, or safetensors' own type when the disk is full
        raise PastError(f"the model cannot be written to {folder}: {first_line(error)}", "is the disk full?") from error
    copy_beside(companions(source), source, folder)
    make_portable(folder)
    return folder


@contextmanager
def _as_read(model: PreTrainedModel, source: Path) -> Iterator[None]:
    """Within it the model's configuration is that of `source`: trainers set what suits them (`use_cache`), and the special tokens to those
    of the tokenizer, of which embeddings take the one for padding as a row that is not trained."""
    from transformers import GenerationConfig

    now = model.config, getattr(model, "generation_config", None)
    model.config = read_config(source)
    if now[1] is not None:
        model.generation_config = GenerationConfig()  # that of `source` is copied
    try:
        yield
    finally:
        model.config, model.generation_config = now


def _stored(
    original: HFCheckpoint, model: PreTrainedModel, state: Mapping[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """The weights as transformers would write them, under the names that those of `original` have here: experts that lie together in
    memory are apart again."""
    from transformers.core_model_loading import revert_weight_conversion

    made = revert_weight_conversion(model, dict(model.state_dict() if state is None else state))
    names = full_names(original.config, made)
    return {names[key]: value for key, value in made.items()}


def _names(original: HFCheckpoint, model: PreTrainedModel, state: Mapping[str, torch.Tensor] | None = None) -> set[str]:
    """The names of `_stored`, without its weights."""
    weights = model.state_dict() if state is None else state
    return set(_stored(original, model, {name: value.to("meta") for name, value in weights.items()}))


def _unplaced(original: HFCheckpoint, model: PreTrainedModel, names: set[str]) -> str | None:
    """One of the weights in memory that the files of `original` have no place for; None if there is none."""
    placed = original.specs().keys() | set(original.carried)
    placed |= {full_name(name) for name, _ in model.named_buffers()} | (set(HEADS) if original.tied else set())
    return next((name for name in sorted(names) if name not in placed), None)


def _holds_more(original: HFCheckpoint, model: PreTrainedModel, state: Mapping[str, torch.Tensor] | None) -> bool:
    """Whether the files hold weights that transformers passes over, as it does the layers that predict further tokens (GLM-4.5, DeepSeek
    V3), beside all that it loads: it would write a model without them."""
    names = _names(original, model, state)
    return bool(original.specs().keys() - names) and _unplaced(original, model, names) is None


def refuse_unplaced(model: PreTrainedModel, source: Path) -> None:
    """Raise `PastError`, before hours are spent, for a model that could not be written as `source` is: nothing that was trained may be
    left out, and a tensor that goes by a name not known here would be.
    """
    with closing(HFCheckpoint(hf_directory(source))) as original:
        if not is_composite(original.config):
            return
        lost = _unplaced(original, model, _names(original, model))
    if lost:
        raise PastError(
            f"{source} has no place for {lost}: its files name the parts of this model in a way that is not known here",
            "write it out once by transformers (from_pretrained, save_pretrained), and train that",
        )


def _save_as(original: HFCheckpoint, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write `weights` laid out like the directory they came from: names, shards, config.

    What is not among them (layers that predict further tokens, which transformers leaves out), and towers that are what they
    were, keep the bytes of the original; all else is float32.
    """
    specs = original.specs()
    beside = towers(specs)
    kept = {name for name in specs if name not in weights or (name in beside and _unchanged(original, name, weights))}
    writer = HFWriter(original, folder, "f32", {name: specs[name].dtype for name in kept}, "nearest", 0)
    try:
        for name in specs:
            if name in kept:
                writer.copy(name)
                continue
            value = weights[name].detach().float().cpu().numpy().reshape(-1)
            for start, stop in cut(0, value.size, BLOCK, BLOCK):
                writer.write(name, start, value[start:stop])
        writer.finish()
    finally:
        writer.close()


def _unchanged(original: HFCheckpoint, name: str, weights: Mapping[str, torch.Tensor]) -> bool:
    value = weights[name].detach().float().cpu().numpy().reshape(-1)
    return value.size == original.specs()[name].numel and all(
        np.array_equal(arithmetic.widen(original.raw(name, *block), original.specs()[name].dtype), value[slice(*block)])
        for block in cut(0, value.size, BLOCK, BLOCK)
    )
