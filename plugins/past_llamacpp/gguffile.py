"""The GGUF container read: metadata and tensor table, with every length checked.

Source: the specification in ggml's `docs/gguf.md`, version 3. Metadata is kept as the bytes it came in, so that a
file laid out like another one carries the same metadata to the bit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pastcli.errors import MismatchError, reason
from pastcli.hashing import parts_of
from pastcli.regular import regular
from pastcli.words import counted

MAGIC = b"GGUF"
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MAX_DIMS = 4
MAX_ELEMENTS = 1 << 22
"""Longest array of the metadata: the largest vocabularies and their merges have a tenth of that."""
_FIRST_READ = 8 << 20
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class Tensor:
    """One row of the tensor table. `shape` is in torch order (rows first), `offset` absolute in the file numbered `part`."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int
    part: int = 0

    @property
    def rows(self) -> int:
        """How many rows of `shape[-1]` values there are; quantisation never crosses a row."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class Header:
    """What stands before the data. `metadata` holds scalars, strings and lists; `raw_metadata` its exact bytes, `pairs` in
    number, without what tells the parts of a split model apart; `parts` are its files, one as a rule.
    """

    path: Path
    metadata: Mapping[str, Any]
    raw_metadata: bytes
    pairs: int
    tensors: Mapping[str, Tensor]
    alignment: int
    parts: tuple[Path, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def parameter(self, key: str, default: Any = None) -> Any:
        """Metadata `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


class _Short(Exception):
    """The bytes at hand end inside the header."""


def read_header(path: Path) -> Header:
    """Read metadata and tensor table, of all parts of a split model as one; raises `MismatchError` naming the tensor or field
    that is wrong.
    """
    parts = parts_of(path)
    if len(parts) == 1:
        return _read_part(path)
    missing = next((part for part in parts if not part.is_file()), None)
    if missing is not None:
        raise MismatchError(f"{path} is one of {len(parts)} parts, and {missing.name} is not there", "fetch it as well")
    headers = [_read_part(part) for part in parts]
    tensors: dict[str, Tensor] = {}
    for number, header in enumerate(headers):
        if twice := header.tensors.keys() & tensors.keys():
            raise MismatchError(f"{header.path} holds the tensor {sorted(twice)[0]} of another part once more")
        tensors |= {name: replace(tensor, part=number) for name, tensor in header.tensors.items()}
    claimed = headers[0].metadata.get("split.tensors.count", len(tensors))
    if claimed != len(tensors):
        raise MismatchError(f"{path}: its parts hold {counted(len(tensors), 'tensors')}, {claimed} are announced")
    return replace(headers[0], tensors=tensors, parts=tuple(parts))


def _read_part(path: Path) -> Header:
    """One file's header."""
    try:
        size = regular(path).stat().st_size
    except OSError as error:
        raise MismatchError(f"{path} cannot be read: {reason(error)}", "give a GGUF file") from None
    wanted = min(_FIRST_READ, size)
    with open(path, "rb") as file:
        while True:
            file.seek(0)
            data = file.read(wanted)
            try:
                return _parse(path, data, size)
            except _Short:
                if wanted >= size:
                    raise MismatchError(
                        f"{path} is truncated inside its header ({size} bytes)",
                        "the download or copy was cut short; fetch it again",
                    ) from None
                wanted = min(4 * wanted, size)


def _parse(path: Path, data: bytes, size: int) -> Header:
    if data[:4] != MAGIC:
        raise MismatchError(f"{path} is not a GGUF file")
    cursor = _Cursor(path, data, 4)
    version = cursor.number(U32)
    if version not in (2, 3):
        raise MismatchError(f"{path} is GGUF version {version}; versions 2 and 3 can be read (little-endian)")
    tensor_count, pairs = cursor.number(U64), cursor.number(U64)
    metadata: dict[str, Any] = {}
    kept: list[bytes] = []
    for _ in range(pairs):
        begin = cursor.at
        key = cursor.text()
        if key in metadata:
            raise MismatchError(f"{path}: the metadata key {key!r} stands there twice")
        metadata[key] = cursor.value(cursor.number(U32), key)
        if not key.startswith("split."):
            kept.append(data[begin : cursor.at])
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise MismatchError(f"{path}: general.alignment is {alignment!r}, not a power of two")
    rows = [cursor.tensor() for _ in range(tensor_count)]
    start = align(cursor.at, alignment)
    tensors: dict[str, Tensor] = {}
    for name, shape, kind, offset in rows:
        if name in tensors:
            raise MismatchError(f"{path}: the tensor {name} stands there twice")
        tensors[name] = _placed(path, name, shape, kind, start + offset, size, offset % alignment)
    _refuse_overlaps(path, tensors.values())
    return Header(path, metadata, b"".join(kept), len(kept), tensors, alignment, (path,))


class _Cursor:
    """A position in the header's bytes that never reads past their end."""

    def __init__(self, path: Path, data: bytes, at: int):
        self.path, self.data, self.at = path, data, at

    def number(self, kind: struct.Struct) -> int:
        begin = self._skip(kind.size)
        return kind.unpack_from(self.data, begin)[0]

    def _skip(self, count: int) -> int:
        begin = self.at
        if count > len(self.data) - begin:
            raise _Short
        self.at = begin + count
        return begin

    def text(self) -> str:
        count = self.number(U64)
        begin = self._skip(count)
        try:
            return self.data[begin : begin + count].decode("utf-8")
        except UnicodeDecodeError:
            raise MismatchError(f"{self.path}: a name or key at byte {begin} is not UTF-8") from None

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind == STRING:
            count = self.number(U64)
            begin = self._skip(count)
            return self.data[begin : begin + count].decode("utf-8", "replace")
        if kind == ARRAY and depth < 4:
            inner, count = self.number(U32), self.number(U64)
            if count > MAX_ELEMENTS:
                raise MismatchError(
                    f"{self.path}: the metadata key {key!r} claims {count} elements, more than any model has"
                )
            if inner in SCALARS:
                layout = struct.Struct(f"<{SCALARS[inner]}")
                begin = self._skip(count * layout.size)
                return list(struct.unpack_from(f"<{count}{SCALARS[inner]}", self.data, begin))
            return [self.value(inner, key, depth + 1) for _ in range(count)]
        if kind not in SCALARS:
            raise MismatchError(f"{self.path}: the metadata key {key!r} has the unknown type {kind}")
        layout = struct.Struct(f"<{SCALARS[kind]}")
        return layout.unpack_from(self.data, self._skip(layout.size))[0]

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dims = self.text(), self.number(U32)
        if not 1 <= dims <= MAX_DIMS:
            raise MismatchError(f"{self.path}: the tensor {name} has {dims} dimensions")
        shape = tuple(self.number(U64) for _ in range(dims))[::-1]
        return name, shape, self.number(U32), self.number(U64)


def _placed(path: Path, name: str, shape: tuple[int, ...], kind: int, offset: int, size: int, odd: int) -> Tensor:
    """The tensor with its byte count, once everything its table row claims has been found possible."""
    block, block_bytes = type_layout(kind, f"{path}: the tensor {name}")
    count = math.prod(shape)
    if count < 1 or shape[-1] % block:
        raise MismatchError(f"{path}: the tensor {name} has the shape {shape}, impossible for {type_name(kind)}")
    nbytes = count // block * block_bytes
    if odd:
        raise MismatchError(f"{path}: the tensor {name} is not aligned")
    if offset + nbytes > size:
        end = offset + nbytes
        raise MismatchError(
            f"{path} is truncated: the tensor {name} ends at byte {end}, the file at {size}",
            "the download or copy was cut short; fetch it again",
        )
    return Tensor(name, shape, kind, offset, nbytes)


def _refuse_overlaps(path: Path, tensors: Iterable[Tensor]) -> None:
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise MismatchError(f"{path}: the tensors {before} and {tensor.name} overlap")
        end, before = tensor.offset + tensor.nbytes, tensor.name


# ---------------------------------------------------------------- types


def type_layout(kind: int, where: str) -> tuple[int, int]:
    """(values in a block, bytes of a block) of a ggml type."""
    from gguf.constants import GGML_QUANT_SIZES

    try:
        return GGML_QUANT_SIZES[kind]
    except KeyError:
        raise MismatchError(f"{where} has the unknown type {kind}", "a newer gguf package may know it") from None


def type_name(kind: int) -> str:
    """`Q4_1` for 3."""
    from gguf.constants import GGMLQuantizationType

    return GGMLQuantizationType(kind).name


def align(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
