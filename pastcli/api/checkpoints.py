"""The types of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TensorSpec:
    """Name (HF spelling), shape in torch order, and stored type (`F32`, `BF16`, `F16`, `Q4_1`, ...)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def columns(self) -> int:
        """Length of a row: the last dimension, or 1 for a scalar."""
        return self.shape[-1] if self.shape else 1


@dataclass(frozen=True)
class Identity:
    """What must agree before two checkpoints may be added: not the weights, but what they mean.

    `shapes_sha256` covers the sorted (name, shape) list; `tokenizer_sha256` the tokenizer files' vocabulary,
    or '' when the format carries none; `tied` says that lm_head and embeddings are one tensor.
    """

    architecture: str
    vocab_size: int
    tied: bool
    shapes_sha256: str
    tokenizer_sha256: str = ""


class Checkpoint(Protocol):
    """Read side of one model on disk (or in memory). Names are always HF names. See also `StoredBits`."""

    path: Path
    format: str

    def specs(self) -> Mapping[str, TensorSpec]:
        """Every stored tensor, in file order. Tied embeddings appear once, as the input embedding."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Elements [start, stop) of one tensor in C order: a fresh 1-D float32 array the caller may change.

        16-bit types widen exactly, quantised ones are dequantised. `start` and `stop` are row boundaries of
        the tensor seen as (numel / shape[-1], shape[-1]) or, inside longer rows, multiples of 256. Called
        from several threads at once. Raises `MismatchError` naming the tensor when the file is too short.
        """

    def identity(self) -> Identity:
        """See `Identity`. Reads headers only."""

    def close(self) -> None:
        """Release maps and handles."""


@runtime_checkable
class CarriesOthers(Protocol):
    """A checkpoint with tensors that are no weights (integers, booleans): not among `specs`, carried by its writer as they are."""

    def others(self) -> Mapping[str, str]:
        """A hash of each of them, by name."""


@runtime_checkable
class HasVocabulary(Protocol):
    """A checkpoint that carries its tokenizer."""

    def vocabulary(self) -> list[str]:
        """Every token in the order of the ids, those included that `Identity.tokenizer_sha256` is the hash of; [] if unknown."""


@runtime_checkable
class SaysUsage(Protocol):
    """A checkpoint whose configuration says how its weights are used."""

    def usage(self) -> dict[str, Any]:
        """What decides that and is not seen in the shapes: numbers of heads, rotary embeddings, activations and the like, by name."""


@runtime_checkable
class NamesModules(Protocol):
    """A checkpoint that knows which modules hold its tensors when the model is loaded."""

    def modules(self) -> dict[str, str]:
        """{tensor name here: its name in memory, which an adapter is written under}; {} where they are the same."""

    def adaptable(self, names: Iterable[str]) -> set[str]:
        """Those of these tensors that a LoRA can change in memory: not experts that lie together there, nor routers, say."""


@runtime_checkable
class HasCompanions(Protocol):
    """A checkpoint with files beside its weights that belong to any result made of it (the tokenizer, for one)."""

    def companions(self) -> list[Path]:
        """These files."""


@dataclass(frozen=True)
class LowRank:
    """The matrix scale * b @ a: `b` is (rows, rank), `a` (rank, columns), both float32."""

    b: np.ndarray
    a: np.ndarray
    scale: float = 1.0


