"""Where a value comes from: flag > environment > past.toml > default.

`past.toml` has one table per stage (`[sft]`, `[rl]`, ...) and is looked for in the workspace, then in the folders above
it; the environment variable of a setting is `PAST_<STAGE>_<NAME>`. What a run used is written beside its output as
`config.toml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, reason
from ..regular import regular
from .setting import checked, default_of
from .stages import STAGES
from .training import preset

OTHER_VARIABLES = ("PAST_WORKSPACE", "PAST_HOME", "PAST_DEBUG", "PAST_CACHE")
"""Variables of `past` that are no stage's setting."""

OTHER_PREFIXES = ("PAST_OPENAI_",)
"""Variables that a backend reads by itself."""

OFF: tuple[object, ...] = (None, False, 0, "", [])


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A stage's config, and for each setting where its value came from (a flag, a variable, a file, `default`)."""

    config: Any
    sources: dict[str, str]


def resolve(stage: str, flags: Mapping[str, Any], file: Path | None = None) -> Any:
    """The stage's config with every value resolved; `flags` holds None (or []) for what the user did not type.

    `file` defaults to the past.toml of the workspace or of the nearest folder above it, if there is one. Raises
    `UsageError` for an unknown key (naming the nearest), a wrong type, a value out of bounds or an unreadable file.
    """
    return resolve_with_sources(stage, flags, file).config


def resolve_with_sources(stage: str, flags: Mapping[str, Any], file: Path | None = None) -> Resolved:
    """As `resolve`, with where each value came from."""
    cls = STAGES[stage]
    path = file or find_file()
    table = load_file(path).get(stage, {}) if path else {}
    check_environment(stage)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for one in dataclasses.fields(cls):
        name, variable = one.name, f"PAST_{stage}_{one.name}".upper()
        flag, option = flags.get(name), f"--{name.replace('_', '-')}"
        if flag is not None and flag != []:
            values[name], sources[name] = checked(flag, one, hints[name], option), option
        elif variable in os.environ:
            values[name], sources[name] = checked(os.environ[variable], one, hints[name], variable), variable
        elif name in table:
            where = f"{name} in [{stage}] of {path}"
            values[name], sources[name] = checked(table[name], one, hints[name], where), str(path)
        else:
            sources[name] = "default"
    brought = {name: value for name, value in preset(stage, values).items() if name not in values}
    return Resolved(cls(**brought, **values), {**sources, **dict.fromkeys(brought, f"phase {values.get('phase')}")})


def validated(config: Any) -> Any:
    """`config` itself, made by other means than `resolve`; raises `UsageError` for a value that it may not hold."""
    hints = typing.get_type_hints(type(config))
    for one in dataclasses.fields(config):
        checked(getattr(config, one.name), one, hints[one.name], f"--{one.name.replace('_', '-')}")
    return config


def from_table(stage: str, table: Mapping[str, Any], where: str) -> Any:
    """The stage's config from one TOML table alone: no flag, no variable, no past.toml has a say (`past study`).

    Raises `UsageError` for an unknown key, a wrong type or a value out of bounds.
    """
    hints = typing.get_type_hints(STAGES[stage])
    fields = {one.name: one for one in dataclasses.fields(STAGES[stage])}
    for key in table:
        if key not in fields:
            raise UsageError(f"unknown setting {key} in {where}", nearest(key, fields))
    values = {key: checked(value, fields[key], hints[key], f"{key} in {where}") for key, value in table.items()}
    return STAGES[stage](**{**preset(stage, values), **values})


def find_file() -> Path | None:
    """The past.toml of the workspace or of the nearest folder above it; None if there is none."""
    start = Path(os.environ.get("PAST_WORKSPACE") or ".")
    if os.path.lexists(start / "past.toml"):
        return start / "past.toml"
    for folder in start.absolute().parents:
        if (folder / "past.toml").is_file():
            return folder / "past.toml"
    return None


def load_file(path: Path) -> dict[str, dict[str, Any]]:
    """Read and check a past.toml."""
    import tomli

    if not path.exists():
        if path.is_symlink():
            raise UsageError(f"{path} is a link that leads nowhere", "mend it or remove it: no setting was read")
        raise UsageError(f"no configuration file {path}", "check the path after --config")
    try:
        tables = tomli.loads(regular(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}", "expected TOML in UTF-8") from error
    for stage, table in tables.items():
        if stage not in STAGES:
            raise UsageError(f"unknown table [{stage}] in {path}", nearest(stage, STAGES))
        if not isinstance(table, dict):
            raise UsageError(f"{stage} in {path} must be a table", f"write [{stage}] on a line of its own")
        known = [one.name for one in dataclasses.fields(STAGES[stage])]
        for key in table:
            if key not in known:
                raise UsageError(f"unknown setting {key} in [{stage}] of {path}", nearest(key, known))
    return tables


def check_environment(stage: str) -> None:
    """A misspelt variable would otherwise have no effect, and say nothing: a setting that `stage` has not, or a stage
    that does not exist (PAST_STF_EPOCHS). Raises `UsageError` with the nearest name.
    """
    known = {f"PAST_{one}_{field.name}".upper() for one, cls in STAGES.items() for field in dataclasses.fields(cls)}
    own, prefix = [field.name for field in dataclasses.fields(STAGES[stage])], f"PAST_{stage}_".upper()
    for variable in os.environ:
        if (
            not variable.startswith("PAST_")
            or variable in known
            or variable in OTHER_VARIABLES
            or variable.startswith(OTHER_PREFIXES)
        ):
            continue
        message, spelt = f"unknown setting in the environment: {variable}", variable.upper()
        if spelt.startswith(prefix):
            raise UsageError(message, nearest(spelt.removeprefix(prefix).lower(), own))
        of_a_stage = spelt.split("_")[1].lower() in STAGES
        close = difflib.get_close_matches(spelt, [*known, *OTHER_VARIABLES], n=1, cutoff=0.8)
        if close and not of_a_stage:  # else another stage's affair, or a variable that only begins like ours
            raise UsageError(message, f"did you mean {close[0]}?")


def to_dict(config: Any) -> dict[str, Any]:
    return dataclasses.asdict(config)


def decisive(config: Any) -> dict[str, Any]:
    """The settings that decide a result, to name it by: without those that only watch or save, and without those that are
    off and off by default, so that a setting added later, off, leaves the names of earlier results as they were.

    A default that is not off stays in the name: when it changes, so does the name, but for one that says what it is `named`.
    (One that decides nothing is in it as `named`, whatever its value, where names of earlier results have it.)
    """
    fields = {one.name: one for one in dataclasses.fields(config)}
    deciding = [name for name, one in fields.items() if one.metadata.get("decides", True)]
    values = ((name, getattr(config, name), default_of(fields[name])) for name in deciding)
    found = {name: value for name, value, default in values if value != default or value not in OFF}
    named = {name: one.metadata.get("named") for name, one in fields.items() if name not in found}
    return {**found, **{name: value for name, value in named.items() if value is not None}}


def to_toml(stage: str, config: Any) -> str:
    """The resolved config as a past.toml table, so that a run can be repeated from its own file."""
    import tomli_w

    # TOML has no null: a setting that is None is left out, and means the same when read back.
    return tomli_w.dumps({stage: {name: value for name, value in to_dict(config).items() if value is not None}})


def digest(value: Any) -> str:
    """sha256 over canonical JSON: the same settings give the same text everywhere."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """A hint for a name that is not known: the one that was meant, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
