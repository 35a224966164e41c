"""The probe itself: every file read once for the cosines, and what else was asked for. (METHOD 4)"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...api import Checkpoint, RunsModels, StoredBits
from ...errors import MismatchError, UsageError
from ..checks import grid_noise
from ..checks.grid_noise import GridNoise
from ..deltas.difference import difference
from ..files.opening import format_of, open_model
from ..files.stream import Span, run, spans
from ..numbers.moments import Moments, moments
from .cosines import Probe, Row

if TYPE_CHECKING:
    from .geometry import Geometry, Reader

NOISE_SAMPLE = 1 << 12
"""Entries of each tensor in which grid noise is looked for: a model has hundreds of tensors, and this stays cheap."""


def check(
    base: Path,
    sft: Path,
    rl: Path,
    target_sft: Path | None = None,
    sft2: Path | None = None,
    rl2: Path | None = None,
    *,
    began_from_base: Collection[str] = (),
    allow_lossy: bool = False,
) -> list[str]:
    """Open every model; raises what `probe` would raise of them, also where a weight is no number. The warnings."""
    with ExitStack() as stack:
        changes = _opened(stack, base, sft, rl, target_sft, sft2, rl2)
        checked = _checked(changes, began_from_base, allow_lossy)
        for change in changes.values():
            change.refuse_not_finite()
        return checked.warnings


def _opened(
    stack: ExitStack, base: Path, sft: Path, rl: Path, target_sft: Path | None, sft2: Path | None, rl2: Path | None
) -> dict[str, Any]:
    """The changes by name, as far as their models are given."""
    edges = {
        "sft": (base, sft),
        "rl": (sft, rl),
        "target_sft": (base, target_sft),
        "sft2": (base, sft2),
        "rl2": (sft2 or sft, rl2),
    }
    return {
        name: stack.enter_context(difference(Path(before), Path(after)))
        for name, (before, after) in edges.items()
        if before and after
    }


def _checked(changes: Mapping[str, Any], began_from_base: Collection[str], allow_lossy: bool) -> Probe:
    """A probe with nothing measured yet but the rounding noise of each change."""
    measured = Probe(list(changes), {})
    for name, change in changes.items():
        if not change.exact:
            measured.warnings += _noise(measured.noise, name, change, name in began_from_base, allow_lossy)
    return measured


def probe(
    base: Path,
    sft: Path,
    rl: Path,
    *,
    target_sft: Path | None = None,
    sft2: Path | None = None,
    rl2: Path | None = None,
    subspaces: int = 0,
    geometry: int = 0,
    texts: Sequence[str] = (),
    began_from_base: Collection[str] = (),
    allow_lossy: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Cosines between the changes base -> sft, sft -> rl, base -> target_sft, base -> sft2, sft2 -> rl2.

    `subspaces` > 0 also compares the leading singular subspaces of that dimension of the first two changes; `geometry` > 0
    how each update moves that many leading singular directions of the weights, and which entries (see `geometry`); and
    `texts` their interference on the inputs that the layers of `sft` get when it reads these. `began_from_base` names
    the changes (`sft`, `target_sft`, `sft2`) known to have begun from the very weights of `base`, which may be quantised. Raises
    `MismatchError` if the models do not fit together, hold NaN or infinity, or differ mostly by the rounding of their
    stored types (unless `allow_lossy`).
    """
    with ExitStack() as stack:
        changes = _opened(stack, base, sft, rl, target_sft, sft2, rl2)
        measured = _checked(changes, began_from_base, allow_lossy)
        measured.rows = rows(changes, seed, progress)
        if subspaces:
            from .subspaces import overlaps

            measured.subspaces = dict(overlaps(changes["sft"], changes["rl"], subspaces, seed, progress))
        if geometry:
            paths = {"base": base, "sft": sft, "rl": rl} | ({"target_sft": target_sft} if target_sft else {})
            models = {name: stack.enter_context(closing(open_model(Path(path)))) for name, path in paths.items()}
            measured.geometry = updates_of(models, geometry, seed, progress)
        if texts:
            from .interference import Meter

            meter = Meter(changes["sft"], changes["rl"])
            form = format_of(sft)
            if not isinstance(form, RunsModels):
                raise UsageError(
                    f"{form.name} models cannot be run for their activations", "give the SFT model as an HF directory"
                )
            form.layer_inputs(Path(sft), texts, meter.visit)
            measured.interference = meter.found
    return measured


