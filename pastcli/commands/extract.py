"""`past extract`: the skill vector out of an RL run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import models, output, runs
from ..config import ExtractConfig
from ..errors import PastError, UsageError
from ..files import remove, size_of
from . import _adapter_base, _lineage
from ._adapter_base import AdapterBase, as_typed, standing_in_as
from ._options import (
    RL_MODEL,
    SFT_MODEL,
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
from ._weights import weights_progress

if TYPE_CHECKING:
    from ..vectors.extract import Extracted

EXAMPLE = "Example: `past extract --sft runs/sft-1 --rl runs/rl-1 -o skill.safetensors`"

OUT = typer.Option("-o", "--output", metavar="FILE", help="The skill file (default: in the run).")


@with_settings("extract")
@standing_in_as(as_typed)
def command(
    sft: Annotated[str | None, SFT_MODEL] = None,
    rl: Annotated[str | None, RL_MODEL] = None,
    out: Annotated[Path | None, OUT] = None,
    *,
    config: ExtractConfig,
    base: AdapterBase = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Lift the skill vector out of an RL run: v = RL - SFT.

    Exact in float32. An RL adapter trained on the SFT model gives its low-rank factors as they are; two full models
    give a dense difference, which --rank, --energy or --density compress, with the captured energy shown.
    """
    if config.density and (config.rank or config.energy):
        raise UsageError("--density makes a sparse skill, --rank and --energy a low-rank one", "choose one form")
    before, after = _lineage.rl_and_sft(sft, rl)
    if before.path.resolve() == after.path.resolve():
        raise PastError(
            f"{sft or before.path} and {rl or after.path} are one model: there is no skill to extract",
            "name the SFT model and the RL model",
        )
    extra = {
        "sft": str(before.path),
        "rl": str(after.path),
        "out": str(out.absolute()) if out else "",
        **_adapter_base.listed(base),
    }
    if not dry_run and already_done("extract", config, extra, resume, as_json):
        return
    may = runs.Options(
        resume=resume, force=force, keep_partial=False, name=name, allow_stale=allow_stale, dry_run=dry_run
    )
    with runs.start("extract", config, extra=extra, **may) as run:
        run.add_input("sft", before.path)
        run.add_input("rl", after.path)
        _adapter_base.add_input(run, base)
        destination = run.external("skill", out) if out else run.dir / "skill.safetensors"
        if dry_run:
            show_plan(_plan(before.path, after.path, out, config, extra), config, sources, as_json)
            return
        remove(destination)  # what a killed run, now resumed, had written
        made = _extract(before, after, destination, config, run)
        if not out:
            run.add_output("skill", destination)
        run.metrics(
            form=made.form, norm=made.norm, tensors=made.tensors, parameters=made.parameters, energy=made.energy
        )
        for warning in made.warnings:
            output.warn(warning)
    show_run(runs.read(run.final), as_json)


def _plan(before: Path, after: Path, out: Path | None, config: ExtractConfig, extra: dict[str, Any]) -> dict[str, Any]:
    """What would be read and written; the models are opened and compared, so that what does not fit shows now."""
    from ..vectors.extract import check_pair

    check_pair(before, after, allow_lossy=config.allow_lossy, assume_parent=config.assume_parent)
    size = size_of(before) + size_of(after)
    room = disk(out or runs.workspace(), size_of(after))
    return {"would_write": str(out or "skill.safetensors of a new run"), "read_bytes": size, **room, **extra}


def _extract(before: models.ModelRef, after: models.ModelRef, out: Path, config: Any, run: runs.Run) -> Extracted:
    from ..vectors.extract import extract_skill

    owner = runs.owner_of(after.path)
    about = owner.manifest if owner else {}
    training = {name: about[name] for name in ("stage", "id", "config", "metrics") if name in about}
    with weights_progress("extracting") as progress:
        return extract_skill(
            before.path,
            after.path,
            out,
            rank=config.rank,
            energy=config.energy,
            density=config.density,
            allow_lossy=config.allow_lossy,
            assume_parent=config.assume_parent,
            seed=config.seed,
            parents=run.parents(),
            training=training,
            progress=progress,
        )
