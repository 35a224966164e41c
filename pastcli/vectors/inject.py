"""theta_final = theta_target + lambda v (METHOD 1), with the survival of v in the stored type (METHOD 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api import Checkpoint
from ..config import InjectConfig, validated
from ..errors import MismatchError, UsageError
from .checks import compatibility, finite
from .checks.survival import OWN, SKILL, Survival
from .deltas import projection, scales
from .deltas.application import Change, add, is_cast, own_change, unmeasured
from .deltas.common_rows import fitted
from .deltas.controls import CONTROLS
from .deltas.controls import control as controlled
from .deltas.delta import Delta, Sum
from .deltas.difference import difference
from .deltas.rescaled import Rescaled, Trimmed
from .deltas.ties import Ties
from .files.destination import Storage, form_of_suffix
from .files.opening import as_directory, open_model
from .files.skill import open_skill

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Injected:
    """What `inject_skill` made. `own` is the survival of what the target's own training had changed, where that was
    rounded as well and could be measured; `changed` the number of tensors that got something of the skill."""

    path: Path
    survival: Survival
    own: Survival | None
    changed: int
    tensors: int
    warnings: list[str]


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
    `options` are the settings of `config.InjectConfig`; `base` is the target's base model, for `project`, to measure
    what a cast leaves of the target's own training, and for an adapter of a model which is not where it says. All
    arithmetic is float32; the result is rounded once, to the stored type. Raises `MismatchError` when a vector
    does not belong to the target, `GateError` when less than `min_survival` of it (or of the target's own change)
    survives; in either case nothing is left at `out`.
    """
    chosen = validated(InjectConfig(**options))
    if Path(target).is_file() and form_of_suffix(Path(out)) is None:
        target = as_directory(Path(target))
    with ExitStack() as stack:
        skills = [stack.enter_context(closing(open_skill(path))) for path, _ in vectors]
        model = stack.enter_context(closing(open_model(target, base)))
        notes = [text for skill in skills for text in compatibility.skill_fits(skill, model)]
        specs = model.specs()
        delta = _combined([fitted(skill, specs) for skill in skills], [weight for _, weight in vectors], chosen)
        rank = projection.parse(chosen.project)
        if rank:
            if base is None:
                raise UsageError("--project needs the base model of the target", "name it with --base PATH")
            change = stack.enter_context(difference(Path(base), Path(target)))
            delta = projection.Projected(delta, change, rank, chosen.seed)
        delta, smaller = _controlled(chosen, delta, model, stack)
        cast = is_cast(model, chosen.dtype)
        own = own_change(model, base, Path(target), cast, stack)
        found = add(
            model,
            Change(delta, own),
            Path(out),
            Storage(chosen.dtype, chosen.rounding, chosen.seed),
            finer=chosen.raise_types,
            min_survival=chosen.min_survival,
            template=template,
            progress=progress,
        )
        warnings = [f"{skill.path.name}: {text}" for skill in skills for text in skill.about.warnings]
        warnings += [text for what, kept in found.items() for text in kept.warnings(what)] + unmeasured(cast, own)
        warnings += smaller + notes
        return Injected(Path(out), found[SKILL], found.get(OWN), len(delta.specs()), len(model.specs()), warnings)


def check_fit(vectors: Sequence[Path], target: Path, base: Path | None = None) -> list[str]:
    """Open everything an injection reads; raises what `inject_skill` would raise of it, also where a weight is no number. Gives what
    the user should know of how the skills fit."""
    notes = []
    with closing(open_model(target, base)) as model:
        for path in vectors:
            with closing(open_skill(path)) as skill:
                notes += compatibility.skill_fits(skill, model)
    finite.model(target, base)
    for path in vectors:
        finite.skill(path)
    return notes


def _combined(skills: Sequence[Delta], weights: Sequence[float], options: InjectConfig) -> Delta:
    """The vectors, trimmed if asked for, put together and scaled."""
    if options.rescale and options.density == 1:
        raise UsageError("--rescale restores what --density took away", "say how much to keep: --density 0.3")
    if options.density < 1 and options.merge == "ties":
        raise UsageError("--merge ties trims by itself", "use --ties-density, or leave out --density")
    if options.density < 1:
        skills = [Trimmed(skill, options.density, options.rescale) for skill in skills]
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


def _controlled(options: InjectConfig, delta: Delta, model: Checkpoint, stack: ExitStack) -> tuple[Delta, list[str]]:
    """What is added in place of the skill, if a control was asked for; and a warning if it is smaller than the skill."""
    if options.control in CONTROLS:
        return controlled(options.control, delta, options.seed), []
    if not Path(options.control).is_file():
        raise UsageError(
            f"--control {options.control!r} is neither a control nor a skill file",
            f"one of: {', '.join(CONTROLS)}, a file",
        )
    other = stack.enter_context(closing(open_skill(Path(options.control))))
    compatibility.skill_fits(other, model)
    alone = [name for name in delta.specs() if name not in other.parts or not other.parts[name].norm]
    if len(alone) == len(delta.specs()):
        raise MismatchError(
            f"{other.path} changes nothing that the skill changes", "a control has to act where it does"
        )
    text = f"the control is smaller than the skill: {other.path.name} leaves {len(alone)} of its tensors alone"
    return Rescaled(fitted(other, model.specs()), delta), [f"{text}, such as {alone[0]}"] if alone else []
