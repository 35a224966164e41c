"""Which file of a model directory holds which tensor: one file, or shards with an index, which may not say all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pastcli.errors import MismatchError
from pastcli.files import read_json
from pastcli.vectors.files.safetensors import SafeReader

from .folder import INDEX, SINGLE, no_weights


def locate(folder: Path, shards: dict[str, SafeReader]) -> dict[str, str]:
    """Tensor name -> file name, in file order; `shards` gets the files, opened. A single file wins over an index, as in transformers.

    Raises `MismatchError` for what is missing, and where two files hold different tensors of one name.
    """
    try:
        if (folder / SINGLE).exists():
            return _alone(folder / SINGLE, shards)
        if (folder / INDEX).exists():
            return _from_index(folder, read_json(folder / INDEX).get("weight_map"), shards)
        lone = sorted(folder.glob("*.safetensors"))
        if len(lone) == 1:
            return _alone(lone[0], shards)
    except OSError as error:
        raise MismatchError(f"{folder}: cannot read the weights: {error}") from None
    raise no_weights(folder)


def _alone(file: Path, shards: dict[str, SafeReader]) -> dict[str, str]:
    shards[file.name] = SafeReader(file)
    return dict.fromkeys(shards[file.name].entries, file.name)


def _from_index(folder: Path, weight_map: Any, shards: dict[str, SafeReader]) -> dict[str, str]:
    """All that lies in the files of an index, which is what transformers loads, whether the index names it or not."""
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise MismatchError(f"{folder / INDEX} has no weight_map of names to files")
    where: dict[str, str] = {}
    for file in sorted(set(weight_map.values())):
        if Path(file).name != file:
            raise MismatchError(f"{folder / INDEX} names a shard outside its directory: {file!r}")
        if not (folder / file).is_file():
            raise MismatchError(f"{folder / INDEX} names a missing shard: {file}", "copy or download it again")
        shards[file] = SafeReader(folder / file)
        for name in shards[file].entries:
            if name in where:
                _refuse_two(folder, name, where[name], file, shards)
            where.setdefault(name, file)
    for name, file in weight_map.items():
        if name not in shards[file].entries:
            raise MismatchError(f"{folder}: the index puts tensor {name!r} into {file}, which has none of that name")
    return where


def _refuse_two(folder: Path, name: str, one: str, other: str, shards: dict[str, SafeReader]) -> None:
    """Raise `MismatchError` for a tensor that two shards hold with different values: programs differ in which they take."""
    a, b = (shards[file].entries[name] for file in (one, other))
    first, second = (shards[file].read(name, np.dtype("u1")) for file in (one, other))
    if (a.dtype, a.shape) != (b.dtype, b.shape) or not np.array_equal(first, second):
        raise MismatchError(
            f"{folder}: {one} and {other} hold different tensors of the name {name!r}",
            "which of them is meant cannot be told: download or write the model again",
        )
