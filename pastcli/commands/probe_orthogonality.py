"""`past probe-orthogonality`: is what RL changed orthogonal to what SFT changed?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as configs
from .. import narration, output, qa, runs, verdict
from ..config import ProbeConfig
from ..errors import UsageError
from . import _estimates as estimates
from . import _lineage
from ._adapter_base import as_typed, standing_in_as
from ._ends import probed_models
from ._options import (
    RL_MODEL,
    SFT_MODEL,
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    close,
    disk,
    finished_before,
    show_plan,
    told,
    with_settings,
)
from ._weights import weights_progress

if TYPE_CHECKING:
    from ..models import ModelRef
    from ..vectors.probe.cosines import Probe

EXAMPLE = "Example: `past probe-orthogonality --base smol --sft runs/sft-1 --rl runs/rl-1 --target-sft runs/sft-2`"


BASE = typer.Option("--base", metavar="PATH", help="The common base (default: what the SFT run started from).")
TARGET = typer.Option(
    "--target-sft", metavar="PATH", help="The target's SFT model (default: the newest other sft run, if any)."
)
SFT2 = typer.Option("--sft2", metavar="PATH", help="Control: a second SFT model of the same base.")
RL2 = typer.Option("--rl2", metavar="PATH", help="Control: a second RL model, grown from --sft2 (or from --sft).")
ACTIVATIONS = typer.Option(
    "--activations",
    metavar="FILE",
    help="Texts or questions (.txt, .jsonl): measure the interference on real inputs too.",
)
FIGURES = typer.Option("--figures/--no-figures", help="Draw PNG figures.")
OUT = typer.Option("-o", "--output", metavar="DIR", help="Where the figures go (default: in the run).")


@with_settings("probe")
@standing_in_as(as_typed)
def command(
    base: Annotated[str | None, BASE] = None,
    sft: Annotated[str | None, SFT_MODEL] = None,
    rl: Annotated[str | None, RL_MODEL] = None,
    target_sft: Annotated[str | None, TARGET] = None,
    sft2: Annotated[str | None, SFT2] = None,
    rl2: Annotated[str | None, RL2] = None,
    *,
    config: ProbeConfig,
    activations: Annotated[Path | None, ACTIVATIONS] = None,
    figures: Annotated[bool, FIGURES] = True,
    out: Annotated[Path | None, OUT] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Measure the angle between what SFT changed and what RL changed, against chance and controls.

    Cosines by tensor, layer, module kind and for the whole model, each beside what random signs give; with
    --subspaces the principal angles, with --activations the interference on real inputs, with --geometry where each
    update lies in the weights.
    """
    texts = _texts(activations) if activations else []
    models = _models(base, sft, rl, target_sft, sft2, rl2)
    paths = {name: ref.path for name, ref in models.items()}
    extra = {name: str(path) for name, path in paths.items()} | {
        "out": str(out.absolute()) if out else "",
        "figures": figures,
        "activations": str(activations or ""),
    }
    done = None if dry_run else finished_before("probe", config, extra, resume)
    if done is not None:
        _show_again(done, as_json)
        return
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    may["keep_partial"] = False
    with runs.start("probe", config, extra=extra, **may) as run:
        for role, path in paths.items():
            run.add_input(role, path)
        trained: list[str] = [name for name in ("sft", "target_sft", "sft2") if name in models]
        known = [name for name in trained if _lineage.began_from(models[name], models["base"])]
        folder = run.external("figures", out, folder=True) if out and figures else run.dir / "figures"
        if dry_run:
            show_plan(_plan(paths, texts, known, config), config, sources, as_json)
            return
        measured, document = _probe(paths, texts, known, config, run)
        if figures:
            _draw(measured, folder)
            if not out:
                run.add_output("figures", folder)
    for warning in measured.warnings:
        output.warn(warning)
    _report(runs.read(run.final), measured, document, as_json)


def _report(record: runs.Record, measured: Probe, document: dict[str, Any], as_json: bool) -> None:
    places, end = record.outputs(), _closing(record, document)
    whole = {"run": record.id, "outputs": places, **document, **told(end)}
    output.emit(whole, as_json, lambda: _show(measured, places))
    close(end, as_json)


def _closing(record: runs.Record, document: dict[str, Any]) -> narration.Closing:
    """The models are named by the runs that made them, or as paths."""
    return verdict.probed(document, *probed_models(record))


