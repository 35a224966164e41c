"""`past extract`: the skill vector out of an RL run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as configs, models, output, runs
from ..errors import UsageError
from . import _lineage
from ._options import ConfigFile, DryRun, Force, Json, Resume, already_done, complete_model, option, show_run

if TYPE_CHECKING:
    from ..vectors.extract import Extracted

EXAMPLE = "Example: `past extract --sft runs/sft-1 --rl runs/rl-1 -o skill.safetensors`"


def command(
    sft: Annotated[str | None, typer.Option("--sft", metavar="PATH", help="The SFT model (default: the one the RL run grew from).", autocompletion=complete_model)] = None,
    rl: Annotated[str | None, typer.Option("--rl", metavar="PATH", help="The RL model or adapter (default: the newest rl run).", autocompletion=complete_model)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="The skill file (default: in the run).")] = None,
    rank: Annotated[int | None, option("extract", "rank", min=0)] = None,
    energy: Annotated[float | None, option("extract", "energy", min=0.0, max=1.0)] = None,
    density: Annotated[float | None, option("extract", "density", min=0.0, max=1.0)] = None,
    allow_lossy: Annotated[bool | None, option("extract", "allow_lossy", "--allow-lossy")] = None,
    seed: Annotated[int | None, option("extract", "seed")] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    config_file: ConfigFile = None,
) -> None:
    """Lift the skill vector out of an RL run: v = RL - SFT.

    Exact in float32. An RL adapter trained on the SFT model gives its low-rank factors as they are; two full models
    give a dense difference, which --rank, --energy or --density compress, with the captured energy shown.
    """
    flags = {"rank": rank, "energy": energy, "density": density, "allow_lossy": allow_lossy, "seed": seed}
    config = configs.resolve("extract", flags, config_file)
    if sum(map(bool, (config.rank or config.energy, config.density))) > 1:
        raise UsageError("--density makes a sparse skill, --rank and --energy a low-rank one", "choose one form")
    before, after = _lineage.rl_and_sft(sft, rl)
    extra = {"sft": str(before.path), "rl": str(after.path), "out": str(out.absolute()) if out else ""}
    if dry_run:
        size = sum(path.stat().st_size for path in (before.path, after.path) if path.is_file())
        size += sum(runs.size_of(path) for path in (before.path, after.path) if path.is_dir())
        output.emit({"would_write": str(out or "skill.safetensors of a new run"), "read_bytes": size, **extra}, as_json)
        return
    if already_done("extract", config, extra, resume, as_json):
        return
    with runs.start("extract", config, extra=extra, resume=resume, force=force, keep_partial=False) as run:
        run.add_input("sft", before.path)
        run.add_input("rl", after.path)
        destination = run.external("skill", out) if out else run.dir / "skill.safetensors"
        made = _extract(before, after, destination, config, run)
        if not out:
            run.add_output("skill", destination)
        run.metrics(form=made.form, norm=made.norm, tensors=made.tensors, parameters=made.parameters, energy=made.energy)
        for warning in made.warnings:
            output.warn(warning)
    show_run(runs.read(run.final), as_json)


def _extract(before: models.ModelRef, after: models.ModelRef, out: Path, config: Any, run: runs.Run) -> Extracted:
    from ..vectors.extract import extract_skill

    owner = runs.owner_of(after.path)
    training = {"stage": owner.stage, "run": owner.id, "config": owner.manifest["config"], "metrics": owner.manifest["metrics"]} if owner else {}
    with output.progress("extracting", "weights") as progress:
        return extract_skill(
            before.path, after.path, out, rank=config.rank, energy=config.energy, density=config.density,
            allow_lossy=config.allow_lossy, seed=config.seed, parents=run.manifest["inputs"], training=training, progress=progress,
        )  # fmt: skip
