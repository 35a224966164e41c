"""Options that several commands share, and options made from config fields (one text for help and docs)."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import config as configs
from .. import lookups, models, narration, output, runs, sources
from ..diskspace import require
from ..environment import from_here, undry_command
from ._behind import behind

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def is_finite(value: float | None) -> float | None:
    """Callback of an option that is a number: "nan" and "inf" are none, for every comparison with them goes one way."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("it must be a finite number")
    return value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel="Common")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.", rich_help_panel="Common")]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.", rich_help_panel="Common")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the same command after it was killed.", rich_help_panel="Common")
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail on the first file, row or question that cannot be used, instead of skipping it.",
        rich_help_panel="Common",
    ),
]
AllowStale = Annotated[
    bool,
    typer.Option(
        "--allow-stale",
        help="Take models and files that have changed since the runs behind them; recorded.",
        rich_help_panel="Common",
    ),
]
Name = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Call the run NAME instead of by stage and time.", rich_help_panel="Common"
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="TOML",
        help="Settings file (default: past.toml of the workspace or above).",
        rich_help_panel="Common",
    ),
]


def option(stage: str, name: str, *flags: str, **more: Any) -> Any:
    """The Typer option for one field of a stage's config: help text, choices and default are taken from the field.

    Its Python default must be None ("not typed"), so that the environment and past.toml can speak.
    """
    one = next(field for field in dataclasses.fields(configs.STAGES[stage]) if field.name == name)
    default = configs.default_of(one)
    shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
    text = one.metadata["help"] + (f" [default: {shown}]" if shown else "")
    if name == "base":
        more.setdefault("autocompletion", complete_model)
    if choices := one.metadata["choices"]:
        more.setdefault("metavar", "|".join(filter(None, choices)))
        more.setdefault("autocompletion", lambda incomplete: [c for c in choices if c.startswith(incomplete)])
    flag = name.replace("_", "-")
    usual = f"--{flag}/--no-{flag}" if default is True else f"--{flag}"
    return typer.Option(*(flags or (usual,)), help=text, show_default=False, **more)