def updates_of(
    models: Mapping[str, Checkpoint], rank: int, seed: int, progress: Callable[[int, int], None] | None
) -> Geometry:
    """Geometry of SFT, of RL, of the target's SFT, and of SFT with the skill added: the target's, else the source's."""
    from .geometry import measure

    readers: dict[str, Reader] = {name: model.read for name, model in models.items()}
    updates = {"sft": ("base", "sft"), "rl": ("sft", "rl"), "sft_skill": ("base", "rl")}
    if "target_sft" in models:
        updates |= {"target_sft": ("base", "target_sft"), "sft_skill": ("base", "target_skill")}
        readers["target_skill"] = _injected(models["target_sft"], models["sft"], models["rl"])
    return measure(readers, updates, models["base"].specs(), rank, seed, progress)


def _injected(target: Checkpoint, sft: Checkpoint, rl: Checkpoint) -> Reader:
    """target + (rl - sft), as `inject` would make it in float32."""

    def read(name: str, start: int, stop: int) -> np.ndarray:
        return target.read(name, start, stop) + (rl.read(name, start, stop) - sft.read(name, start, stop))

    return read


def _noise(found: dict[str, GridNoise], name: str, change: Any, known: bool, allow_lossy: bool) -> list[str]:
    """Warnings about rounding in a change, or `MismatchError`: it makes every cosine smaller than it was, and that of SFT
    and RL more negative, because the rounding of the SFT model stands in both with opposite signs."""
    after, before = grid_noise.quantised(change.rl), grid_noise.quantised(change.sft)
    if after is not None and not allow_lossy:
        raise MismatchError(after, "probe the unquantised checkpoints; --allow-lossy takes it as it is")
    if after is not None or before is not None:
        unless = "" if after else ", unless training began from this very file"
        return [] if known and not after else [f"{after or before}{unless}"]
    noise = grid_noise.measure(change.sft, change.rl, NOISE_SAMPLE)
    if noise is not None:
        found[name] = noise
    return [f"{name}: {text}" for text in grid_noise.judge(noise, change.sft, change.rl, allow_lossy)]


def rows(changes: Mapping[str, Any], seed: int, progress: Callable[[int, int], None] | None = None) -> dict[str, Row]:
    """One row a tensor, in one pass in which each file is read once."""
    readers = _Shared(changes.values())
    specs = next(iter(changes.values())).layout.specs()

    def measure(span: Span) -> Moments:
        arrays = readers.read(span.spec.name, span.start, span.stop)
        sums = moments(arrays, readers.edges, _row_length(span), _seed(seed, span))
        if not np.isfinite(sums.gram).all():
            for change in changes.values():  # says which model
                change.refuse_not_finite()
            raise MismatchError(f"tensor {span.spec.name} holds NaN or infinity in one of the models")
        return sums

    tensors: dict[str, Moments] = {}
    for span, sums in run(spans(specs.values()), measure, progress):
        name = span.spec.name
        tensors[name] = tensors[name] + sums if name in tensors else sums
    return {name: Row.of(sums) for name, sums in tensors.items()}


def _row_length(span: Span) -> int:
    """A row of a matrix is what one output gets; entries of a vector (a norm, a bias) are rows of their own, and of a row
    longer than a span the span's part counts as one."""
    size = span.stop - span.start
    columns = span.spec.columns if len(span.spec.shape) > 1 else 1
    return columns if size % columns == 0 else size


def _seed(seed: int, span: Span) -> int:
    """64 bits of its own for every span."""
    return (zlib.crc32(f"{seed} {span.start}".encode()) << 32) | zlib.crc32(span.spec.name.encode())


class _Shared:
    """Blocks of several differences, reading each checkpoint once although it may stand in two of them.

    `edges` says how the changes come out of the arrays of `read`, as `moments` takes it.
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


def _reader_of_exact(change: Any) -> Callable[[str, int, int], np.ndarray]:
    """`block` of a change that knows its own values, zero for the tensors that it leaves alone."""

    def read(name: str, start: int, stop: int) -> np.ndarray:
        return change.block(name, start, stop) if name in change.specs() else np.zeros(stop - start, np.float32)

    return read
