"""safetensors by blocks: a strict header reader, positioned reads and writes, nothing unpickled.

Format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}} with an
optional `__metadata__` of strings, then the data, contiguous and in the order of the offsets
(https://github.com/huggingface/safetensors#format). Positioned reads go through the page cache into a
buffer of one block, so that resident memory never grows with the file; what is mapped instead is let go of in passing.
"""

from __future__ import annotations

import json
import math
import os
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import write_back
from ...errors import MismatchError, PastError
from ...files import claim, read_at
from ..numbers.arithmetic import Stored, Sums, add_to_file, subtract_to_file
from .memory_map import Mapped

ITEM_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
MAX_HEADER = 100_000_000
"""The reference implementation's limit on the header, in bytes."""

AGAIN = "copy or make the file again; `past runs list` shows what it may come from"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: type, shape, and where its bytes lie (absolute offset)."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Entries in file order, and the metadata.

    Raises `MismatchError`, naming file and tensor, unless the header is true to the file: sizes that agree
    with shapes, offsets without holes or overlap, data up to the last byte of the file and no further.
    """
    if path.exists() and not path.is_file():
        raise MismatchError(f"{path} is no regular file")  # opening a pipe would wait for somebody to write
    with open(path, "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        if size < 8:
            raise MismatchError(f"{path} is truncated: {size} bytes cannot hold a safetensors header", AGAIN)
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > min(MAX_HEADER, size - 8):
            if path.suffix != ".safetensors":
                raise MismatchError(f"{path} is no safetensors file")
            raise MismatchError(
                f"{path} is not a whole safetensors file: its header claims {length} bytes of {size - 8}", AGAIN
            )
        raw = handle.read(length)
    try:
        table = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
        json.dumps(table, ensure_ascii=False).encode("utf-8")  # half a character, escaped, is no text
    except (ValueError, RecursionError) as error:
        raise MismatchError(f"{path} has a corrupt safetensors header: {str(error)[:120]}") from None
    if not isinstance(table, dict):
        raise MismatchError(f"{path} has a corrupt safetensors header: not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MismatchError(f"{path} has a corrupt safetensors header: __metadata__ is not a map of strings")
    entries = {name: _entry(path, name, value, 8 + length) for name, value in table.items()}
    return _contiguous(path, entries, 8 + length, size), metadata


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _entry(path: Path, name: str, value: Any, base: int) -> Entry:
    """One header entry, with everything in it checked against everything else in it."""
    where = f"{path}: tensor {name!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise MismatchError(f"{where} has a malformed header entry")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise MismatchError(f"{where} has the unknown type {str(dtype)[:20]!r}")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise MismatchError(f"{where} has the impossible shape {str(shape)[:60]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise MismatchError(f"{where} has impossible offsets {str(offsets)[:60]}")
    nbytes = _bytes_of(dtype, tuple(shape))
    if offsets[1] - offsets[0] != nbytes:
        raise MismatchError(f"{where} claims {offsets[1] - offsets[0]} bytes, but {dtype} {shape} takes {nbytes}")
    return Entry(dtype, tuple(shape), base + offsets[0], nbytes)


def _contiguous(path: Path, entries: dict[str, Entry], begin: int, size: int) -> dict[str, Entry]:
    """Entries by offset; raises unless they tile the file exactly."""
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].offset, item[1].nbytes)))
    for name, entry in ordered.items():
        if entry.offset != begin:
            problem = "overlaps the one before it" if entry.offset < begin else "leaves a hole before it"
            raise MismatchError(f"{path}: tensor {name!r} {problem}")
        begin += entry.nbytes
        if begin > size:
            raise MismatchError(f"{path} is truncated: tensor {name!r} ends at byte {begin} of {size}", AGAIN)
    if begin != size:
        raise MismatchError(f"{path} has {size - begin} bytes after its last tensor", AGAIN)
    return ordered


class SafeReader:
    """Random access to the tensors of one file; safe for several threads."""

    def __init__(self, path: Path):
        self.path = path
        self.entries, self.metadata = read_header(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._mapped = Mapped(self._fd)

    def read(self, name: str, kind: np.dtype, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Items [start, stop) of a tensor as a fresh 1-D array of numpy type `kind` (the type of its bytes)."""
        entry = self.entries[name]
        stop = entry.nbytes // kind.itemsize if stop is None else stop
        block = np.empty(stop - start, kind)
        view, done = block.view(np.uint8).data, 0
        while done < len(view):
            got = read_at(self._fd, view[done:], entry.offset + start * kind.itemsize + done)
            if got == 0:
                raise MismatchError(f"{self.path} was cut short while being read: tensor {name!r} is incomplete")
            done += got
        return block

    def view(self, name: str, kind: np.dtype, start: int, stop: int) -> np.ndarray:
        """Items [start, stop) of a tensor where they lie in the page cache (see `Mapped`): read-only, nothing copied."""
        offset = self.entries[name].offset
        if offset % kind.itemsize:
            return self.read(name, kind, start, stop)
        return self._mapped.view(offset + start * kind.itemsize, (stop - start) * kind.itemsize).view(kind)

    def close(self) -> None:
        self._mapped.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def header_text(entries: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The header of a file that holds `entries` (name -> type, shape) in this order, padded to a multiple of 8."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in entries.items():
        end = offset + _bytes_of(dtype, shape)
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    return ITEM_BYTES[dtype] * math.prod(shape)


class SafeWriter:
    """Writes one file by blocks, in any order and from several threads.

    `room` bytes are kept for the header, which is written last: until `finish` the file begins with zeros
    and no reader takes it for a safetensors file. Tensors may be added at any time before that.
    """

    def __init__(self, path: Path, room: int):
        self.path = path
        self._room = room + -room % 8
        self._entries: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._offsets: dict[str, int] = {}
        self._end = 8 + self._room
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def add(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Make room for a tensor."""
        with self._lock:
            self._entries[name], self._offsets[name] = (dtype, shape), self._end
            self._end += _bytes_of(dtype, shape)

    def reserve(self) -> None:
        """Claim the disk space of all tensors added so far; what is written from now on goes to the disk meanwhile."""
        claim(self._fd, self._end)
        write_back.start(self._fd)

    def write(self, name: str, start: int, block: np.ndarray) -> None:
        """Store items from `start` on; `block` is 1-D and of the tensor's stored type."""
        view = np.ascontiguousarray(block).view(np.uint8).data
        offset = self._offsets[name] + start * block.itemsize
        while view:
            done = os.pwrite(self._fd, view, offset)
            view, offset = view[done:], offset + done

    def write_sum(self, name: str, start: int, source: str, raw: np.ndarray, change: np.ndarray) -> Sums:
        """Store items from `start` on that are `raw` (stored as type `source`) plus float32 `change`; see
        `arithmetic.add_to_file`."""
        dtype = self._entries[name][0]
        return add_to_file(self._fd, self._offsets[name] + start * ITEM_BYTES[dtype], source, dtype, raw, change)

    def write_difference(self, name: str, start: int, after: Stored, before: Stored, ends: Sequence[int]) -> float:
        """Store float32 items from `start` on that are `after` - `before`; see `arithmetic.subtract_to_file`."""
        return subtract_to_file(self._fd, self._offsets[name] + start * ITEM_BYTES["F32"], after, before, ends)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header; from here on the file is a safetensors file."""
        text = header_text(self._entries, metadata)
        if len(text) > self._room:
            raise PastError(f"{self.path}: the header needs {len(text)} bytes, {self._room} were kept for it")
        os.ftruncate(self._fd, self._end)
        os.pwrite(self._fd, text + b" " * (self._room - len(text)), 8)
        os.pwrite(self._fd, struct.pack("<Q", self._room), 0)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            write_back.stop(self._fd)
            os.close(self._fd)
            self._fd = -1
