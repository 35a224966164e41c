"""Are the changes made by SFT and by RL orthogonal, and compared with what? (METHOD 4)

One pass over the files gives the Gram matrix of all changes for every tensor; layers, module kinds and the
whole model follow by addition. The null: two independent random directions in R^n have a cosine that is
N(0, 1/n), so z = cos * sqrt(n). With billions of weights everything is many sigma from chance; the size of the
cosine, beside the SFT-SFT and RL-RL controls, is what says whether two changes get in each other's way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...api import Checkpoint, RunsModels, StoredBits
from ...errors import MismatchError, UsageError
from ..deltas.difference import difference
from ..files.opening import format_of
from ..files.stream import Span, run, spans
from ..numbers.arithmetic import gram, seeded, widen
from .interference import Interference, Meter
from .subspaces import Overlap, overlaps

PAIRS = {
    "sft_rl": ("sft", "rl", "SFT change and RL change"),
    "target_rl": ("target_sft", "rl", "the target's SFT change and the RL change"),
    "sft_target": ("sft", "target_sft", "control: the two SFT changes"),
    "sft_sft2": ("sft", "sft2", "control: the two SFT changes"),
    "rl_rl2": ("rl", "rl2", "control: the two RL changes"),
}
"""Cosines reported, by name: (one change, the other, in words)."""


SAMPLED = 1 << 11
"""Entries of each tensor that the controls look at: drawing random numbers costs ten times what reading does."""


@dataclass
class Cosine:
    """One cosine with its null. `n` entries; `z` = cosine * sqrt(n) standard deviations from chance."""

    cosine: float
    n: int

    @property
    def chance(self) -> float:
        """Standard deviation of the cosine of two random directions."""
        return 1 / math.sqrt(self.n)

    @property
    def z(self) -> float:
        return self.cosine * math.sqrt(self.n)

    def to_dict(self) -> dict[str, float]:
        return {"cosine": self.cosine, "n": self.n, "chance": self.chance, "z": self.z}


@dataclass
class Row:
    """Inner products of the changes of one tensor (or group): `gram` (k, k), over `n` entries.

    `shuffled` and `random` hold (a.b, a.a, b.b, n) of the first change against a permuted second one and
    against noise, on a sample: the first entries of every tensor.
    """

    gram: np.ndarray
    n: int
    shuffled: np.ndarray
    random: np.ndarray

    def __add__(self, other: Row) -> Row:
        return Row(self.gram + other.gram, self.n + other.n, self.shuffled + other.shuffled, self.random + other.random)


@dataclass
class Probe:
    """Everything measured: rows by tensor, and the names of the changes in the order of the Gram matrices."""

    changes: list[str]
    rows: dict[str, Row]
    subspaces: dict[str, Overlap] = field(default_factory=dict)
    interference: dict[str, Interference] = field(default_factory=dict)

    def pairs(self) -> dict[str, tuple[int, int]]:
        """Reported pairs whose two changes were given, as indices into `changes`."""
        index = {name: number for number, name in enumerate(self.changes)}
        return {name: (index[a], index[b]) for name, (a, b, _) in PAIRS.items() if a in index and b in index}

    def group(self, key: Callable[[str], str]) -> dict[str, Row]:
        """Rows added up by `key(tensor name)`, in order of first occurrence."""
        grouped: dict[str, Row] = {}
        for name, row in self.rows.items():
            label = key(name)
            grouped[label] = grouped[label] + row if label in grouped else row
        return grouped

    def whole(self) -> Row:
        """The whole model as one vector."""
        return self.group(lambda name: "")[""]


def cosine(row: Row, pair: tuple[int, int]) -> Cosine | None:
    """The cosine of two changes over a row; None where one of them is zero."""
    i, j = pair
    square = row.gram[i, i] * row.gram[j, j]
    return Cosine(float(row.gram[i, j] / math.sqrt(square)), row.n) if square > 0 else None


def control_cosine(sums: np.ndarray) -> Cosine | None:
    """The cosine behind the four sums of a control."""
    dot, aa, bb, n = sums
    return Cosine(float(dot / math.sqrt(aa * bb)), int(n)) if aa > 0 and bb > 0 else None


def layer_of(name: str) -> str:
    """`12` for a tensor of the 13th layer; `embedding`, `head`, `final norm` or `other` outside the layers."""
    found = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name)
    if found:
        return found[1]
    for part, label in (("embed", "embedding"), ("lm_head", "head"), ("norm", "final norm")):
        if part in name:
            return label
    return "other"


def kind_of(name: str) -> str:
    """The module's own name, such as `q_proj` or `input_layernorm`; biases apart from weights."""
    parts = name.split(".")
    module = parts[-2] if len(parts) > 1 else parts[0]
    return f"{module}.bias" if parts[-1] == "bias" else module


