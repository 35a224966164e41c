"""HF model directories: safetensors shards with their index, config and tokenizer, read and written by blocks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pastcli.api import Checkpoint, Identity, TensorSpec
from pastcli.errors import MismatchError, NoArithmeticError, UsageError
from pastcli.files import read_json
from pastcli.hashing import shapes_sha256
from pastcli.vectors.checks.vocabulary import HEADS
from pastcli.vectors.files.opening import may_be_tied
from pastcli.vectors.files.safetensors import SafeReader
from pastcli.vectors.files.stream import BLOCK, cut
from pastcli.vectors.numbers import arithmetic

from .composite import is_composite
from .folder import INTEGERS, companions, refuse_quantised, refuse_scaled
from .naming import full_names
from .settings import settings
from .shards import locate
from .vocabulary import tokenizer_sha256, vocabulary

if TYPE_CHECKING:
    from .writer import HFWriter

TRANSPOSED = ("gpt2", "openai-gpt")
_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$|rotary_emb\.inv_freq$")
"""Float buffers that older checkpoints hold although they follow from the configuration."""

EMBEDDING = "model.embed_tokens.weight"


class HFFormat:
    """The `hf` checkpoint format."""

    name = "hf"

    def accepts(self, path: Path) -> bool:
        return (path / "config.json").is_file() and not (path / "adapter_config.json").is_file()

    def open(self, path: Path) -> HFCheckpoint:
        return HFCheckpoint(Path(path))

    def as_directory(self, path: Path) -> Path:
        """A directory of this format for a GGUF file, converted once (float32, tokenizer included)."""
        from .materialize import hf_directory

        return hf_directory(path)

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> HFWriter:
        from .writer import HFWriter

        if not isinstance(template, HFCheckpoint):
            raise UsageError(f"an HF directory can only be laid out like another one, not like {template.path}")
        return HFWriter(template, Path(out), dtype, dict(types or {}), rounding, seed)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        return arithmetic.widen(arithmetic.narrow(value, dtype), dtype)

    def layer_inputs(self, path: Path, texts: Sequence[str], visit: Callable[[str, np.ndarray, bool], None]) -> int:
        """What the linear layers get as input on `texts`; see `activations.layer_inputs`."""
        from .activations import layer_inputs

        return layer_inputs(path, texts, visit)

    def divergence(self, reference: Path, texts: Sequence[str], precision: str = "fp32") -> Callable[[Path], float]:
        """KL of other models from `reference` on `texts`; see `activations.Divergence`."""
        from .activations import Divergence

        return Divergence(reference, texts, precision)


def _is_carried(name: str, dtype: str) -> bool:
    """Whether a stored tensor is no weight: integers and booleans, and buffers that follow from the configuration."""
    return _BUFFER.search(name) is not None or dtype in ("BOOL", *INTEGERS)


class HFCheckpoint:
    """A model directory. Opening reads headers only; raises `MismatchError` naming what does not fit."""

    format = "hf"

    def __init__(self, path: Path):
        self.path = path
        self.config = read_json(path / "config.json")
        self.shards: dict[str, SafeReader] = {}
        try:
            self._where = locate(path, self.shards)
            types = {name: self.shards[file].entries[name].dtype for name, file in self._where.items()}
            refuse_quantised(path, self.config, types)
            refuse_scaled(path, types)
        except BaseException:
            self.close()
            raise
        stored = full_names(self.config, self._where)
        self._where = {stored[name]: file for name, file in self._where.items()}
        self._stored = {name: key for key, name in stored.items()}
        entries = {name: self.shards[file].entries[self._stored[name]] for name, file in self._where.items()}
        self.carried = [name for name, entry in entries.items() if _is_carried(name, entry.dtype)]
        self._specs = {
            name: TensorSpec(name, entry.shape, entry.dtype)
            for name, entry in entries.items()
            if name not in set(self.carried)
        }
        self.embedding = next((n for n in self._specs if may_be_tied(n)), EMBEDDING)
        self.head = next((name for name in HEADS if name in self._specs), "")
        self.tied = not self.head or self._head_is_copy()
        if not self.head:
            self._refuse_missing_head()
        elif self.tied:
            self._where.pop(self.head)
            self._specs.pop(self.head)

    @property
    def transposed(self) -> bool:
        """Whether linear layers are stored as (in, out), as GPT-2's are."""
        return self.config.get("model_type") in TRANSPOSED

    def _refuse_missing_head(self) -> None:
        """transformers makes the output layer of such a model up, at random, and only warns."""
        inner = self.config.get("text_config")
        config = inner if isinstance(inner, dict) and "tie_word_embeddings" not in self.config else self.config
        if config.get("tie_word_embeddings") is not False or self.embedding not in self._specs:
            return
        rows = self._specs[self.embedding].shape[0]  # an output layer may be wider than the embeddings (RemBERT)
        if not any(spec.shape[:1] == (rows,) for name, spec in self._specs.items() if name != self.embedding):
            raise MismatchError(
                f"{self.path} has no output layer: its config says that it is not the embeddings once more",
                'set "tie_word_embeddings": true in its config.json if it is, or copy the missing shard',
            )

    def _head_is_copy(self) -> bool:
        """Whether a stored output layer is the tied embedding once more (then it is one tensor, not two)."""
        tie = self.config.get(
            "tie_word_embeddings", self.transposed or self.head not in HEADS[:2]
        )  # as classes have it
        if not tie or self.embedding not in self._where:
            return False
        head, embedding = self.specs()[self.head], self.specs()[self.embedding]
        return (head.shape, head.dtype) == (embedding.shape, embedding.dtype) and all(
            np.array_equal(self.raw(self.head, *block), self.raw(self.embedding, *block))
            for block in cut(0, head.numel, head.columns, BLOCK)
        )

    def specs(self) -> dict[str, TensorSpec]:
        return self._specs

    def stored_name(self, name: str) -> str:
        """What the file calls a tensor."""
        return self._stored[name]

    def others(self) -> dict[str, str]:
        """Hash of every tensor that holds no floats: such buffers are carried along, and no difference of them can be."""
        found = {}
        for name in self.carried:
            reader, key = self.shards[self._where[name]], self._stored[name]
            if reader.entries[key].dtype not in arithmetic.STORAGE:
                found[name] = hashlib.sha256(reader.read(key, np.dtype("u1")).tobytes()).hexdigest()
        return found

    def shard_of(self, name: str) -> str:
        return self._where[name]

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Stored items, 16-bit floats other than IEEE's as bit patterns, types without arithmetic as bytes."""
        reader = self.shards[self._where[name]]
        return reader.read(
            self._stored[name],
            arithmetic.STORAGE.get(reader.entries[self._stored[name]].dtype, np.dtype("u1")),
            start,
            stop,
        )

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self._where:
            raise MismatchError(f"{self.path} has no tensor {name}")
        dtype = self.shards[self._where[name]].entries[self._stored[name]].dtype
        if dtype not in arithmetic.STORAGE:
            raise NoArithmeticError(
                f"{self.path}: tensor {name} is stored as {dtype}, on which no weight arithmetic is done"
            )
        return arithmetic.widen(self.raw(name, start, stop), dtype)

    def stored_floats(self, name: str, start: int, stop: int) -> np.ndarray:
        """As `raw`, of a tensor of floats, but read-only and where they lie in the page cache (`SafeReader.view`)."""
        reader = self.shards[self._where[name]]
        key = self._stored[name]
        return reader.view(key, arithmetic.STORAGE[reader.entries[key].dtype], start, stop)

    def bits(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """As `read`, but as it is stored where `arithmetic.gram` takes that: float32, or bit patterns of bfloat16.

        The array is a read-only view of the file (`SafeReader.view`).
        """
        reader = self.shards[self._where[name]] if name in self._where else None
        if reader is None or reader.entries[self._stored[name]].dtype not in ("F32", "BF16"):
            return self.read(name, start, stop)
        kind = arithmetic.STORAGE[reader.entries[self._stored[name]].dtype]
        return reader.view(
            self._stored[name],
            kind,
            start,
            reader.entries[self._stored[name]].nbytes // kind.itemsize if stop is None else stop,
        )

    def identity(self) -> Identity:
        names = self.config.get("architectures") or [self.config.get("model_type", "")]
        if not isinstance(names, list):
            raise MismatchError(f"{self.path / 'config.json'}: architectures is no list, but {str(names)[:40]!r}")
        return Identity(
            str(names[0]),
            self._vocab_size(),
            self.tied,
            shapes_sha256(self.specs().values()),
            tokenizer_sha256(self.path),
        )

    def _vocab_size(self) -> int:
        inner = self.config.get("text_config")
        vocab = self.config.get("vocab_size") or (inner.get("vocab_size") if isinstance(inner, dict) else 0) or 0
        if not isinstance(vocab, int) or not 0 <= vocab < 1 << 31:
            raise MismatchError(f"{self.path / 'config.json'}: vocab_size is no size, but {str(vocab)[:40]!r}")
        return vocab

    def vocabulary(self) -> list[str]:
        return vocabulary(self.path)

    def usage(self) -> dict[str, Any]:
        """See `api.SaysUsage`."""
        return settings(self.config)

    def modules(self) -> dict[str, str]:
        """See `api.NamesModules`: of a model with towers, by what transformers makes of its config."""
        if not is_composite(self.config):
            return {}
        from .composite import in_memory

        return in_memory(self.path)

    def adaptable(self, names: Iterable[str]) -> set[str]:
        """See `api.NamesModules`."""
        from .adaptable import able

        return able(self.path, names)

    def companions(self) -> list[Path]:
        return companions(self.path)

    def close(self) -> None:
        for reader in self.shards.values():
            reader.close()
