"""Writing a GGUF block by block: quantised by ggml, laid out and described like its template."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pastcli import output, write_back
from pastcli.api import Checkpoint
from pastcli.errors import MismatchError, PastError, UsageError
from pastcli.vectors.checks.towers import refuse_change, towers, without
from pastcli.vectors.numbers.arithmetic import Sums, compiled, requantize

from . import ggml
from .gguffile import Header, Tensor, type_name
from .gguflayout import lay_out, patch_file_type, write_layout
from .rows import Rows

if TYPE_CHECKING:
    from .checkpoint import GGUFCheckpoint

COPY_BYTES = 8 << 20
COPY_VALUES = 1 << 17


class GGUFWriter:
    """Write side. The file grows under a temporary name beside `out` and is renamed by `finish`."""

    def __init__(self, template: Checkpoint, layout: GGUFCheckpoint, out: Path, dtype: str, types: Mapping[str, str]):
        self.template, self.layout, self.out = template, layout, out
        self._beside = towers(template.specs()) - layout.names.keys()
        _refuse_misfit(template, layout, self._beside)
        if self._beside:
            output.note(
                f"{out.name} holds the language model alone: a GGUF of the base's towers (mmproj) goes with it as before"
            )
        kinds = _kinds(layout, dtype, types)
        header = layout.header
        table = [(tensor.name, tensor.shape, kinds[tensor.name]) for tensor in header.tensors.values()]
        lay_out(table, 0, header.alignment)  # fails for a type that cannot hold a row, before a file is made
        _warn_of_importance(header, out, kinds)
        metadata = header.raw_metadata if dtype == "auto" else patch_file_type(header.raw_metadata, dtype)
        self._temporary = out.with_name(f".{out.name}.writing")
        self._fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        write_back.start(self._fd)
        self._lock, self._written = threading.Lock(), dict.fromkeys(layout.names, 0)
        self._held: dict[str, tuple[np.ndarray, int]] = {}
        try:
            placed = write_layout(self._fd, metadata, header.pairs, table, header.alignment)
            self._rows = {name: Rows(header, name, placed[own]) for name, own in layout.names.items()}
            _refuse_blocks(self._rows)
            for name in placed.keys() - set(layout.names.values()):
                self._copy_bytes(header.tensors[name], placed[name], 0, placed[name].nbytes)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, value: np.ndarray) -> np.ndarray:
        if name in self._beside:
            refuse_change("what is added", [*self._rows, name], str(self.out))
        rows = self._rows[name]
        stored = np.empty(value.size, np.float32)
        for begin, end in rows.pieces(start, start + value.size):
            part = slice(begin - start, end - start)
            self._write_piece(name, rows, begin, value[part], stored[part])
        self._count(name, value.size)
        return stored

    def add(self, name: str, start: int, change: np.ndarray) -> tuple[float, float, float] | None:
        """See `api.AddingWriter`: straight from the stored bytes of the template to ours, if it is a GGUF too."""
        target, sums = self._rows[name], Sums()
        if self.template is not self.layout or not compiled() or target.transposed:
            return None
        ggml.refuse_unwritable(target.tensor.type)
        codecs = ggml.codec(self.layout.rows[name].tensor.type), ggml.codec(target.tensor.type)
        for begin, end in target.pieces(start, start + change.size):
            raw, part = requantize(*codecs, self.layout.stored(name, begin, end), change[begin - start : end - start])
            self._store(target, begin, end, raw)
            sums += part
        self._count(name, change.size)
        return sums.aa, sums.ab, sums.bb

    def _write_piece(self, name: str, rows: Rows, start: int, value: np.ndarray, stored: np.ndarray) -> None:
        kind = rows.tensor.type
        try:
            raw = ggml.quantize(
                value + np.float32(rows.shift) if rows.shift else value, kind, min(rows.width, value.size)
            )
        except MismatchError as error:
            raise MismatchError(f"tensor {name}: {error.message}") from None
        ggml.dequantize(raw, kind, stored)
        if not ggml.finite(stored):
            raise MismatchError(f"tensor {name} holds values that {type_name(kind)} cannot", "store it as f32 or bf16")
        if rows.shift:
            stored -= np.float32(rows.shift)
        self._store(rows, start, start + value.size, raw)

    def _store(self, rows: Rows, start: int, stop: int, raw: np.ndarray) -> None:
        """The bytes of one piece, given in HF order, to where they belong."""
        if rows.transposed:
            self._hold(rows, start, raw)
            return
        scattered = rows.scattered(start, stop)
        if scattered is None:
            self._pwrite(raw, rows.tensor.offset + rows.begin + rows.nbytes(start))
            return
        size, inside = rows.nbytes(rows.width), rows.nbytes(start % rows.width)
        order = np.argsort(scattered)
        places, lines = scattered[order], raw.reshape(len(scattered), -1)[order]
        ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        for first, last in zip([0, *ends], ends):  # neighbours in one write: whole heads make a single one
            self._pwrite(lines[first:last].reshape(-1), rows.tensor.offset + int(places[first]) * size + inside)

    def _hold(self, rows: Rows, start: int, raw: np.ndarray) -> None:
        """Keep a piece of a tensor that the file has transposed, and write the tensor once it is whole (16 or 32 bits an
        element, which `_refuse_blocks` saw to)."""
        with self._lock:
            held, have = self._held.get(rows.tensor.name, (np.empty(rows.size, np.uint8), 0))
            held[rows.nbytes(start) : rows.nbytes(start) + raw.size] = raw
            self._held[rows.tensor.name] = (held, have + raw.size)
            if have + raw.size < rows.size:
                return
            del self._held[rows.tensor.name]
        whole = held.view(f"<u{rows.block_bytes}").reshape(rows.shape)
        self._pwrite(np.ascontiguousarray(whole.T).reshape(-1).view(np.uint8), rows.tensor.offset)

    def copy(self, name: str) -> None:
        if name in self._beside:
            return
        rows = self._rows[name]
        if self.template is self.layout and self.layout.rows[name].tensor.type == rows.tensor.type:
            self._copy_bytes(self.layout.rows[name].tensor, rows.tensor, rows.begin, rows.size)
            self._count(name, rows.total * rows.width)
            return
        step = max(1, COPY_VALUES // rows.width) * rows.width
        for start in range(0, rows.total * rows.width, step):
            self.write(name, start, self.template.read(name, start, min(start + step, rows.total * rows.width)))

    def _copy_bytes(self, source: Tensor, target: Tensor, begin: int, size: int) -> None:
        for start in range(begin, begin + size, COPY_BYTES):
            stop = min(start + COPY_BYTES, begin + size)
            self._pwrite(self.layout.raw(source, start, stop), target.offset + start)

    def _pwrite(self, data: np.ndarray, at: int) -> None:
        view = data.data
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
        os.replace(self._temporary, self.out)  # whole or not there after a kill; publishing a run syncs it to disk
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            write_back.stop(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._temporary.unlink(missing_ok=True)


def _warn_of_importance(header: Header, out: Path, kinds: Mapping[str, int]) -> None:
    """A template that was quantised with an importance matrix: what is quantised anew here has none, and may be a little worse."""
    matrix = header.metadata.get("quantize.imatrix.file")
    if matrix and any(ggml.is_quantised(kind) for kind in kinds.values()):
        output.warn(
            f"{header.path.name} was quantised with an importance matrix ({Path(str(matrix)).name}); {out.name} is written without "
            "one, although its metadata still names it: for the last bit of quality, write f16 and quantise that with llama.cpp"
        )


def _refuse_blocks(rows: Mapping[str, Rows]) -> None:
    """A transposed tensor is stored element by element: block types run across what is written together."""
    for name, where in rows.items():
        if where.transposed and where.block > 1:
            raise UsageError(
                f"{name} is transposed in this architecture's GGUF, and cannot be written as {type_name(where.tensor.type)}",
                "use --dtype f16, bf16 or f32",
            )


def _refuse_misfit(template: Checkpoint, layout: GGUFCheckpoint, beside: Set[str]) -> None:
    """Both must hold the same tensors in the same shapes, or the result would be part one model, part another; but a GGUF holds
    nothing of what lies `beside` the language model."""
    if template is layout:
        return
    ours, theirs = without(beside, template.specs()), layout.specs()
    for name in sorted(ours.keys() | theirs.keys()):
        mine, wanted = ours.get(name), theirs.get(name)
        if mine is None or wanted is None or mine.shape != wanted.shape:
            raise MismatchError(
                f"{template.path} and its GGUF template {layout.path} differ in the tensor {name}: "
                f"{mine.shape if mine else 'missing'} against {wanted.shape if wanted else 'missing'}",
                "the template must be a GGUF of the same base model",
            )


def _kinds(layout: GGUFCheckpoint, dtype: str, types: Mapping[str, str]) -> dict[str, int]:
    """ggml type of every tensor by GGUF name. A common `dtype` is for matrices: llama.cpp keeps vectors in float32."""
    kinds = {tensor.name: tensor.type for tensor in layout.header.tensors.values()}
    for own in set(layout.names.values()) if dtype != "auto" else ():
        if len(layout.header.tensors[own].shape) > 1:
            kinds[own] = ggml.parse_type(dtype)
    for (
        name,
        own,
    ) in layout.names.items():  # experts that lie in one tensor have one type: the one asked for any of them
        if name in types:
            kinds[own] = ggml.parse_type(types[name])
    unknown = sorted(set(types) - set(layout.names))
    if unknown:
        raise UsageError(f"{layout.path} has no tensor {unknown[0]}, for which a type was asked")
    return kinds
