"""The GGUF container: metadata and tensor table, read with every length checked, and written.

Source: the specification in ggml's `docs/gguf.md`, version 3. Metadata is kept as the bytes it came in, so that a
file laid out like another one carries the same metadata to the bit.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pastcli.errors import MismatchError

MAGIC = b"GGUF"
UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MAX_DIMS = 4
_FIRST_READ = 8 << 20
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True)
class Tensor:
    """One row of the tensor table. `shape` is in torch order (rows first), `offset` absolute in the file."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int

    @property
    def rows(self) -> int:
        """How many rows of `shape[-1]` values there are; quantisation never crosses a row."""
        count = 1
        for size in self.shape[:-1]:
            count *= size
        return count

    @property
    def row_bytes(self) -> int:
        return self.nbytes // self.rows


@dataclass(frozen=True)
class Header:
    """What stands before the data. `metadata` holds scalars, strings and lists; `raw_metadata` its exact bytes."""

    path: Path
    metadata: Mapping[str, Any]
    raw_metadata: bytes
    pairs: int
    tensors: Mapping[str, Tensor]
    alignment: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def parameter(self, key: str, default: Any = None) -> Any:
        """Metadata `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


class _Short(Exception):
    """The bytes at hand end inside the header."""


def read_header(path: Path) -> Header:
    """Read metadata and tensor table; raises `MismatchError` naming the tensor or field that is wrong."""
    size = path.stat().st_size
    wanted = min(_FIRST_READ, size)
    with open(path, "rb") as file:
        while True:
            file.seek(0)
            data = file.read(wanted)
            try:
                return _parse(path, data, size)
            except _Short:
                if wanted >= size:
                    raise MismatchError(f"{path} is truncated inside its header ({size} bytes)",
                                        "the download or copy was cut short; fetch it again") from None  # fmt: skip
                wanted = min(4 * wanted, size)


def _parse(path: Path, data: bytes, size: int) -> Header:
    if data[:4] != MAGIC:
        raise MismatchError(f"{path} is not a GGUF file")
    cursor = _Cursor(path, data, 4)
    version = cursor.number(_U32)
    if version not in (2, 3):
        raise MismatchError(f"{path} is GGUF version {version}; versions 2 and 3 can be read (little-endian)")
    tensor_count, pairs = cursor.number(_U64), cursor.number(_U64)
    begin = cursor.at
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text()
        if key in metadata:
            raise MismatchError(f"{path}: the metadata key {key!r} stands there twice")
        metadata[key] = cursor.value(cursor.number(_U32), key)
    end = cursor.at
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise MismatchError(f"{path}: general.alignment is {alignment!r}, not a power of two")
    rows = [cursor.tensor() for _ in range(tensor_count)]
    start = _align(cursor.at, alignment)
    tensors: dict[str, Tensor] = {}
    for name, shape, kind, offset in rows:
        if name in tensors:
            raise MismatchError(f"{path}: the tensor {name} stands there twice")
        tensors[name] = _placed(path, name, shape, kind, start + offset, size, offset % alignment)
    _refuse_overlaps(path, tensors.values())
    return Header(path, metadata, data[begin:end], pairs, tensors, alignment)


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
        count = self.number(_U64)
        begin = self._skip(count)
        try:
            return self.data[begin : begin + count].decode("utf-8")
        except UnicodeDecodeError:
            raise MismatchError(f"{self.path}: a name or key at byte {begin} is not UTF-8") from None

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind == STRING:
            count = self.number(_U64)
            begin = self._skip(count)
            return self.data[begin : begin + count].decode("utf-8", "replace")
        if kind == ARRAY and depth < 4:
            inner, count = self.number(_U32), self.number(_U64)
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
        name, dims = self.text(), self.number(_U32)
        if not 1 <= dims <= MAX_DIMS:
            raise MismatchError(f"{self.path}: the tensor {name} has {dims} dimensions")
        shape = tuple(self.number(_U64) for _ in range(dims))[::-1]
        return name, shape, self.number(_U32), self.number(_U64)


def _placed(path: Path, name: str, shape: tuple[int, ...], kind: int, offset: int, size: int, odd: int) -> Tensor:
    """The tensor with its byte count, once everything its table row claims has been found possible."""
    block, block_bytes = type_layout(kind, f"{path}: the tensor {name}")
    count = 1
    for length in shape:
        count *= length
    if count < 1 or shape[-1] % block:
        raise MismatchError(f"{path}: the tensor {name} has the shape {shape}, impossible for {type_name(kind)}")
    nbytes = count // block * block_bytes
    if odd:
        raise MismatchError(f"{path}: the tensor {name} is not aligned")
    if offset + nbytes > size:
        raise MismatchError(f"{path} is truncated: the tensor {name} ends at byte {offset + nbytes}, the file at {size}",
                            "the download or copy was cut short; fetch it again")  # fmt: skip
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


# ---------------------------------------------------------------- writing


def lay_out(tensors: Iterable[tuple[str, tuple[int, ...], int]], begin: int, alignment: int) -> tuple[dict[str, Tensor], int]:
    """Place tensors (name, shape, type) one after another from `begin`; returns them and the file's size."""
    placed, at = {}, begin
    for name, shape, kind in tensors:
        block, block_bytes = type_layout(kind, f"the tensor {name}")
        count = 1
        for length in shape:
            count *= length
        if shape[-1] % block:
            raise MismatchError(f"the tensor {name} has rows of {shape[-1]} values, which {type_name(kind)} cannot hold",
                                f"{type_name(kind)} needs a multiple of {block}; use q8_0, f16 or f32")  # fmt: skip
        nbytes = count // block * block_bytes
        placed[name] = Tensor(name, shape, kind, at, nbytes)
        at = _align(at + nbytes, alignment)
    return placed, at


