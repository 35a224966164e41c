"""GGUF files as checkpoints (role `past.checkpoints`, name `gguf`): HF names in, HF names out, any stored type.

Reading dequantises and writing quantises with ggml's own code, block by block, so memory does not grow with the
model. A written file has the template's metadata and tokenizer to the byte; only tensor data (and, when asked for,
tensor types) differ.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pastcli import models
from pastcli.api import Checkpoint, Identity, TensorSpec
from pastcli.errors import MismatchError, PastError, UsageError
from pastcli.hashing import shapes_sha256, tokens_sha256

from . import ggml, names
from .gguffile import Header, Tensor, lay_out, patch_file_type, read_header, type_layout, type_name, write_layout

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
COPY_BYTES = 8 << 20


class GGUFFormat:
    """The `gguf` checkpoint format."""

    name = "gguf"

    def accepts(self, path: Path) -> bool:
        try:
            with open(path, "rb") as file:
                return file.read(4) == b"GGUF"
        except OSError:
            return False

    def open(self, path: Path) -> "GGUFCheckpoint":
        return GGUFCheckpoint(Path(path))

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
        layout: Path | None = None,
    ) -> "GGUFWriter":
        """See `api.CheckpointFormat`. `template` may be another format's checkpoint of the same model: tokenizer and
        metadata then come from the GGUF `layout`, by default the one that `models.gguf_template` finds for it.
        """
        if rounding != "nearest":
            raise UsageError(f"GGUF is written with ggml's quantisers, which have no {rounding} rounding",
                             "use --rounding nearest, or a higher stored type")  # fmt: skip
        base = template if isinstance(template, GGUFCheckpoint) else self._layout_for(template, layout)
        return GGUFWriter(template, base, Path(out), dtype, types or {})

    def _layout_for(self, template: Checkpoint, layout: Path | None) -> "GGUFCheckpoint":
        found = layout or models.gguf_template(template.path)
        if found is None:
            raise MismatchError(f"no GGUF of the base model of {template.path} is known, and its tokenizer comes from there",
                                "download the base model's own GGUF and write its path into past.json as gguf_template")  # fmt: skip
        return self.open(found)

    def export_lora(self, source: Path, template: Path, out: Path) -> None:
        """Write a low-rank skill file or a PEFT directory as a LoRA-GGUF for the GGUF `template`; see `lora`."""
        from .lora import export_lora

        export_lora(source, template, out)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        kind = ggml.parse_type(dtype)
        return ggml.dequantize(ggml.quantize(value, kind, columns), kind, np.empty(value.size, np.float32))


class _Rows:
    """How one tensor's HF elements lie in the file: rows of `width` values, q and k in their own order."""

    def __init__(self, header: Header, hf_name: str, tensor: Tensor):
        self.tensor = tensor
        self.heads = names.rotary_heads(header, hf_name)
        flat = bool(self.heads) and len(tensor.shape) == 1  # a q or k bias: its elements are the rows
        self.width = 1 if flat else tensor.shape[-1]
        self.total = tensor.shape[0] if flat else tensor.rows
        self.block, self.block_bytes = type_layout(tensor.type, tensor.name)
        if self.heads and (self.total % (2 * self.heads) or self.width % self.block):
            raise MismatchError(f"{header.path}: the tensor {tensor.name} does not divide into {self.heads} heads")

    def nbytes(self, values: int) -> int:
        return values // self.block * self.block_bytes

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """[start, stop) cut so that a piece is within one row or made of whole rows."""
        while start < stop:
            into = start % self.width
            end = min(start - into + self.width, stop) if into else max(stop - stop % self.width, min(stop, start + self.width))
            yield start, end
            start = end

    def scattered(self, start: int, stop: int) -> np.ndarray | None:
        """File rows of these whole HF rows; None if the elements lie in the file as they are."""
        if not self.heads:
            return None
        return names.gguf_rows(np.arange(start // self.width, -(-stop // self.width)), self.total, self.heads)


class GGUFCheckpoint:
    """Read side. Opening reads the header; raises `MismatchError` naming what is wrong with the file."""

    format = "gguf"

    def __init__(self, path: Path):
        self.path = path
        self.header = read_header(path)
        self.names = names.hf_names(self.header)
        self._rows = {name: _Rows(self.header, name, self.header.tensors[own]) for name, own in self.names.items()}
        self._fd = os.open(path, os.O_RDONLY)
        self.tied = HEAD not in self.names

    def specs(self) -> dict[str, TensorSpec]:
        found = {name: self.header.tensors[own] for name, own in self.names.items()}
        return {name: TensorSpec(name, tensor.shape, type_name(tensor.type)) for name, tensor in found.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self._rows:
            raise MismatchError(f"{self.path} has no tensor {name}")
        rows = self._rows[name]
        stop = rows.total * rows.width if stop is None else stop
        out = np.empty(stop - start, np.float32)
        for begin, end in rows.pieces(start, stop):
            ggml.dequantize(self._stored(rows, begin, end), rows.tensor.type, out[begin - start : end - start])
        return out

    def _stored(self, rows: _Rows, start: int, stop: int) -> np.ndarray:
        """The bytes of one piece, in HF order."""
        scattered = rows.scattered(start, stop)
        if scattered is None:
            return self.raw(rows.tensor, rows.nbytes(start), rows.nbytes(stop))
        first, last, size = int(scattered.min()), int(scattered.max()) + 1, rows.nbytes(rows.width)
        raw = self.raw(rows.tensor, first * size, last * size).reshape(-1, size)[scattered - first].reshape(-1)
        inside = start % rows.width
        return raw[rows.nbytes(inside) : rows.nbytes(inside + stop - start)] if inside or stop - start < rows.width else raw

    def raw(self, tensor: Tensor, start: int, stop: int) -> np.ndarray:
        """Stored bytes [start, stop) of a tensor."""
        data = np.empty(stop - start, np.uint8)
        view, at = memoryview(data), tensor.offset + start
        while view:
            count = os.preadv(self._fd, [view], at)
            if count == 0:
                raise MismatchError(f"{self.path} ends inside the tensor {tensor.name}", "the file changed while it was read")
            view, at = view[count:], at + count
        return data

    def identity(self) -> Identity:
        """Comparable with that of the HF directory of the same model."""
        embedding = self.specs().get(EMBEDDING)
        stored = self.header.metadata.get("tokenizer.ggml.tokens")
        tokens = [str(token) for token in stored] if isinstance(stored, list) else []
        while tokens and re.fullmatch(r"\[PAD\d+\]", tokens[-1]):  # rows of the matrix that no token owns
            tokens.pop()
        return Identity(
            names.ARCHITECTURES[self.header.architecture], embedding.shape[0] if embedding else 0, self.tied,
            shapes_sha256(self.specs().values()), tokens_sha256(tokens) if tokens else "",
        )  # fmt: skip

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class GGUFWriter:
    """Write side. The file grows under a temporary name beside `out` and is renamed by `finish`."""

    def __init__(self, template: Checkpoint, layout: GGUFCheckpoint, out: Path, dtype: str, types: Mapping[str, str]):
        self.template, self.layout, self.out = template, layout, out
        _refuse_misfit(template, layout)
        kinds = _kinds(layout, dtype, types)
        header = layout.header
        table = [(tensor.name, tensor.shape, kinds[tensor.name]) for tensor in header.tensors.values()]
        lay_out(table, 0, header.alignment)  # fails for a type that cannot hold a row, before a file is made
        metadata = header.raw_metadata if dtype == "auto" else patch_file_type(header.raw_metadata, dtype)
        self._temporary = out.with_name(f".{out.name}.writing")
        self._fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._lock, self._written = threading.Lock(), dict.fromkeys(layout.names, 0)
        try:
            placed = write_layout(self._fd, metadata, header.pairs, table, header.alignment)
            self._rows = {name: _Rows(header, name, placed[own]) for name, own in layout.names.items()}
            for name in placed.keys() - set(layout.names.values()):
                self._copy_bytes(header.tensors[name], placed[name])
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, value: np.ndarray) -> np.ndarray:
        rows = self._rows[name]
        stored = np.empty(value.size, np.float32)
        for begin, end in rows.pieces(start, start + value.size):
            self._write_piece(name, rows, begin, value[begin - start : end - start], stored[begin - start : end - start])
        self._count(name, value.size)
        return stored

    def _write_piece(self, name: str, rows: _Rows, start: int, value: np.ndarray, stored: np.ndarray) -> None:
        kind = rows.tensor.type
        try:
            raw = ggml.quantize(value, kind, min(rows.width, value.size))
        except MismatchError as error:
            raise MismatchError(f"tensor {name}: {error.message}") from None
        ggml.dequantize(raw, kind, stored)
        if not ggml.finite(stored):
            raise MismatchError(f"tensor {name} holds values that {type_name(kind)} cannot", "store it as f32 or bf16")
        scattered = rows.scattered(start, start + value.size)
        if scattered is None:
            self._pwrite(raw, rows.tensor.offset + rows.nbytes(start))
            return
        size, inside = rows.nbytes(rows.width), rows.nbytes(start % rows.width)
        order = np.argsort(scattered)
        places, lines = scattered[order], raw.reshape(len(scattered), -1)[order]
        ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        for first, last in zip([0, *ends], ends):  # neighbours in one write: whole heads make a single one
            self._pwrite(lines[first:last].reshape(-1), rows.tensor.offset + int(places[first]) * size + inside)

    def copy(self, name: str) -> None:
        rows = self._rows[name]
        if self.template is self.layout and self.layout._rows[name].tensor.type == rows.tensor.type:
            self._copy_bytes(self.layout._rows[name].tensor, rows.tensor)
            self._count(name, rows.total * rows.width)
            return
        step = max(1, (1 << 17) // rows.width) * rows.width
        for start in range(0, rows.total * rows.width, step):
            self.write(name, start, self.template.read(name, start, min(start + step, rows.total * rows.width)))

    def _copy_bytes(self, source: Tensor, target: Tensor) -> None:
        for start in range(0, source.nbytes, COPY_BYTES):
            self._pwrite(self.layout.raw(source, start, min(start + COPY_BYTES, source.nbytes)), target.offset + start)

    def _pwrite(self, data: np.ndarray, at: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, at)
            view, at = view[count:], at + count

    def _count(self, name: str, values: int) -> None:
        with self._lock:
            self._written[name] += values

    def finish(self) -> None:
        for name, values in self._written.items():
            if values != self._rows[name].total * self._rows[name].width:
                raise PastError(f"{self.out} would lack a part of the tensor {name}")
        os.fsync(self._fd)
        os.replace(self._temporary, self.out)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._temporary.unlink(missing_ok=True)


def _refuse_misfit(template: Checkpoint, layout: GGUFCheckpoint) -> None:
    """Both must hold the same tensors in the same shapes, or the result would be part one model, part another."""
    if template is layout:
        return
    ours, theirs = template.specs(), layout.specs()
    for name in sorted(ours.keys() | theirs.keys()):
        mine, wanted = ours.get(name), theirs.get(name)
        if mine is None or wanted is None or mine.shape != wanted.shape:
            raise MismatchError(f"{template.path} and its GGUF template {layout.path} differ in the tensor {name}: "
                                f"{mine.shape if mine else 'missing'} against {wanted.shape if wanted else 'missing'}",
                                "the template must be a GGUF of the same base model")  # fmt: skip


def _kinds(layout: GGUFCheckpoint, dtype: str, types: Mapping[str, str]) -> dict[str, int]:
    """ggml type of every tensor by GGUF name. A common `dtype` is for matrices: vectors keep their type, as llama.cpp has it."""
    kinds = {tensor.name: tensor.type for tensor in layout.header.tensors.values()}
    for name, own in layout.names.items():
        if name in types:
            kinds[own] = ggml.parse_type(types[name])
        elif dtype != "auto" and len(layout.header.tensors[own].shape) > 1:
            kinds[own] = ggml.parse_type(dtype)
    unknown = sorted(set(types) - set(layout.names))
    if unknown:
        raise UsageError(f"{layout.path} has no tensor {unknown[0]}, for which a type was asked")
    return kinds
