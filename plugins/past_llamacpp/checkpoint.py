"""GGUF files as checkpoints (role `past.checkpoints`, name `gguf`): HF names in, HF names out, any stored type.

Reading dequantises and writing quantises with ggml's own code, block by block, so memory does not grow with the
model. A written file has the template's metadata and tokenizer to the byte; only tensor data (and, when asked for,
tensor types) differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pastcli import models
from pastcli.api import Checkpoint, Identity, TensorSpec
from pastcli.errors import MismatchError, UsageError
from pastcli.hashing import shapes_sha256, tokens_sha256

from . import ggml, names
from .gguffile import Tensor, read_header, type_name
from .rows import Rows
from .writer import GGUFWriter

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


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
    ) -> GGUFWriter:
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
            raise MismatchError(f"no GGUF of the base model of {template.path} is known, to take its tokenizer from",
                                "write the path of the base model's GGUF into past.json as gguf_template")  # fmt: skip
        return self.open(found)

    def export_lora(self, source: Path, template: Path, out: Path) -> None:
        """Write a low-rank skill file or a PEFT directory as a LoRA-GGUF for the GGUF `template`; see `lora`."""
        from .lora import export_lora

        export_lora(source, template, out)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        kind = ggml.parse_type(dtype)
        return ggml.dequantize(ggml.quantize(value, kind, columns), kind, np.empty(value.size, np.float32))


class GGUFCheckpoint:
    """Read side. Opening reads the header; raises `MismatchError` naming what is wrong with the file."""

    format = "gguf"

    def __init__(self, path: Path):
        self.path = path
        self.header = read_header(path)
        self.names = names.hf_names(self.header)
        self.rows = {name: Rows(self.header, name, self.header.tensors[own]) for name, own in self.names.items()}
        self._fd = os.open(path, os.O_RDONLY)
        self.tied = HEAD not in self.names

    def specs(self) -> dict[str, TensorSpec]:
        found = {name: self.header.tensors[own] for name, own in self.names.items()}
        return {name: TensorSpec(name, tensor.shape, type_name(tensor.type)) for name, tensor in found.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self.rows:
            raise MismatchError(f"{self.path} has no tensor {name}")
        rows = self.rows[name]
        stop = rows.total * rows.width if stop is None else stop
        out = np.empty(stop - start, np.float32)
        for begin, end in rows.pieces(start, stop):
            ggml.dequantize(self._stored(rows, begin, end), rows.tensor.type, out[begin - start : end - start])
        return out

    def _stored(self, rows: Rows, start: int, stop: int) -> np.ndarray:
        """The bytes of one piece, in HF order."""
        scattered = rows.scattered(start, stop)
        if scattered is None:
            return self.raw(rows.tensor, rows.nbytes(start), rows.nbytes(stop))
        first, last, size = int(scattered.min()), int(scattered.max()) + 1, rows.nbytes(rows.width)
        raw = self.raw(rows.tensor, first * size, last * size).reshape(-1, size)[scattered - first].reshape(-1)
        inside = start % rows.width
        return raw if stop - start >= rows.width else raw[rows.nbytes(inside) : rows.nbytes(inside + stop - start)]

    def raw(self, tensor: Tensor, start: int, stop: int) -> np.ndarray:
        """Stored bytes [start, stop) of a tensor."""
        data = np.empty(stop - start, np.uint8)
        view, at = memoryview(data), tensor.offset + start
        while view:
            count = os.preadv(self._fd, [view], at)
            if count == 0:
                raise MismatchError(f"{self.path} ends inside the tensor {tensor.name}", "it changed while it was read")
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