def write_layout(
    fd: int, raw_metadata: bytes, pairs: int, tensors: Iterable[tuple[str, tuple[int, ...], int]], alignment: int
) -> dict[str, Tensor]:
    """Write header and tensor table, and size the file; returns where each tensor's data belongs."""
    rows = list(tensors)
    table = sum(8 + len(name.encode()) + 4 + 8 * len(shape) + 4 + 8 for name, shape, _ in rows)
    fixed = MAGIC + struct.pack("<IQQ", 3, len(rows), pairs) + raw_metadata
    begin = _align(len(fixed) + table, alignment)
    placed, size = lay_out(rows, begin, alignment)
    entries = b"".join(_table_row(tensor, begin) for tensor in placed.values())
    os.pwrite(fd, (fixed + entries).ljust(begin, b"\0"), 0)
    os.truncate(fd, size)
    return placed


def patch_file_type(raw_metadata: bytes, dtype: str) -> bytes:
    """The metadata with `general.file_type` set to a file made of `dtype` throughout, if llama.cpp has a number for that."""
    from gguf.constants import LlamaFileType

    spellings = (f"MOSTLY_{dtype.upper()}", f"ALL_{dtype.upper()}", f"MOSTLY_{dtype.upper()}_S")
    number = next((LlamaFileType[name] for name in spellings if name in LlamaFileType.__members__), None)
    key = _packed_text("general.file_type") + _U32.pack(UINT32)
    at = raw_metadata.find(key)
    if number is None or at < 0:
        return raw_metadata
    at += len(key)
    return raw_metadata[:at] + _U32.pack(number) + raw_metadata[at + 4 :]


def _table_row(tensor: Tensor, begin: int) -> bytes:
    name = tensor.name.encode()
    dims = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
    return _U64.pack(len(name)) + name + dims + struct.pack("<IQ", tensor.type, tensor.offset - begin)


def pack_metadata(metadata: Mapping[str, tuple[int, Any]]) -> bytes:
    """Metadata bytes of {key: (type, scalar or string)}."""
    return b"".join(_packed_text(key) + _U32.pack(kind) + _packed(kind, value) for key, (kind, value) in metadata.items())


def _packed(kind: int, value: Any) -> bytes:
    return _packed_text(value) if kind == STRING else struct.pack(f"<{SCALARS[kind]}", value)


def _packed_text(text: str) -> bytes:
    data = text.encode()
    return _U64.pack(len(data)) + data


def _align(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
