"""Options that several commands share, and options made from config fields (one text for help and docs)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import config as configs
from .. import models, output, runs

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel="Common")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.", rich_help_panel="Common")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.", rich_help_panel="Common")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the same command after it was killed.", rich_help_panel="Common")
]
Name = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Call the run NAME instead of by stage and time.", rich_help_panel="Common"
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="TOML", help="Settings file (default: past.toml here).", rich_help_panel="Common"),
]


def option(stage: str, name: str, *flags: str, **more: Any) -> Any:
    """The Typer option for one field of a stage's config: help text and default are taken from the field.

    Its Python default must be None ("not typed"), so that the environment and past.toml can speak.
    """
    field = next(f for f in dataclasses.fields(configs.STAGES[stage]) if f.name == name)
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
    text = field.metadata["help"] + (f" [default: {shown}]" if shown else "")
    if name == "base":
        more.setdefault("autocompletion", complete_model)
    return typer.Option(*(flags or (f"--{name.replace('_', '-')}",)), help=text, show_default=False, **more)


def typed(stage: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's arguments (`locals()`, taken first) that are settings of its stage."""
    known = {field.name for field in dataclasses.fields(configs.STAGES[stage])}
    return {name: value for name, value in arguments.items() if name in known}


def complete_run(incomplete: str) -> list[str]:
    """Shell completion of run ids."""
    return [record.id for record in runs.records() + runs.records(partial=True) if record.id.startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Shell completion of model names: aliases, and the runs that made a model."""
    made = [
        record.id
        for record in runs.records()
        if any(name in record.manifest.get("outputs", {}) for name in models.MODEL_OUTPUTS)
    ]
    return [name for name in (*models.ALIASES, *made) if name.startswith(incomplete)]


SFT_MODEL = typer.Option(
    "--sft",
    metavar="PATH",
    autocompletion=complete_model,
    help="The SFT model (default: the one the RL run grew from).",
)
RL_MODEL = typer.Option(
    "--rl", metavar="PATH", autocompletion=complete_model, help="The RL model or adapter (default: the newest rl run)."
)
TARGET = typer.Option(
    "--target",
    metavar="PATH",
    autocompletion=complete_model,
    help="The model that gets the skill (default: the newest sft run other than the skill's own).",
)


def already_done(stage: str, config: Any, extra: Mapping[str, Any], resume: bool, as_json: bool) -> bool:
    """With `--resume`: if exactly this work was finished before, say so and print its result."""
    record = finished_before(stage, config, extra, resume)
    if record is not None:
        show_run(record, as_json)
    return record is not None


def finished_before(stage: str, config: Any, extra: Mapping[str, Any], resume: bool) -> runs.Record | None:
    """With `--resume`: the run that did exactly this work before, if any; says so."""
    record = runs.finished(stage, config, extra) if resume else None
    if record is not None:
        output.note(f"already finished: {record.id}; nothing to resume")
    return record


def show_run(record: runs.Record, as_json: bool) -> None:
    """The result of a stage: where the run is, what it made, what it measured."""
    outputs = record.outputs()
    document = {
        "run": record.id,
        "path": str(record.path),
        "outputs": outputs,
        "metrics": record.manifest["metrics"],
        "seconds": record.manifest["seconds"],
    }

    def human() -> None:
        flat = {"run": record.id, **outputs, **record.manifest["metrics"], "seconds": record.manifest["seconds"]}
        output.pairs({key: value for key, value in flat.items() if not isinstance(value, (dict, list))})

    output.emit(document, as_json, human)
