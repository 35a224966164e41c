"""`past inject`: a skill vector into another model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import cards, models, output, runs
from .. import config as configs
from ..config import InjectConfig, finite
from ..errors import UsageError
from ..files import remove, size_of
from ..hashing import hash_path
from . import _lineage
from ._adapter_base import add_input, as_typed, standing_in_as
from ._options import (
    TARGET,
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    already_done,
    disk,
    show_plan,
    show_run,
    with_settings,
)
from ._twice import told_twice
from ._weights import weights_progress

EXAMPLE = "Example: `past inject --vector skill.safetensors --scale 1.0 --target runs/sft-2 -o model/`"


KINDS = ("model", "adapter")

VECTOR = typer.Option(
    "--vector",
    metavar="FILE[:λ]",
    help="A skill file, with a factor of its own if wanted; may repeat (default: the newest skill).",
)
OUT = typer.Option(
    "-o", "--output", metavar="OUT", help="A directory, or a file ending in .gguf (default: in the run)."
)
KIND = typer.Option("--as", metavar="KIND", help="model: add to the weights | adapter: a LoRA of the target.")
BASE = typer.Option(
    "--base",
    metavar="PATH",
    help="The target's base model: for --project, to measure what a cast leaves of the target's own training, or for an "
    "adapter whose base is not at hand (default: from its run).",
)
TEMPLATE = typer.Option(
    "--template", metavar="GGUF", help="GGUF of the same base, for a .gguf output (default: known from the target)."
)


@with_settings("inject")
@standing_in_as(as_typed)
def command(
    vector: Annotated[list[str] | None, VECTOR] = None,
    target: Annotated[str | None, TARGET] = None,
    out: Annotated[Path | None, OUT] = None,
    kind: Annotated[str, KIND] = "model",
    *,
    config: InjectConfig,
    base: Annotated[str | None, BASE] = None,
    template: Annotated[Path | None, TEMPLATE] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Add skill vectors to a model: target + λ v, computed in float32 and rounded once to the stored type.

    Says how much of the skill survives in that type. Refuses a vector that does not belong to the model.
    """
    if kind not in KINDS:
        raise UsageError(f"--as {kind!r} is unknown", f"one of: {', '.join(KINDS)}")
    vectors = [parse_vector(text) for text in vector or []] or [(_lineage.newest_skill(), 1.0)]
    model = _lineage.model(target) if target else _lineage.target_for([path for path, _ in vectors])
    known = _lineage.model(base) if base else _lineage.base_model(model, needed=bool(config.project))
    template = template or models.gguf_template(model.path)
    control = _control_file(config.control, vectors)
    plan = Plan(kind, vectors, model.path, known.path if known else None, template, out, control)
    if not dry_run and already_done("inject", config, plan.key(), resume, as_json):
        return
    with runs.start(
        "inject",
        config,
        extra=plan.key(),
        resume=resume,
        force=force,
        keep_partial=False,
        name=name,
        allow_stale=allow_stale,
        dry_run=dry_run,
    ) as run:
        run.add_input("target", plan.target)
        run.add_inputs("vector", [path for path, _ in vectors])
        add_input(run, base)
        if plan.control:
            run.add_input("control", plan.control)
        destination = run.external(plan.output_name, out, folder=out.suffix != ".gguf") if out else run.dir / kind
        if dry_run:
            show_plan(plan.shown(), config, sources, as_json)
            return
        remove(destination)  # what a killed run, now resumed, had written
        warnings = (_export if kind == "adapter" else _inject)(plan, destination, config, run)
        if destination.is_dir():
            cards.write_card(destination, run, plan.target, kind)
        if not out:
            run.add_output(kind, destination)
    for warning in [*told_twice(plan.vectors, plan.target), *warnings]:
        output.warn(warning)
    show_run(runs.read(run.final), as_json)


