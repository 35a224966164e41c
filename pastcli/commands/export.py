"""`past export`: any model here in the form that another program runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import cards, models, output, runs
from ..config import ExportConfig
from ..errors import UsageError
from ..files import remove, size_of
from . import _lineage
from ._adapter_base import add_input, as_typed, standing_in_as
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    already_done,
    complete_model,
    disk,
    show_plan,
    show_run,
    with_settings,
)
from ._weights import refuse_not_finite, weights_progress

EXAMPLE = "Example: `past export --model @inject --to gguf --dtype q8_0 -o model.gguf`"

MODEL = typer.Option("--model", metavar="NAME", autocompletion=complete_model, help="The model (default: the newest).")
OUT = typer.Option("-o", "--output", metavar="OUT", help="Where to (default: in the run).")
BASE = typer.Option("--base", metavar="NAME", help="The model's base, to measure a cast (default: from its run).")
TEMPLATE = typer.Option(
    "--template",
    metavar="GGUF",
    help="GGUF of the same base, for tokenizer and metadata (default: known from the model).",
)

MODELFILE = """# Ollama: ollama create {name} -f Modelfile
FROM ./{gguf}
PARAMETER temperature 0
"""


@with_settings("export")
@standing_in_as(as_typed)
def command(
    model: Annotated[str | None, MODEL] = None,
    out: Annotated[Path | None, OUT] = None,
    *,
    config: ExportConfig,
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
    """Write a model as a Hugging Face directory, a GGUF for llama.cpp, or a folder for Ollama (GGUF and Modelfile).

    Adapters are merged. What a cast to fewer bits leaves of the model's training is measured and said. See docs/SERVING.md.
    """
    found = _lineage.model(model) if model else _lineage.newest_model()
    known = _lineage.model(base) if base else _lineage.base_model(found, needed=False) or _lineage.origin(found)
    template = template or models.gguf_template(found.path)
    if config.to != "hf" and template is None and found.path.suffix != ".gguf":
        raise UsageError(f"no GGUF of the base model of {found.path} is known", "name one with --template")
    paths = {"model": found.path, "base": known.path if known else None, "template": template, "out": out}
    extra = {key: str(path.absolute()) if path else "" for key, path in paths.items()}
    if not dry_run and already_done("export", config, extra, resume, as_json):
        return
    with runs.start(
        "export",
        config,
        extra=extra,
        resume=resume,
        force=force,
        keep_partial=False,
        name=name,
        allow_stale=allow_stale,
        dry_run=dry_run,
    ) as run:
        run.add_input("model", found.path, model=found.name)
        add_input(run, base)
        kind, inside, folder = _form(config.to)
        destination = run.external(kind, out, folder=folder) if out else run.dir / inside
        refuse_not_finite(found.path, known.path if known else None)
        if dry_run:
            room = disk(out or runs.workspace(), size_of(found.path))
            show_plan({"would_write": str(out or f"{inside} of a new run"), **room, **extra}, config, sources, as_json)
            return
        remove(destination)  # what a killed run, now resumed, had written
        warnings = _export(run, found.path, destination, config, template, known.path if known else None)
        if not out:
            run.add_output(kind, destination)
    for warning in warnings:
        output.warn(warning)
    show_run(runs.read(run.final), as_json)


def _form(to: str) -> tuple[str, str, bool]:
    """(output's name in the run, its place there, whether it is a folder)."""
    return {
        "hf": ("model", "model", True),
        "gguf": ("gguf", "model.gguf", False),
        "ollama": ("ollama", "ollama", True),
    }[to]


def _export(
    run: runs.Run, source: Path, out: Path, config: ExportConfig, template: Path | None, base: Path | None
) -> list[str]:
    """Write the form asked for; gives the warnings."""
    from ..vectors.export_model import export_model

    target = out
    if config.to == "ollama":
        out.mkdir()
        target = out / "model.gguf"
        (out / "Modelfile").write_text(MODELFILE.format(name=run.id, gguf=target.name), encoding="utf-8")
    with weights_progress("exporting") as progress:
        made = export_model(
            source,
            target,
            dtype=config.dtype,
            template=template,
            base=base,
            min_survival=config.min_survival,
            progress=progress,
        )
    run.metrics(tensors=made.tensors, survival_training=made.own.cosine if made.own else None, bytes=size_of(out))
    if config.to == "hf":
        cards.write_card(out, run, source, "model")
    return made.warnings
