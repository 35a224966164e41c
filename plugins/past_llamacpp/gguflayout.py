"""The GGUF container written: header, tensor table and metadata; the data is left to the caller."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from pastcli.errors import MismatchError
from pastcli.files import claim

from .gguffile import MAGIC, SCALARS, STRING, U32, U64, UINT32, Tensor, align, type_layout, type_name

Row = tuple[str, tuple[int, ...], int]
"""One line of a tensor table to be: name, shape, ggml type."""


def lay_out(tensors: Iterable[Row], begin: int, alignment: int) -> tuple[dict[str, Tensor], int]:
    """Place tensors (name, shape, type) one after another from `begin`; returns them and the file's size."""
    placed, at = {}, begin
    for name, shape, kind in tensors:
        block, block_bytes = type_layout(kind, f"the tensor {name}")
        if shape[-1] % block:
            typed = type_name(kind)
            raise MismatchError(
                f"the tensor {name} has rows of {shape[-1]} values, which {typed} cannot hold",
                f"{typed} needs a multiple of {block}; use q8_0, f16 or f32",
            )
        nbytes = math.prod(shape) // block * block_bytes
        placed[name] = Tensor(name, shape, kind, at, nbytes)
        at = align(at + nbytes, alignment)
    return placed, at


def write_layout(fd: int, raw_metadata: bytes, pairs: int, tensors: Iterable[Row], alignment: int) -> dict[str, Tensor]:
    """Write header and tensor table, and size the file; returns where each tensor's data belongs."""
    rows = list(tensors)
    table = sum(8 + len(name.encode()) + 4 + 8 * len(shape) + 4 + 8 for name, shape, _ in rows)
    fixed = MAGIC + struct.pack("<IQQ", 3, len(rows), pairs) + raw_metadata
    begin = align(len(fixed) + table, alignment)
    placed, size = lay_out(rows, begin, alignment)
    entries = b"".join(_table_row(tensor, begin) for tensor in placed.values())
    claim(fd, size)
    os.pwrite(fd, (fixed + entries).ljust(begin, b"\0"), 0)
    return placed


def patch_file_type(raw_metadata: bytes, dtype: str) -> bytes:
    """The metadata with `general.file_type` set to a file made of `dtype`, if llama.cpp has a number for that."""
    from gguf.constants import LlamaFileType

    spellings = (f"MOSTLY_{dtype.upper()}", f"ALL_{dtype.upper()}", f"MOSTLY_{dtype.upper()}_S")
    number = next((LlamaFileType[name] for name in spellings if name in LlamaFileType.__members__), None)
    key = _packed_text("general.file_type") + U32.pack(UINT32)
    at = raw_metadata.find(key)
    if number is None or at < 0:
        return raw_metadata
    at += len(key)
    return raw_metadata[:at] + U32.pack(number) + raw_metadata[at + 4 :]


def _table_row(tensor: Tensor, begin: int) -> bytes:
    name = tensor.name.encode()
    dims = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
    return U64.pack(len(name)) + name + dims + struct.pack("<IQ", tensor.type, tensor.offset - begin)


def pack_metadata(metadata: Mapping[str, tuple[int, Any]]) -> bytes:
    """Metadata bytes of {key: (type, scalar or string)}."""
    rows = ((_packed_text(key), U32.pack(kind), _packed(kind, value)) for key, (kind, value) in metadata.items())
    return b"".join(b"".join(row) for row in rows)


def _packed(kind: int, value: Any) -> bytes:
    return _packed_text(value) if kind == STRING else struct.pack(f"<{SCALARS[kind]}", value)


def _packed_text(text: str) -> bytes:
    data = text.encode()
    return U64.pack(len(data)) + data