def _plan(paths: dict[str, Path], texts: list[str], known: list[str], config: ProbeConfig) -> dict[str, Any]:
    """What would be read; the models are opened and compared, so that what does not fit shows now."""
    from ..vectors.probe.measure import check

    for warning in check(**paths, began_from_base=known, allow_lossy=config.allow_lossy):
        output.warn(warning)
    size = sum(runs.size_of(path) for path in paths.values())
    seconds = estimates.FIXED_SECONDS + size / estimates.READING_BYTES * (100 if config.geometry else 1)
    return {
        "would_read": {name: str(path) for name, path in paths.items()},
        "read_bytes": size,
        "texts": len(texts),
        "seconds_about": round(seconds),
        **disk(runs.workspace(), 10_000_000),
    }


def _show_again(record: runs.Record, as_json: bool) -> None:
    """The report of a probe that was finished before; people get its verdict and where the rest is."""
    document = json.loads((record.path / "probe.json").read_text(encoding="utf-8"))
    places = record.outputs()
    for warning in document.get("warnings", []):
        output.warn(warning)
    end = _closing(record, document)
    whole = {"run": record.id, "outputs": places, **document, **told(end)}
    output.emit(whole, as_json, lambda: output.pairs({"run": record.id, **places}))
    close(end, as_json)


def _probe(
    paths: dict[str, Path], texts: list[str], known: list[str], config: ProbeConfig, run: runs.Run
) -> tuple[Probe, dict[str, Any]]:
    """Measure, and keep the whole report in the run."""
    from ..vectors.probe import report
    from ..vectors.probe.measure import probe

    settings = configs.to_dict(config)
    with weights_progress("probing") as progress:
        measured = probe(
            paths["base"],
            paths["sft"],
            paths["rl"],
            target_sft=paths.get("target_sft"),
            sft2=paths.get("sft2"),
            rl2=paths.get("rl2"),
            texts=texts,
            began_from_base=known,
            progress=progress,
            **settings,
        )
    document = report.to_dict(measured)
    runs.write_json(run.dir / "probe.json", document)
    run.add_output("report", run.dir / "probe.json")
    run.metrics(**{name: value["cosine"] for name, value in document["global"].items() if value})
    return measured, document


def _draw(measured: Probe, folder: Path) -> None:
    from ..vectors.probe.figures import figures

    figures(measured, folder)


def _texts(path: Path) -> list[str]:
    """Lines of a text file, or the texts, prompts or questions (as prompts) of a JSONL file."""
    if not path.is_file():
        raise UsageError(f"no file {path}", "give a .txt or .jsonl file")
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if path.suffix not in (".jsonl", ".ndjson"):
        return lines
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            texts.append(row.get("text") or row.get("prompt") or qa.prompt_for(row["question"]))
        except (ValueError, KeyError, AttributeError):
            raise UsageError(
                f"line {number} of {path} has no text, prompt or question", "one JSON object a line"
            ) from None
    return texts


def _models(
    base: str | None, sft: str | None, rl: str | None, target: str | None, sft2: str | None, rl2: str | None
) -> dict[str, ModelRef]:
    """Every model; what was not named is taken from the workspace."""
    before, after = _lineage.rl_and_sft(sft, rl)
    start = _lineage.model(base) if base else _lineage.base_model(before)
    found = {"base": start, "sft": before, "rl": after}
    if target is None and sft is None:
        other = _lineage.other_sft(before)
        found |= {"target_sft": other} if other else {}
    for name, given, never in (("target_sft", target, "rl"), ("sft2", sft2, "rl"), ("rl2", rl2, "sft")):
        if given:
            found[name] = _lineage.made_by(_lineage.model(given), name.replace("_", "-"), never)
    return found


def _show(measured: Probe, places: dict[str, str]) -> None:
    from ..vectors.probe import report

    title, columns, cells, colour = report.heat_map(measured, "sft_rl")
    output.table(title, columns, cells, style=colour, boxed=False)
    output.table("whole model", report.TABLE, report.table(measured))
    if measured.subspaces:
        from ..vectors.probe import subspaces

        rows = [(name, *values.values()) for name, values in subspaces.summary(measured.subspaces).items()]
        output.table("top singular subspaces, mean over matrices", ("measure", "found", "by chance", "ratio"), rows)
    if measured.interference:
        from ..vectors.probe import interference

        output.table("on real inputs", ("measure", "value"), interference.summary(measured.interference).items())
    if measured.geometry is not None:
        from ..vectors.probe import geometry_report

        output.table("the updates in the weights", *geometry_report.table(measured.geometry))
        output.line(geometry_report.sentence(measured.geometry))
    if "figures" in places:
        output.note(f"figures: {places['figures']}")