def probe(
    base: Path,
    sft: Path,
    rl: Path,
    *,
    target_sft: Path | None = None,
    sft2: Path | None = None,
    rl2: Path | None = None,
    subspaces: int = 0,
    texts: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Cosines between the changes base -> sft, sft -> rl, base -> target_sft, base -> sft2, sft2 -> rl2.

    `subspaces` > 0 also compares the leading singular subspaces of that dimension of the first two changes, and
    `texts` their interference on the inputs that the layers of `sft` get when it reads these. Raises
    `MismatchError` if the models do not fit together or hold NaN or infinity.
    """
    edges = {
        "sft": (base, sft),
        "rl": (sft, rl),
        "target_sft": (base, target_sft),
        "sft2": (base, sft2),
        "rl2": (sft2 or sft, rl2),
    }
    with ExitStack() as stack:
        changes = {
            name: stack.enter_context(difference(Path(before), Path(after)))
            for name, (before, after) in edges.items()
            if before and after
        }
        measured = Probe(list(changes), grams(changes, seed, progress))
        if subspaces:
            measured.subspaces = dict(overlaps(changes["sft"], changes["rl"], subspaces, seed, progress))
        if texts:
            meter = Meter(changes["sft"], changes["rl"])
            form = format_of(sft)
            if not isinstance(form, RunsModels):
                raise UsageError(
                    f"{form.name} models cannot be run for their activations", "give the SFT model as an HF directory"
                )
            form.layer_inputs(Path(sft), texts, meter.visit)
            measured.interference = meter.found
    return measured


def grams(changes: Mapping[str, Any], seed: int, progress: Callable[[int, int], None] | None = None) -> dict[str, Row]:
    """One row a tensor, in one pass in which each file is read once."""
    readers = _Shared(changes.values())
    specs = next(iter(changes.values())).layout.specs()
    count = len(changes)

    def measure(span: Span) -> Row:
        arrays = readers.read(span.spec.name, span.start, span.stop)
        row = Row(gram(arrays, readers.edges), span.stop - span.start, np.zeros(4), np.zeros(4))
        if span.start == 0 and count > 1:
            _add_controls(row, *readers.sample(arrays), seeded(seed, span.spec.name))
        if not np.isfinite(row.gram).all():
            raise MismatchError(f"tensor {span.spec.name} holds NaN or infinity in one of the models")
        return row

    rows: dict[str, Row] = {}
    for span, row in run(spans(specs.values()), measure, progress):
        name = span.spec.name
        rows[name] = rows[name] + row if name in rows else row
    return rows


def _add_controls(row: Row, a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> None:
    """The first change against the second one permuted, and against Gaussian noise."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    aa = np.dot(a, a)
    shuffled, noise = rng.permutation(b), rng.standard_normal(len(a))
    row.shuffled += (np.dot(a, shuffled), aa, np.dot(b, b), len(a))
    row.random += (np.dot(a, noise), aa, np.dot(noise, noise), len(a))


class _Shared:
    """Blocks of several differences, reading each checkpoint once although it may stand in two of them.

    `edges` says how the changes come out of the arrays of `read`, as `arithmetic.gram` takes it.
    """

    def __init__(self, changes: Iterable[Any]):
        self._sources: dict[Any, Callable[[str, int, int], np.ndarray]] = {}
        self.edges: list[tuple[int, int]] = []
        for change in changes:
            if change.exact:
                self.edges.append((self._index(id(change), _reader_of_exact(change)), -1))
            else:
                self.edges.append((self._index_of(change.rl), self._index_of(change.sft)))

    def _index_of(self, side: Checkpoint) -> int:
        return self._index(Path(side.path).resolve(), side.bits if isinstance(side, StoredBits) else side.read)

    def _index(self, key: Any, read: Callable[[str, int, int], np.ndarray]) -> int:
        self._sources.setdefault(key, read)
        return list(self._sources).index(key)

    def read(self, name: str, start: int, stop: int) -> list[np.ndarray]:
        return [read(name, start, stop) for read in self._sources.values()]

    def sample(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The first entries of the first two changes."""
        pieces = [array[:SAMPLED] for array in arrays]
        pieces = [widen(piece, "BF16") if piece.dtype == np.uint16 else piece for piece in pieces]
        return [pieces[after] - pieces[before] if before >= 0 else pieces[after] for after, before in self.edges[:2]]


def _reader_of_exact(change: Any) -> Callable[[str, int, int], np.ndarray]:
    """`block` of a change that knows its own values, zero for the tensors that it leaves alone."""

    def read(name: str, start: int, stop: int) -> np.ndarray:
        return change.block(name, start, stop) if name in change.specs() else np.zeros(stop - start, np.float32)

    return read
