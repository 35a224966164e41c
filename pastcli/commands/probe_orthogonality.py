"""`past probe-orthogonality`: is what RL changed orthogonal to what SFT changed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import config as configs, models, output, runs
from . import _lineage
from ._options import ConfigFile, DryRun, Force, Json, Resume, complete_model, option

EXAMPLE = "Example: `past probe-orthogonality --base smol --sft runs/sft-1 --rl runs/rl-1 --target-sft runs/sft-2`"

Model = Annotated[str | None, typer.Option(metavar="PATH", autocompletion=complete_model)]


def command(
    base: Annotated[str | None, typer.Option("--base", metavar="PATH", help="The common base (default: what the SFT run started from).")] = None,
    sft: Annotated[str | None, typer.Option("--sft", metavar="PATH", help="The SFT model (default: the one the RL run grew from).")] = None,
    rl: Annotated[str | None, typer.Option("--rl", metavar="PATH", help="The RL model or adapter (default: the newest rl run).")] = None,
    target_sft: Annotated[str | None, typer.Option("--target-sft", metavar="PATH", help="The target's SFT model (default: the newest other sft run, if any).")] = None,
    sft2: Annotated[str | None, typer.Option("--sft2", metavar="PATH", help="Control: a second SFT model of the same base.")] = None,
    rl2: Annotated[str | None, typer.Option("--rl2", metavar="PATH", help="Control: a second RL model, grown from --sft2 (or from --sft).")] = None,
    figures: Annotated[Path | None, typer.Option("--figures", metavar="DIR", help="Where the PNG figures go (default: in the run).")] = None,
    seed: Annotated[int | None, option("probe", "seed")] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    config_file: ConfigFile = None,
) -> None:
    """Measure the angle between what SFT changed and what RL changed, against chance and controls.

    Cosines by tensor, layer, module kind and for the whole model, each with its distance from chance.
    """
    config = configs.resolve("probe", {"seed": seed}, config_file)
    paths = _paths(base, sft, rl, target_sft, sft2, rl2)
    extra = {name: str(path) for name, path in paths.items()} | {"figures": str(figures.absolute()) if figures else ""}
    if dry_run:
        output.emit({"would_read": {name: str(path) for name, path in paths.items()}}, as_json)
        return
    with runs.start("probe", config, extra=extra, resume=resume, force=force, keep_partial=False) as run:
        for name, path in paths.items():
            run.add_input(name, path)
        document, show = _probe(paths, config, run, figures)
        runs.write_json(run.dir / "probe.json", document)
        run.add_output("report", run.dir / "probe.json")
        run.metrics(**{name: value["cosine"] for name, value in document["global"].items() if value})
    record = runs.read(run.final)
    places = {name: str(record.output(name)) for name in record.manifest["outputs"]}
    output.emit({"run": record.id, "outputs": places, **document}, as_json, lambda: show(places))


def _paths(base: str | None, sft: str | None, rl: str | None, target: str | None, sft2: str | None, rl2: str | None) -> dict[str, Path]:
    """Every model as a path; what was not named is taken from the workspace."""
    before, after = _lineage.rl_and_sft(sft, rl)
    start = _lineage.model(base) if base else _lineage.base_of(before)
    found = {"base": start, "sft": before, "rl": after}
    if target is None and sft is None:
        other = _lineage.other_sft(before)
        found |= {"target_sft": other} if other else {}
    for name, given in (("target_sft", target), ("sft2", sft2), ("rl2", rl2)):
        if given:
            found[name] = _lineage.model(given)
    return {name: ref.path for name, ref in found.items()}


def _probe(paths: dict[str, Path], config: Any, run: runs.Run, figures: Path | None) -> tuple[dict[str, Any], Any]:
    """Measure, write the figures, and give the report with the function that shows it."""
    from ..vectors import probe_report
    from ..vectors.probe import close, probe

    with output.progress("probing", "weights") as progress:
        measured, changes = probe(**paths, seed=config.seed, progress=progress)
    close(changes)
    folder = run.external("figures", figures) if figures else run.dir / "figures"
    probe_report.figures(measured, folder)
    if not figures:
        run.add_output("figures", folder)

    def show(places: dict[str, str]) -> None:
        output.stdout().print(probe_report.heat_map(measured, "sft_rl"))
        output.table("whole model", ("changes", "cosine", "z", "chance", "mean over layers", "standard error"), probe_report.table(measured))
        output.stdout().print(probe_report.verdict(measured))
        output.note(f"figures: {places['figures']}")

    return probe_report.to_dict(measured), show