@dataclass(frozen=True)
class Plan:
    """What goes where: kind of result, (skill, λ) pairs, target, its base if it is needed, GGUF template, output."""

    kind: str
    vectors: list[tuple[Path, float]]
    target: Path
    base: Path | None
    template: Path | None
    out: Path | None
    control: Path | None = None

    def key(self) -> dict[str, Any]:
        """What besides the settings tells this injection from another."""
        vectors = [[str(path.resolve()), factor] for path, factor in self.vectors]
        paths = {"target": self.target, "base": self.base, "template": self.template, "out": self.out}
        paths |= {"control": self.control} if self.control else {}
        return {"as": self.kind, "vectors": vectors, **{k: str(v.absolute()) if v else "" for k, v in paths.items()}}

    def shown(self) -> dict[str, Any]:
        """What a dry run shows; the model and the skills are opened, so that a broken file shows now."""
        from ..vectors.inject import check_fit

        check_fit([*(path for path, _ in self.vectors), *filter(None, [self.control])], self.target, self.base)
        size = size_of(self.target)
        room = disk(self.out or runs.workspace(), size if self.kind == "model" else 0)
        return {
            "would_write": str(self.out or f"{self.kind}/ of a new run"),
            "read_bytes": size + sum(size_of(path) for path, _ in self.vectors),
            **room,
            **self.key(),
        }

    @property
    def output_name(self) -> str:
        """The name of the output in the run: what kind of model it is."""
        if self.out and self.out.suffix == ".gguf":
            return "gguf" if self.kind == "model" else "lora_gguf"
        return self.kind


def parse_vector(text: str) -> tuple[Path, float]:
    """`FILE`, or `FILE:λ`; a file that exists under the whole text wins."""
    path, colon, factor = text.rpartition(":")
    if not colon or Path(text).exists():
        return _lineage.skill(text), 1.0
    try:
        return _lineage.skill(path), finite(factor)
    except ValueError:
        raise UsageError(f"{text}: {factor!r} is not a number", "write --vector FILE:0.8") from None


def _control_file(control: str, vectors: list[tuple[Path, float]]) -> Path | None:
    """The skill file that `--control` names; None for a control by name."""
    from ..vectors.deltas.controls import CONTROLS

    if control in CONTROLS:
        return None
    try:
        found = _lineage.skill(control)
    except UsageError:
        hint = f"one of: {', '.join(CONTROLS)}, or a skill file"
        raise UsageError(f"--control {control!r} is neither a control nor a skill file", hint) from None
    if hash_path(found) in {hash_path(path) for path, _ in vectors}:
        raise UsageError(f"{found} is the skill itself, and no control for it", "name another skill file")
    return found


def _inject(plan: Plan, out: Path, config: Any, run: runs.Run) -> list[str]:
    """Add to the weights; gives the warnings."""
    from ..vectors.inject import inject_skill

    settings = configs.to_dict(config) | ({"control": str(plan.control)} if plan.control else {})
    with weights_progress("injecting") as progress:
        made = inject_skill(
            plan.vectors, plan.target, out, template=plan.template, base=plan.base, progress=progress, **settings
        )
    survival = made.survival
    run.metrics(survival=survival.cosine, norm_ratio=survival.ratio, norm=survival.norm, changed=made.changed)
    if made.own is not None:
        run.metrics(target_survival=made.own.cosine, target_norm_ratio=made.own.ratio)
    run.metrics(tensors=made.tensors, worst=dict(survival.worst()))
    return made.warnings


def _export(plan: Plan, out: Path, config: Any, run: runs.Run) -> list[str]:
    """Write an adapter; gives the warnings."""
    from ..vectors.export_adapter import export_adapter

    kept = ("scale", "scales", "depth_scale", "min_survival")
    settings = {name: getattr(config, name) for name in kept}
    if config != configs.STAGES["inject"](**settings, seed=config.seed):
        hint = "the other settings need the weights: leave out --as adapter"
        raise UsageError("an adapter takes --scale, --scales, --depth-scale and --vector FILE:λ only", hint)
    final = plan.out or run.final / plan.kind
    made = export_adapter(
        plan.vectors, plan.target, out, template=plan.template, base=plan.base, final=final, **settings
    )
    run.metrics(survival=made.kept, rank=made.rank, changed=made.tensors)
    return made.warnings
