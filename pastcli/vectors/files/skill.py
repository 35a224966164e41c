"""The skill file: one safetensors that holds a skill vector, tensor by tensor, and says where it belongs.

Each changed tensor of the model, under its HF name, in one of three forms (all float32):

=========  =======================================================  ===========================================
dense      `<name>`                                                 the difference itself
low_rank   `<name>.lora_A` (r, in), `<name>.lora_B` (out, r)        scale * B @ A, the scale in the metadata
sparse     `<name>.crow` (rows+1), `.col` (nnz), `.values` (nnz)    compressed rows; columns ascend in a row
=========  =======================================================  ===========================================

A tensor that is absent is unchanged. The metadata entry `past_skill` is JSON: the model it was taken from
(architecture, shapes, vocabulary, tie flag), the parents with their hashes, per-tensor forms and norms, how
it was trained, and the licence note.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ...api import Identity, LowRank, TensorSpec
from ...errors import MismatchError
from .safetensors import SafeReader, SafeWriter

KEY = "past_skill"
VERSION = 1
ABOUT = ("shapes", "sketch", "parents", "training", "warnings", "licence")
F32, I64, I32 = np.dtype("<f4"), np.dtype("<i8"), np.dtype("<i4")


@dataclass(frozen=True)
class Part:
    """How one tensor of a skill is stored. `norm` is the Frobenius norm of the change; `energy` the share of
    the true difference's squared norm that this form keeps (1 unless it was compressed)."""

    spec: TensorSpec
    form: str
    norm: float
    scale: float = 1.0
    rank: int = 0
    nnz: int = 0
    energy: float = 1.0


@dataclass
class About:
    """What a skill file says of itself."""

    identity: Identity
    shapes: dict[str, list[int]]
    sketch: str = ""
    parents: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    licence: str = "The skill derives from its parents' weights: their licences apply."