@runtime_checkable
class StoredBits(Protocol):
    """What a `Checkpoint` may also have, so that work which only multiplies and adds has nothing to copy or widen."""

    def bits(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """As `Checkpoint.read`, but perhaps read-only, and bfloat16 left as its bit patterns (uint16)."""


@runtime_checkable
class StoredFloats(Protocol):
    """What a `Checkpoint` may also have, so that a difference goes from stored bytes to stored bytes in one pass."""

    def stored_floats(self, name: str, start: int, stop: int) -> np.ndarray:
        """Elements [start, stop): what `read` gives, but in the type that the tensor's spec names, bfloat16 as its bit patterns
        (uint16). 1-D, perhaps read-only, of any length: it lies in the page cache, not in memory of this process."""


@runtime_checkable
class Adapter(Checkpoint, Protocol):
    """A checkpoint that holds changes to another one: `specs` and `read` give the changes, named as in the base.

    `base` is the base model as the adapter names it: a path or a hub id, '' if it names none.
    """

    base: str

    def factors(self, name: str) -> LowRank:
        """The change of one tensor as it is stored."""


class CheckpointWriter(Protocol):
    """Write side: blocks of tensors in any order and from several threads; no model is visible before `finish`.

    See also `AddingWriter`.
    """

    def write(self, name: str, start: int, value: np.ndarray) -> np.ndarray:
        """Store float32 `value` (1-D) as elements [start, start + len) in the file's type for `name`.

        Returns what was stored, as float32: survival is measured on that. Blocks are cut as for `Checkpoint.read`.
        """

    def copy(self, name: str) -> None:
        """Take the template's tensor over unchanged, byte for byte when the stored type is the same."""

    def finish(self) -> None:
        """Write headers, indexes, configs, tokenizer; only now can the result be opened."""

    def close(self) -> None:
        """Release handles, whether finished or not. Safe to call twice."""


@runtime_checkable
class AddingWriter(Protocol):
    """What a `CheckpointWriter` may also have: adding in one go through the stored bytes, which is faster."""

    def add(self, name: str, start: int, change: np.ndarray) -> tuple[float, float, float] | None:
        """Store the template's own elements from `start` on plus float32 `change` (1-D, read-only, whole blocks).

        Returns the inner products a.a, a.b, b.b of a = `change` and b = what was stored minus the template, in float64
        and not finite if a sum was not; None, and nothing stored, if this cannot be done here (`write` is then used).
        """


class CheckpointFormat(Protocol):
    """The `past.checkpoints` role: one file format.

    What else a format may offer: `SingleFileFormat` (its models are files), `DirectoryOf` (it can take models in from
    single files), `RunsModels` (it can compute with its models).
    """

    name: str

    def accepts(self, path: Path) -> bool:
        """True if `path` is of this format, judged by content, without importing anything heavy."""

    def open(self, path: Path) -> Checkpoint:
        """Open for reading; raises `MismatchError` on a corrupt file, naming the tensor."""

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> CheckpointWriter:
        """A writer for a checkpoint laid out like `template` (same tensors, config, tokenizer) at `out`.

        `dtype` is the stored type of every tensor (`auto`: as in the template), `types` overrides it by name;
        `rounding` is `nearest` or `stochastic` (seeded), which a format may refuse with `UsageError`.
        """

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        """float32 `value` (1-D, whole rows of `columns`) as it would come back from stored type `dtype`."""


@runtime_checkable
class SingleFileFormat(Protocol):
    """A format whose models are single files: its name is the suffix of a file to be written (`gguf`)."""

    name: str

    def open(self, path: Path) -> Checkpoint:
        """See `CheckpointFormat.open`."""

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
    ) -> CheckpointWriter:
        """See `CheckpointFormat.writer`; `template` may be of another format. Then `layout` is a file of this format
        of the same base model, from which come the order of tensors, their types (for `auto`), metadata, tokenizer.
        """

    def export_lora(self, source: Path, template: Path, out: Path) -> None:
        """Write the adapter directory or low-rank skill file `source` as an adapter in this format, for models laid
        out like `template`. Raises `UsageError` for a skill that is not low-rank.
        """


@runtime_checkable
class DirectoryOf(Protocol):
    """A directory format that can take in models in single files of other formats."""

    def as_directory(self, path: Path) -> Path:
        """A model directory of this format for the file `path`: converted once, kept, tokenizer included."""


@runtime_checkable
class RunsModels(Protocol):
    """A format whose models can be computed with, for the probe's activations and the price of a scale."""

    def layer_inputs(self, path: Path, texts: Sequence[str], visit: Callable[[str, np.ndarray, bool], None]) -> int:
        """Run the model at `path` on `texts`, and call `visit(tensor name, inputs, transposed)` for every linear layer, with
        the float32 (n, in) vectors that it gets; `transposed` if its weight is stored as (in, out). Returns n, the number
        of tokens read.
        """

    def divergence(self, reference: Path, texts: Sequence[str], precision: str = "fp32") -> Callable[[Path], float]:
        """A function that gives the mean KL divergence of `reference` from the model at a path, in nats a token, over
        what `reference` answers to `texts`, computed in `precision` (`stored`: in each model's own type).
        """
