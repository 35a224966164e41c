"""Checkpoints that are dictionaries in this process: `put("base", {...})` makes one, at the path `memory:base`.

    base = memory_format.open(put("base", {"w": np.zeros((2, 2), np.float32)}, dtype="BF16"))
    writer = memory_format.writer(base, Path("memory:copy"))
    writer.write("w", 0, np.ones(4, np.float32))
    writer.finish()                          # only now does `memory:copy` exist

The three classes are the whole `past.checkpoints` role: a format opens checkpoints (to read) and makes writers.
Tensors travel as flat blocks of float32, so that no model ever has to fit into memory at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.api import Checkpoint, Identity, TensorSpec
from pastcli.errors import MismatchError
from pastcli.hashing import shapes_sha256
from pastcli.vectors.numbers.arithmetic import narrow, narrow_stochastic, seeded, widen

PREFIX = "memory:"


@dataclass(frozen=True)
class Stored:
    """What stands behind one path: tensors in file order, each flat and in its stored type, and their meaning."""

    specs: Mapping[str, TensorSpec]
    values: Mapping[str, np.ndarray]
    identity: Identity


_STORE: dict[str, Stored] = {}


def put(name: str, tensors: Mapping[str, np.ndarray], dtype: str = "F32", **identity: Any) -> Path:
    """Keep float32 `tensors` as type `dtype` (F32, F16, BF16) under `memory:<name>`; returns that path.

    `identity` sets fields of `pastcli.api.Identity` (architecture, vocab_size, tied, tokenizer_sha256).
    """
    path = Path(PREFIX + name)
    specs = {key: TensorSpec(key, value.shape, dtype) for key, value in tensors.items()}
    values = {key: narrow(np.array(value, np.float32).ravel(), dtype) for key, value in tensors.items()}
    about = {"architecture": "memory", "vocab_size": 0, "tied": False, **identity}
    _STORE[str(path)] = Stored(specs, values, Identity(**about, shapes_sha256=shapes_sha256(specs.values())))
    return path


def forget() -> None:
    """Empty the store."""
    _STORE.clear()


class MemoryCheckpoint:
    """A `Checkpoint`: the read side."""

    format = "memory"

    def __init__(self, path: Path, stored: Stored):
        self.path = path
        self._stored = stored

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._stored.specs

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Elements [start, stop) as a fresh float32 array. Raises `MismatchError` if there is no such tensor."""
        if name not in self._stored.values:
            raise MismatchError(f"{self.path} has no tensor {name}")
        return np.array(widen(self._stored.values[name][start:stop], self._stored.specs[name].dtype))

    def identity(self) -> Identity:
        return self._stored.identity

    def close(self) -> None:
        """Nothing is open."""


class MemoryWriter:
    """A `CheckpointWriter`: takes blocks of float32 in any order and stores them in the types asked for."""

    def __init__(self, template: Checkpoint, out: Path, types: Mapping[str, str], rounding: str, seed: int):
        self._template, self._out, self._rounding, self._seed = template, out, rounding, seed
        self._specs = {name: replace(spec, dtype=types[name]) for name, spec in template.specs().items()}
        self._values = {
            name: narrow(np.zeros(spec.numel, np.float32), spec.dtype) for name, spec in self._specs.items()
        }
        self._missing = {name: spec.numel for name, spec in self._specs.items()}

    def write(self, name: str, start: int, value: np.ndarray) -> np.ndarray:
        """Store a block; returns it as it can be read back, so that the caller sees what the cast lost."""
        spec = self._specs.get(name)
        if spec is None or start + value.size > spec.numel:
            raise MismatchError(f"{name}: {self._template.path} has no elements {start} to {start + value.size} of it")
        if self._rounding == "stochastic":
            stored = narrow_stochastic(value, spec.dtype, seeded(self._seed, name, start))
        else:
            stored = narrow(value, spec.dtype)
        self._values[name][start : start + value.size] = stored
        self._missing[name] -= value.size
        return widen(stored, spec.dtype)

    def copy(self, name: str) -> None:
        """Take the template's tensor over unchanged."""
        self.write(name, 0, self._template.read(name))

    def finish(self) -> None:
        """Make the checkpoint visible. Raises `MismatchError` if a part of a tensor was never written."""
        missing = [name for name, count in self._missing.items() if count > 0]
        if missing:
            raise MismatchError(f"{self._out} lacks {len(missing)} tensor(s), the first is {missing[0]}")
        _STORE[str(self._out)] = Stored(self._specs, self._values, self._template.identity())

    def close(self) -> None:
        """Nothing is open."""


class MemoryFormat:
    """A `CheckpointFormat`: what the entry point names."""

    name = "memory"

    def accepts(self, path: Path) -> bool:
        return str(path).startswith(PREFIX)

    def open(self, path: Path) -> MemoryCheckpoint:
        stored = _STORE.get(str(path))
        if stored is None:
            raise MismatchError(f"nothing is kept at {path}", "put() it there first")
        return MemoryCheckpoint(Path(path), stored)

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> MemoryWriter:
        """See `CheckpointFormat.writer`: a type named for one tensor wins over `dtype`, that over the template's."""
        stored = {name: spec.dtype if dtype == "auto" else dtype for name, spec in template.specs().items()}
        return MemoryWriter(template, out, {**stored, **(types or {})}, rounding, seed)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        return widen(narrow(value, dtype), dtype)