class Skill:
    """Read side. `block` gives any part of the change in float32, whatever the form; safe for several threads."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._file = SafeReader(self.path)
        except OSError as error:
            raise MismatchError(f"{path} cannot be read: {error}") from None
        try:
            self.about, self.parts = self._parse()
            for part in self.parts.values():
                self._check(part)
        except BaseException:
            self._file.close()
            raise
        self._factors: OrderedDict[str, LowRank] = OrderedDict()
        self._lock = Lock()

    def _parse(self) -> tuple[About, dict[str, Part]]:
        text = self._file.metadata.get(KEY)
        if text is None:
            raise MismatchError(f"{self.path} is a safetensors file, but not a skill", "make one with `past extract`")
        try:
            table = json.loads(text)
            if table["version"] != VERSION:
                raise MismatchError(
                    f"{self.path} is a skill of format {table['version']}; this `past` reads format {VERSION}",
                    "update `past`",
                )
            identity = Identity(**table["identity"])
            about = About(identity, **{key: table[key] for key in ABOUT})
            parts = {}
            for name, entry in table["tensors"].items():
                entry = dict(entry)
                spec = TensorSpec(name, tuple(entry.pop("shape")), "F32")
                parts[name] = Part(spec, **entry)
            return about, parts
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise MismatchError(f"{self.path}: the skill's own description is corrupt: {error!r:.100}") from None

    def _check(self, part: Part) -> None:
        """The stored pieces must be there, of the right type and shape."""
        name, shape = part.spec.name, part.spec.shape
        rows = part.spec.numel // max(part.spec.columns, 1)
        wanted: dict[str, tuple[str, tuple[int, ...]]]
        if part.form == "dense":
            wanted = {name: ("F32", shape)}
        elif part.form == "low_rank" and len(shape) == 2:
            wanted = {
                f"{name}.lora_A": ("F32", (part.rank, shape[1])),
                f"{name}.lora_B": ("F32", (shape[0], part.rank)),
            }
        elif part.form == "sparse":
            wanted = {
                f"{name}.crow": ("I64", (rows + 1,)),
                f"{name}.col": ("I32", (part.nnz,)),
                f"{name}.values": ("F32", (part.nnz,)),
            }
        else:
            raise MismatchError(f"{self.path}: tensor {name} has the unknown form {part.form!r}")
        for piece, (dtype, piece_shape) in wanted.items():
            entry = self._file.entries.get(piece)
            if entry is None or (entry.dtype, entry.shape) != (dtype, piece_shape):
                raise MismatchError(f"{self.path}: {piece} is missing or not {dtype} {list(piece_shape)}")
        if not math.isfinite(part.norm) or not math.isfinite(part.scale):
            raise MismatchError(f"{self.path}: tensor {name} has no finite norm or scale")

    def specs(self) -> dict[str, TensorSpec]:
        """The tensors that change."""
        return {name: part.spec for name, part in self.parts.items()}

    @property
    def norm(self) -> float:
        """Frobenius norm of the whole skill vector."""
        return math.sqrt(math.fsum(part.norm**2 for part in self.parts.values()))

    def block(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """See `Delta`. Dense tensors are given as they lie in the file, read-only; see `SafeReader.view`."""
        part = self.parts[name]
        stop = part.spec.numel if stop is None else stop
        if part.form == "dense":
            return self._file.view(name, F32, start, stop)
        if part.form == "sparse":
            return self._sparse(part, start, stop)
        factors, columns = self.factors(name), part.spec.columns
        first, last = start // columns, -(-stop // columns)
        product = ((factors.b[first:last] * np.float32(factors.scale)) @ factors.a).reshape(-1)
        return product[start - first * columns : stop - first * columns]

    def factors(self, name: str) -> LowRank:
        """B, A and scale of a low-rank part; the last few read are kept."""
        with self._lock:
            if name not in self._factors:
                rank, (rows, columns) = self.parts[name].rank, self.parts[name].spec.shape
                a = self._file.read(f"{name}.lora_A", F32).reshape(rank, columns)
                b = self._file.read(f"{name}.lora_B", F32).reshape(rows, rank)
                self._factors[name] = LowRank(b, a, self.parts[name].scale)
                while len(self._factors) > 4:
                    self._factors.popitem(last=False)
            return self._factors[name]

    def _sparse(self, part: Part, start: int, stop: int) -> np.ndarray:
        name, columns = part.spec.name, part.spec.columns
        first, last = start // columns, -(-stop // columns)
        crow = self._file.read(f"{name}.crow", I64, first, last + 1)
        if (np.diff(crow) < 0).any() or crow[0] < 0 or crow[-1] > part.nnz:
            raise MismatchError(f"{self.path}: {name}.crow does not ascend within 0..{part.nnz}")
        col = self._file.read(f"{name}.col", I32, int(crow[0]), int(crow[-1])).astype(np.int64)
        if col.size and not 0 <= col.min() <= col.max() < columns:
            raise MismatchError(f"{self.path}: {name}.col points outside the row")
        values = self._file.read(f"{name}.values", F32, int(crow[0]), int(crow[-1]))
        where = np.repeat(np.arange(first, last) * columns, np.diff(crow)) + col - start
        inside = (where >= 0) & (where < stop - start)
        block = np.zeros(stop - start, np.float32)
        block[where[inside]] = values[inside]
        return block

    def close(self) -> None:
        self._file.close()


def open_skill(path: Path) -> Skill:
    """Open a skill file; raises `MismatchError` if it is none or is damaged."""
    return Skill(Path(path))


class SkillWriter:
    """Write side: parts in any order, dense ones by blocks. The file is a skill only after `finish`."""

    def __init__(self, path: Path, about: About):
        self.about = about
        self._parts: dict[str, Part] = {}
        longest = sum(len(name) for name in about.shapes) + 64 * len(about.shapes)
        self._file = SafeWriter(path, 65536 + 8 * longest + 2 * len(_to_json(about, {})))

    def dense(self, spec: TensorSpec) -> None:
        """Make room for a dense part; its blocks follow by `write`, its norm by `done`."""
        self._file.add(spec.name, "F32", spec.shape)

    def reserve(self) -> None:
        """Claim disk space for the dense parts declared so far."""
        self._file.reserve()

    def write(self, name: str, start: int, block: np.ndarray) -> None:
        self._file.write(name, start, block)

    def done(self, spec: TensorSpec, norm: float) -> None:
        self._parts[spec.name] = Part(_f32(spec), "dense", norm)

    def low_rank(self, spec: TensorSpec, factors: LowRank, norm: float, energy: float = 1.0) -> None:
        """Store factors as they are; `scale` stays apart from them so that nothing is rounded."""
        rank = factors.a.shape[0]
        for suffix, matrix in (("lora_A", factors.a), ("lora_B", factors.b)):
            self._file.add(f"{spec.name}.{suffix}", "F32", matrix.shape)
            self._file.write(f"{spec.name}.{suffix}", 0, np.ascontiguousarray(matrix, F32).reshape(-1))
        self._parts[spec.name] = Part(_f32(spec), "low_rank", norm, scale=factors.scale, rank=rank, energy=energy)

    def sparse(
        self, spec: TensorSpec, crow: np.ndarray, col: np.ndarray, values: np.ndarray, norm: float, energy: float
    ) -> None:
        pieces = {
            "crow": ("I64", crow.astype(I64)),
            "col": ("I32", col.astype(I32)),
            "values": ("F32", values.astype(F32)),
        }
        for suffix, (dtype, array) in pieces.items():
            self._file.add(f"{spec.name}.{suffix}", dtype, array.shape)
            self._file.write(f"{spec.name}.{suffix}", 0, array)
        self._parts[spec.name] = Part(_f32(spec), "sparse", norm, nnz=len(values), energy=energy)

    def finish(self) -> dict[str, Part]:
        order = [name for name in self.about.shapes if name in self._parts]
        parts = {name: self._parts[name] for name in order}
        self._file.finish({"format": "pt", KEY: _to_json(self.about, parts)})
        return parts

    def close(self) -> None:
        self._file.close()


def _f32(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.shape, "F32")


def _to_json(about: About, parts: Mapping[str, Part]) -> str:
    tensors = {}
    for name, part in parts.items():
        entry: dict[str, Any] = {"shape": list(part.spec.shape), "form": part.form, "norm": part.norm}
        for key, plain in (("scale", 1.0), ("rank", 0), ("nnz", 0), ("energy", 1.0)):
            if getattr(part, key) != plain:
                entry[key] = getattr(part, key)
        tensors[name] = entry
    described = {key: getattr(about, key) for key in ABOUT}
    table = {"version": VERSION, "identity": vars(about.identity), **described, "tensors": tensors}
    return json.dumps(table, separators=(",", ":"), default=str)
