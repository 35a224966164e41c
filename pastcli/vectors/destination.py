"""Where a result goes: the format asked for, a writer for it, and the stored types that would lose the skill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..api import Checkpoint, CheckpointWriter, TensorSpec
from ..errors import UsageError
from .arithmetic import FAITHFUL, SIGNIFICAND_BITS, Sums
from .delta import Delta
from .models import format_of
from .stream import Span, run, spans

if TYPE_CHECKING:
    from .inject import Options

Progress = Callable[[int, int], None]


def sums_by_tensor(
    model: Checkpoint, changes: Mapping[str, Any], work: Callable[[Span], Sums | None], progress: Progress | None
) -> dict[str, Sums]:
    """Run `work` over the whole model and add up its sums by tensor."""
    totals = {name: Sums() for name in changes}
    for span, sums in run(spans(model.specs().values()), work, progress):
        if sums is not None:
            totals[span.spec.name] += sums
    return totals


def writer_for(
    model: Checkpoint, delta: Delta, out: Path, options: Options, template: Path | None, progress: Progress | None
) -> CheckpointWriter:
    """A writer for `out`: the format of the model, or the one that the suffix of `out` names."""
    inner = getattr(model, "base", model)
    settings: dict[str, Any] = {"dtype": options.dtype, "rounding": options.rounding, "seed": options.seed}
    form = form_of_suffix(out)
    if form is None:
        if options.raise_types:
            raise UsageError("--raise-types is for quantised files (.gguf)", "use --dtype for a model directory")
        return format_of(inner.path).writer(inner, out, **settings)
    if inner.format == form.name:
        settings["types"] = _raised(model, delta, inner.specs(), form, options, progress)
        return form.writer(inner, out, **settings)
    if template is None:
        raise UsageError(
            f"no GGUF of the base model of {model.path} is known, to take tokenizer and metadata from",
            "name one with --template",
        )
    with closing(form.open(template)) as layout:
        if options.dtype == "auto":
            largest = max(model.specs().values(), key=lambda spec: spec.numel)
            settings["dtype"] = options.dtype if largest.dtype not in SIGNIFICAND_BITS else largest.dtype.lower()
        settings["types"] = _raised(
            model, delta, layout.specs(), form, replace(options, dtype=settings["dtype"]), progress
        )
    return form.writer(model, out, layout=template, **settings)


def form_of_suffix(out: Path) -> Any | None:
    """The single-file format that the suffix of `out` names; None if `out` is to be a directory."""
    name = out.suffix[1:]
    return (
        registry.load("checkpoint", name)
        if any(plugin.name == name for plugin in registry.names("checkpoint"))
        else None
    )


def _raised(
    model: Checkpoint,
    delta: Delta,
    layout: Mapping[str, TensorSpec],
    form: Any,
    options: Options,
    progress: Progress | None,
) -> dict[str, str]:
    """The tensors whose stored type would lose the skill, each with the finer type asked for (`--raise-types`)."""
    if not options.raise_types:
        return {}
    changes = {name: spec for name, spec in delta.specs().items() if len(spec.shape) > 1}
    kinds = {name: layout[name].dtype if options.dtype == "auto" else options.dtype for name in changes}

    def trial(span: Span) -> Sums | None:
        name = span.spec.name
        if name not in changes:
            return None
        sums = Sums()
        for start, stop in span.blocks():
            theta, change = model.read(name, start, stop), delta.block(name, start, stop)
            sums.add(change, form.cast(theta + change, kinds[name], span.spec.columns), theta)
        return sums

    totals = sums_by_tensor(model, changes, trial, progress)
    return {name: options.raise_types for name, sums in totals.items() if sums.cosine < FAITHFUL}
