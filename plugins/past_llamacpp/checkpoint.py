"""GGUF files as checkpoints: HF names in, HF names out, any stored type.

Reading dequantises and writing quantises with ggml's own code, block by block, so memory does not grow with the
model. A written file has the template's metadata and tokenizer to the byte; only tensor data (and, when asked for,
tensor types) differ.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.api import Identity, TensorSpec
from pastcli.errors import MismatchError
from pastcli.files import read_at
from pastcli.hashing import shapes_sha256, tokens_sha256
from pastcli.vectors.files.memory_map import Mapped

from . import ggml, names, usage
from .gguffile import Tensor, read_header, type_name
from .rows import Rows

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
"""Their names in the file: HF has one for each family."""
KEPT = 8
"""Transposed tensors kept in memory: as many as threads may ask for at once."""


class GGUFCheckpoint:
    """Read side. Opening reads the header; raises `MismatchError` naming what is wrong with the file."""

    format = "gguf"

    def __init__(self, path: Path):
        self.path = path
        self.header = read_header(path)
        self.names = names.hf_names(self.header)
        self.rows = {name: Rows(self.header, name, self.header.tensors[own]) for name, own in self.names.items()}
        self._fds = [os.open(part, os.O_RDONLY) for part in self.header.parts]
        self._mapped = [Mapped(fd) for fd in self._fds]
        self._whole: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self.tied = HEAD not in self.header.tensors

    def specs(self) -> dict[str, TensorSpec]:
        return {name: TensorSpec(name, rows.shape, type_name(rows.tensor.type)) for name, rows in self.rows.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self.rows:
            raise MismatchError(f"{self.path} has no tensor {name}")
        rows = self.rows[name]
        stop = rows.total * rows.width if stop is None else stop
        if rows.transposed:
            return self._transposed(name, rows)[start:stop].copy()
        out = np.empty(stop - start, np.float32)
        for begin, end in rows.pieces(start, stop):
            ggml.dequantize(
                self._hf_order(rows, begin, end, self.raw), rows.tensor.type, out[begin - start : end - start]
            )
        if rows.shift:
            out -= np.float32(rows.shift)
        return out

    def _transposed(self, name: str, rows: Rows) -> np.ndarray:
        """A whole tensor in HF order; the last few are kept, because callers ask for it block by block."""
        with self._lock:
            if name not in self._whole:
                raw = self.raw(rows.tensor, 0, rows.tensor.nbytes)
                stored = ggml.dequantize(raw, rows.tensor.type, np.empty(rows.total * rows.width, np.float32))
                self._whole[name] = np.ascontiguousarray(stored.reshape(rows.shape[::-1]).T).reshape(-1)
                while len(self._whole) > KEPT:
                    self._whole.popitem(last=False)
            return self._whole[name]

    def stored(self, name: str, start: int, stop: int) -> np.ndarray:
        """The stored bytes of one of `Rows.pieces`, in HF order; read-only, from the mapped file (see `Mapped`)."""
        return self._hf_order(self.rows[name], start, stop, self._view)

    def _hf_order(self, rows: Rows, start: int, stop: int, fetch: Callable[..., np.ndarray]) -> np.ndarray:
        """The bytes of one piece, in HF order."""
        scattered = rows.scattered(start, stop)
        if scattered is None:
            return fetch(rows.tensor, rows.begin + rows.nbytes(start), rows.begin + rows.nbytes(stop))
        first, last, size = int(scattered.min()), int(scattered.max()) + 1, rows.nbytes(rows.width)
        raw = fetch(rows.tensor, first * size, last * size).reshape(-1, size)[scattered - first].reshape(-1)
        inside = start % rows.width
        return raw if stop - start >= rows.width else raw[rows.nbytes(inside) : rows.nbytes(inside + stop - start)]

    def _view(self, tensor: Tensor, start: int, stop: int) -> np.ndarray:
        return self._mapped[tensor.part].view(tensor.offset + start, stop - start)

    def raw(self, tensor: Tensor, start: int, stop: int) -> np.ndarray:
        """Stored bytes [start, stop) of a tensor."""
        data = np.empty(stop - start, np.uint8)
        view, at = data.data, tensor.offset + start
        while view:
            count = read_at(self._fds[tensor.part], view, at)
            if count == 0:
                raise MismatchError(f"{self.path} ends inside the tensor {tensor.name}", "it changed while it was read")
            view, at = view[count:], at + count
        return data

    def identity(self) -> Identity:
        """Comparable with that of the HF directory of the same model."""
        embedding = next((self.rows[name] for name, own in self.names.items() if own == EMBEDDING), None)
        tokens = self.vocabulary()
        return Identity(
            names.class_name(self.header),
            embedding.shape[0] if embedding else 0,
            self.tied,
            shapes_sha256(self.specs().values()),
            tokens_sha256(tokens) if tokens else "",
        )

    def usage(self) -> dict[str, Any]:
        """See `api.SaysUsage`."""
        return usage.of(self.header)

    def vocabulary(self) -> list[str]:
        stored = self.header.metadata.get("tokenizer.ggml.tokens")
        tokens = [str(token) for token in stored] if isinstance(stored, list) else []
        while tokens and re.fullmatch(r"\[PAD\d+\]", tokens[-1]):  # rows of the matrix that no token owns
            tokens.pop()
        return tokens

    def close(self) -> None:
        for mapped in self._mapped:
            mapped.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []
