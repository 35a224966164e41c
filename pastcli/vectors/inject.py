"""theta_final = theta_target + lambda v (METHOD 1), with the survival of v in the stored type (METHOD 5)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..api import AddingWriter, Checkpoint, CheckpointWriter, TensorSpec
from ..errors import GateError, MismatchError, UsageError
from .checks import compatibility
from .checks.survival import WAY_OUT, Survival, lossy_tensors, sums_by_tensor, survival
from .deltas import projection, scales
from .deltas.controls import CONTROLS
from .deltas.controls import control as controlled
from .deltas.delta import Delta, Sum
from .deltas.difference import difference
from .deltas.ties import Ties
from .files.destination import Storage, form_of_suffix, writer_for
from .files.opening import Overlay, as_directory, open_model
from .files.skill import Skill, open_skill
from .files.stream import Span
from .numbers.arithmetic import Sums, overflow

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Injected:
    """What `inject_skill` made. `norm` is |lambda v|, `changed` the number of tensors that got something."""

    path: Path
    survival: Survival
    norm: float
    changed: int
    tensors: int
    warnings: list[str]


@dataclass(frozen=True)
class Options:
    """How to inject; every field is a setting of `past inject` (`config.InjectConfig` explains them)."""

    scale: float = 1.0
    scales: Sequence[str] = ()
    depth_scale: str = ""
    dtype: str = "auto"
    rounding: str = "nearest"
    control: str = "none"
    project: str = ""
    merge: str = "sum"
    ties_density: float = 0.2
    raise_types: str = ""
    min_survival: float = 0.0
    seed: int = 0

    def check(self) -> None:
        """Raise `UsageError` for a value that means nothing."""
        for name, known in (("control", CONTROLS), ("rounding", ("nearest", "stochastic")), ("merge", ("sum", "ties"))):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} {getattr(self, name)!r} is unknown", f"one of: {', '.join(known)}")
        if not 0 < self.ties_density <= 1:
            raise UsageError(f"--ties-density {self.ties_density} is not in (0, 1]")
        if not math.isfinite(self.scale):
            raise UsageError(f"--scale {self.scale} is not a finite number")
        scales.parse_rules(self.scales)
        scales.parse_depth(self.depth_scale)
        projection.parse(self.project)


def inject_skill(
    vectors: Sequence[tuple[Path, float]],
    target: Path,
    out: Path,
    *,
    template: Path | None = None,
    base: Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Injected:
    """Write `target` + scale * sum_i lambda_i v_i to the new path `out`.

    `vectors` are (skill file, lambda) pairs; `target` a model or adapter directory or a GGUF; `out` a directory,
    or a file ending in .gguf (then `template` names a GGUF of the same base model unless `target` is one).
    `options` are the fields of `Options`; `base` is the target's base model, for `project`, and
    for a target that is an adapter of a model which is not where it says. All
    arithmetic is float32; the result is rounded once, to the stored type. Raises `MismatchError` when a vector
    does not belong to the target, `GateError` when less than `min_survival` of it survives; in either case
    nothing is left at `out`.
    """
    chosen = Options(**options)
    chosen.check()
    if Path(target).is_file() and form_of_suffix(Path(out)) is None:
        target = as_directory(Path(target))
    with ExitStack() as stack:
        skills = [stack.enter_context(closing(open_skill(path))) for path, _ in vectors]
        model = stack.enter_context(closing(open_model(target, base)))
        for skill in skills:
            compatibility.skill_fits(skill, model)
        delta = _combined(skills, [weight for _, weight in vectors], chosen)
        rank = projection.parse(chosen.project)
        if rank:
            if base is None:
                raise UsageError("--project needs the base model of the target", "name it with --base PATH")
            change = stack.enter_context(difference(Path(base), Path(target)))
            delta = projection.Projected(delta, change, rank, chosen.seed)
        delta = controlled(chosen.control, delta, chosen.seed)
        return add(model, delta, Path(out), chosen, template, progress)


def _combined(skills: Sequence[Skill], weights: Sequence[float], options: Options) -> Delta:
    """The vectors put together and scaled."""
    names = list(dict.fromkeys(name for skill in skills for name in skill.specs()))
    rules, depth = scales.parse_rules(options.scales), scales.parse_depth(options.depth_scale)
    factors = {name: options.scale * factor for name, factor in scales.multipliers(names, rules, depth).items()}
    if options.merge == "ties":
        weighted = [Sum([(skill, dict.fromkeys(names, weight))]) for skill, weight in zip(skills, weights, strict=True)]
        return Sum([(Ties(weighted, options.ties_density), factors)])
    return Sum(
        [
            (skill, {name: weight * factors[name] for name in names})
            for skill, weight in zip(skills, weights, strict=True)
        ]
    )


def add(
    model: Checkpoint,
    delta: Delta,
    out: Path,
    options: Options,
    template: Path | None = None,
    progress: Progress | None = None,
) -> Injected:
    """Write `model` + `delta` to `out` and measure what survived. Tensors that do not change are copied as they are."""
    if out.exists():
        raise UsageError(f"{out} already exists", "choose another name, or remove it first")
    if options.raise_types and form_of_suffix(out) is None:
        raise UsageError("--raise-types is for quantised files (.gguf)", "use --dtype for a model directory")
    try:
        storage = Storage(options.dtype, options.rounding, options.seed)
        writer = writer_for(
            model, out, storage, template, partial(_raised, model, delta, options.raise_types, progress)
        )
    except BaseException:
        _discard(out)
        raise
    changes, overlaid = delta.specs(), model.changed if isinstance(model, Overlay) else frozenset()
    directly = writer if isinstance(writer, AddingWriter) and not overlaid else None

    def apply(span: Span) -> Sums | None:
        name = span.spec.name
        if name not in changes and name not in overlaid:
            if span.start == 0:
                writer.copy(name)
            return None
        sums = None
        if directly and name in changes:
            sums = Sums.of(directly.add(name, span.start, delta.block(name, span.start, span.stop)))
        if sums is None:
            sums = _blockwise(model, delta if name in changes else None, writer, span)
        if not sums.finite:
            raise _not_finite(model, delta, span)
        return sums if name in changes else None

    try:
        kept, norm = survival(sums_by_tensor(model, changes, apply, progress))
        if 0 < options.min_survival > kept.cosine:  # 0 is no gate, although what rounding leaves may point backwards
            raise GateError(
                f"only {kept.cosine:.4f} of the skill survives in the stored type (asked: {options.min_survival})",
                WAY_OUT,
            )
        writer.finish()
    except BaseException:
        writer.close()
        _discard(out)
        raise
    writer.close()
    return Injected(out, kept, norm, len(changes), len(model.specs()), kept.warnings())


def _raised(
    model: Checkpoint,
    delta: Delta,
    finer: str,
    progress: Progress | None,
    layout: Mapping[str, TensorSpec],
    form: Any,
    dtype: str,
) -> dict[str, str]:
    """The matrices whose stored type would lose the skill, each with the finer type asked for (`--raise-types`)."""
    if not finer:
        return {}
    changes = [name for name, spec in delta.specs().items() if len(spec.shape) > 1]
    kinds = {name: layout[name].dtype if dtype == "auto" else dtype for name in changes}
    return dict.fromkeys(lossy_tensors(model, delta, kinds, form, progress), finer)


def _blockwise(model: Checkpoint, delta: Delta | None, writer: CheckpointWriter, span: Span) -> Sums:
    """Read, add, write, one block after the other; and what became of the change."""
    name, sums = span.spec.name, Sums()
    for start, stop in span.blocks():
        theta = model.read(name, start, stop)
        if delta is None:
            writer.write(name, start, theta)
            continue
        change = delta.block(name, start, stop)
        sums.add(change, writer.write(name, start, theta + change), theta)
    return sums


def _not_finite(model: Checkpoint, delta: Delta, span: Span) -> MismatchError:
    """Say which input was broken, or that the sum overflowed its type."""
    name = span.spec.name
    for start, stop in span.blocks():
        if not np.isfinite(model.read(name, start, stop)).all():
            return MismatchError(f"{model.path}: tensor {name} holds NaN or infinity")
        if not np.isfinite(delta.block(name, start, stop)).all():
            return MismatchError(f"the skill holds NaN or infinity in tensor {name}")
    return overflow(name)


def _discard(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out, ignore_errors=True)
    else:
        out.unlink(missing_ok=True)