def with_settings(stage: str, also: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every setting of `stage`, and `--config`; it gets them resolved, as `config`.

    The options stand where the command has its `config` parameter. The settings of a second stage, `also`, stand where it has
    a parameter of that name, and are given to it there; no two may have one name. If it also takes `config_file` or `sources` (where
    each value came from, see `configs.Resolved`), it gets these as well.
    """
    places = {"config": stage} | ({also: also} if also else {})
    by_place = {place: _options_of(which) for place, which in places.items()}
    options = {name: made for found in by_place.values() for name, made in found.items()}
    assert len(options) == sum(map(len, by_place.values())), f"{stage} and {also} have a setting of one name"

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function).parameters
        types = typing.get_type_hints(function, include_extras=True)
        taken = options.keys() & own.keys()
        assert not taken, f"{function.__module__}: {taken} are settings of {stage} and come by themselves"
        shown: dict[str, Any] = {}
        for name in own:
            if name in by_place:
                shown.update(
                    {
                        field: inspect.Parameter(field, KEYWORD, default=None, annotation=made)
                        for field, made in by_place[name].items()
                    }
                )
            elif name not in ("config_file", "sources"):
                shown[name] = own[name].replace(kind=KEYWORD, annotation=types[name])
        shown["config_file"] = inspect.Parameter("config_file", KEYWORD, default=None, annotation=ConfigFile)

        @functools.wraps(function)
        def command(**given: Any) -> None:
            file = given.pop("config_file")
            typed = {name: given.pop(name) for name in options}
            resolved = configs.resolve_with_sources(stage, typed, file)
            extra = {"config": resolved.config, "sources": resolved.sources, "config_file": file}
            if also:
                extra[also] = configs.resolve(also, typed, file)
            function(**given, **{name: value for name, value in extra.items() if name in own})

        command.__signature__ = inspect.Signature(list(shown.values()))  # type: ignore[attr-defined]  # PEP 362's own
        command.__annotations__ = {name: parameter.annotation for name, parameter in shown.items()}
        return command

    return decorate


def _options_of(stage: str) -> dict[str, Any]:
    """name -> annotation of the option, of every setting of a stage."""
    hints = typing.get_type_hints(configs.STAGES[stage])
    return {
        one.name: Annotated[(list[str] if hints[one.name] is list else hints[one.name]) | None, option(stage, one.name)]
        for one in dataclasses.fields(configs.STAGES[stage])
    }


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


def already_done(
    stage: str,
    config: Any,
    extra: Mapping[str, Any],
    resume: bool,
    as_json: bool,
    also: Mapping[str, Any] | None = None,
) -> bool:
    """With `--resume`: if exactly this work was finished before, say so and print its result."""
    record = finished_before(stage, config, extra, resume, also)
    if record is not None:
        show_run(record, as_json)
    return record is not None


def finished_before(
    stage: str, config: Any, extra: Mapping[str, Any], resume: bool, also: Mapping[str, Any] | None = None
) -> runs.Record | None:
    """With `--resume`: the run that did exactly this work before, if any; says so."""
    record = runs.finished(stage, config, extra, also) if resume else None
    if record is not None:
        output.note(f"already finished: {record.id}; nothing to resume")
        if not sources.is_ours(record.manifest):
            output.warn(f"another state of past's code made {record.id}", "without --resume it is made again")
    return record


def show_run(record: runs.Record, as_json: bool) -> None:
    """The result of a stage: where the run is, what it made and measured; last, what that comes to and what is next.

    Hashes stay in the manifest, for `past runs show`.
    """
    outputs, metrics = record.outputs(), record.manifest["metrics"]
    document = {
        "run": record.id,
        "path": str(record.path),
        "outputs": outputs,
        "metrics": metrics,
        "seconds": record.manifest["seconds"],
    }
    end = end_of_stage(record)

    def human() -> None:
        flat = {"run": record.id, **outputs, **metrics, "seconds": record.manifest["seconds"]}
        shown = {k: v for k, v in flat.items() if not isinstance(v, (dict, list)) and not k.endswith("_hash")}
        output.pairs(shown)

    output.emit(document | told(end), as_json, human)
    close(end, as_json)


def show_plan(
    plan: Mapping[str, Any],
    config: Any,
    sources: Mapping[str, str] | None,
    as_json: bool,
    view: Callable[[], None] | None = None,
) -> None:
    """What a dry run shows: the plan (people see `view` instead, if there is one), then every setting with its value and
    where that came from."""
    settings = {
        name: {"value": value, "from": (sources or {}).get(name, "default")}
        for name, value in configs.to_dict(config).items()
    }

    def human() -> None:
        view() if view else output.pairs(plan)
        rows = [
            (name, " ".join(map(str, v)) if isinstance(v := one["value"], list) else v, one["from"])
            for name, one in settings.items()
        ]
        output.table("", ("setting", "value", "from"), rows)

    end = lookups.dry(undry_command())
    output.emit({**plan, "settings": settings, **told(end)}, as_json, human)
    close(end, as_json)


def disk(place: Path, needed: int) -> dict[str, int]:
    """The bytes that a plan will write at `place`, and what is free there now; raises `FullDisk` if that is less."""
    hint = "free some space, or write elsewhere: -o OUT, or -C WORKSPACE"
    free = require(place, needed, f"{needed / 1e9:.2f} GB are needed", hint)
    return {"disk_needed_bytes": needed, "disk_free_bytes": free}


def told(end: narration.Closing | None) -> dict[str, str]:
    """The judgement and the next command as a document has them: the command to be typed where this one was."""
    return {"judgement": end.judgement, "next": from_here(end.next)} if end else {}


def close(end: narration.Closing | None, as_json: bool) -> None:
    """The judgement and the `next:` line, on stderr; with --json they stand in the document instead."""
    if end is None or as_json:
        return
    output.line(end.judgement, stderr=True)
    if end.next:
        output.line(from_here(end.next), "bold", label="next: ", stderr=True)


def end_of_stage(record: runs.Record) -> narration.Closing | None:
    """The closing words of a run whose stage tells them by its manifest alone."""
    return narration.closing(record.manifest, has_skill=_skill_elsewhere(record), behind=behind(record))


def _skill_elsewhere(record: runs.Record) -> bool:
    """Whether the workspace has a skill that was not made from `record`."""
    makers = [other for other in runs.records() if other.stage in ("extract", "distill")]
    return any(record.id not in other.parents for other in makers)
