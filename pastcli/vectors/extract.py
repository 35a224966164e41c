"""v = theta_rl - theta_sft (METHOD 1): the skill vector, lifted out of two checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..api import Checkpoint, TensorSpec
from ..cards import shareable
from ..errors import MismatchError, PastError
from ..standing_in import trusted
from .checks import compatibility, finite, grid_noise, usage
from .deltas.compression import Form, compress
from .deltas.delta import Delta, Only
from .deltas.difference import AdapterDifference, Difference, difference
from .files.skill_description import About, Part
from .files.skill_writer import SkillWriter
from .files.stream import Span, run, spans
from .numbers.arithmetic import squared_norm
from .numbers.lowrank import product_norm

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extracted:
    """What `extract_skill` made. `norm` is |v| as stored, `energy` the share of the true |v|^2 that it holds."""

    path: Path
    form: str
    norm: float
    tensors: int
    parameters: int
    energy: float
    parts: dict[str, Part]
    warnings: list[str] = field(default_factory=list)


def extract_skill(
    sft: Path,
    rl: Path,
    out: Path,
    *,
    rank: int = 0,
    energy: float = 0.0,
    density: float = 0.0,
    allow_lossy: bool = False,
    assume_parent: bool = False,
    seed: int = 0,
    parents: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Write the skill vector of `rl` over `sft` to the new file `out`.

    `sft` and `rl` are model or adapter directories or GGUFs. If `rl` is a LoRA adapter trained on `sft`, the
    skill is its factors exactly; if both are adapters of one base, it is the two joined, exactly; otherwise it
    is the float32 difference, tensor by tensor. `rank`, `energy` or `density` then compress it (`compress.Form`).
    Raises `MismatchError` when the two do not fit together, when a tensor holds NaN or infinity, or when 16-bit
    grid noise dominates (unless `allow_lossy`), or when nothing shows that the adapter `rl` was trained on `sft`
    (unless `assume_parent`, which stands in the skill as a warning); nothing is left at `out` then.
    """
    form = Form(rank, energy, density, seed)
    unproven: list[str] = []
    with difference(Path(sft), Path(rl), unproven if assume_parent else None) as delta:
        about = About(delta.layout.identity(), _shapes(delta.layout), compatibility.sketch(delta.layout))
        about.parents, about.training = shareable(parents or {}), shareable(training or {})
        if "sft" in about.parents:
            about.parents["sft"] = {**about.parents["sft"], usage.KEY: usage.of(delta.layout)}
        about.warnings = unproven + trusted()
        if not delta.exact:
            about.warnings += compatibility.grown(about.sketch, delta.rl)
            about.warnings += usage.differing("the SFT model", usage.of(delta.sft), "the RL model", usage.of(delta.rl))
            about.warnings += grid_noise.check(delta.sft, delta.rl, allow_lossy)
        writer = SkillWriter(Path(out), about)
        try:
            if form:
                whole = delta if delta.exact else Only(delta, delta.changed(progress))
                _write_compressed(whole, form, writer, progress)
            elif delta.exact:
                _write_factors(delta, writer)
            else:
                _write_dense(delta, delta.changed(progress), writer, progress)
            return _result(Path(out), writer.finish(), about.warnings)
        except BaseException:
            writer.close()
            Path(out).unlink(missing_ok=True)
            raise


def check_pair(sft: Path, rl: Path, *, allow_lossy: bool = False, assume_parent: bool = False) -> None:
    """Open both models; raises what `extract_skill` would raise of them, also where a weight is no number."""
    with difference(sft, rl, [] if assume_parent else None) as delta:
        if not delta.exact:
            grid_noise.check(delta.sft, delta.rl, allow_lossy)
        delta.refuse_not_finite()


def _shapes(model: Checkpoint) -> dict[str, list[int]]:
    return {name: list(spec.shape) for name, spec in model.specs().items()}


def _write_factors(difference: AdapterDifference, writer: SkillWriter) -> None:
    for name, spec in difference.specs().items():
        factors = difference.factors(name)
        writer.low_rank(spec, factors, product_norm(factors))


def _write_dense(
    difference: Difference, specs: Mapping[str, TensorSpec], writer: SkillWriter, progress: Progress | None
) -> None:
    """Every tensor of `specs`, block by block; the file's size is claimed first."""
    for spec in specs.values():
        writer.dense(spec)
    writer.reserve()

    def subtract(span: Span) -> float:
        stored = difference.stored(span)
        square = writer.subtract(span, *stored) if stored else _blockwise(difference, span, writer)
        if not math.isfinite(square):
            raise _not_finite(difference, span)
        return square

    squares: dict[str, list[float]] = {name: [] for name in specs}
    for span, square in run(spans(specs.values()), subtract, progress):
        squares[span.spec.name].append(square)
    for name, spec in specs.items():
        writer.done(spec, math.sqrt(math.fsum(squares[name])))


def _write_compressed(delta: Delta, form: Form, writer: SkillWriter, progress: Progress | None) -> None:
    for spec, made in compress(delta, form, progress):
        if made.factors is not None:
            writer.low_rank(spec, made.factors, made.norm, made.energy)
        elif made.rows is not None:
            writer.sparse(spec, *made.rows, made.norm, made.energy)
        else:
            _write_whole(delta, spec, writer)


def _write_whole(delta: Delta, spec: TensorSpec, writer: SkillWriter) -> None:
    """A tensor that compression leaves alone (norms, biases, matrices too small to gain)."""
    writer.dense(spec)
    writer.done(spec, math.sqrt(_blockwise(delta, Span(spec, 0, spec.numel), writer)))


def _blockwise(delta: Delta, span: Span, writer: SkillWriter) -> float:
    """Write a span of a dense part; the sum of its squares."""
    square = 0.0
    for start, stop in span.blocks():
        block = delta.block(span.spec.name, start, stop)
        square += squared_norm(block)
        writer.write(span.spec.name, start, block)
    return square


def _not_finite(difference: Difference, span: Span) -> MismatchError:
    for model in (difference.sft, difference.rl):
        for block in span.blocks():
            if not np.isfinite(model.read(span.spec.name, *block)).all():
                return finite.broken(model.path, span.spec.name)
    return MismatchError(f"tensor {span.spec.name}: the difference overflows float32")


def _result(out: Path, parts: dict[str, Part], warnings: list[str]) -> Extracted:
    square = math.fsum(part.norm**2 for part in parts.values())
    if square == 0.0:
        raise PastError(
            "the two checkpoints are identical: there is no skill to extract", "was the RL run trained at all?"
        )
    forms = {part.form for part in parts.values()}
    true = math.fsum(part.norm**2 / part.energy for part in parts.values() if part.energy)
    form = next(iter(forms)) if len(forms) == 1 else "mixed"
    parameters = sum(part.spec.numel for part in parts.values())
    return Extracted(out, form, math.sqrt(square), len(parts), parameters, square / true, parts, warnings)
