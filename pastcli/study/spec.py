"""The study file: what it may say, and its checks. Everything here is read and refused before anything runs."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .. import config as configs
from ..config.setting import checked, finite
from ..config.study import STAGE_TABLES, TOP, Arm, Part, Phase, Vector
from ..config.study_tools import Arm as ToolsArm
from ..errors import UsageError, reason
from ..files import exists
from ..regular import regular

SFT_LIKE = ("imitation", "format")
"""Tables whose stage is SFT."""


class Staged:
    """A study file of any kind: what its tables make of the stages' settings."""

    tables: Mapping[str, Mapping[str, Any]]
    base: str
    folder: Path

    @property
    def base_model(self) -> str:
        """The base as `models.resolve` takes it: a path that is there counts from the study file's folder, as documents do."""
        beside = self.folder / self.base
        return str(beside) if exists(beside) else self.base

    def stage(self, name: str, *changes: Mapping[str, Any] | None, seed: int | None = None) -> Any:
        """The config of a stage: default, then the file's table, then changes. [imitation] and [format] are SFT."""
        values: dict[str, Any] = dict(self.tables.get(name, {}))
        for change in changes:
            values.update(change or {})
        if seed is not None:
            values["seed"] = seed
        return configs.from_table("sft" if name in SFT_LIKE else name, values, f"[{name}]")


@dataclass(frozen=True)
class Study(Staged):
    """The whole file. `tables` holds [ingest], [sft], [rl], [inject], [eval], [imitation] and [format] as written."""

    title: str
    base: str
    seeds: tuple[int, ...]
    reference: str
    source: Part
    target: Part
    targets: Mapping[str, Part]
    phases: Mapping[str, Phase]
    arms: Mapping[str, Arm]
    vectors: Mapping[str, Vector]
    tables: Mapping[str, Mapping[str, Any]]
    folder: Path


DEFAULTS = {
    "imitation": {"mix": ["none"], "epochs": 6.0, "lr": 1e-4},
    "format": {"mix": ["none"], "epochs": 2.0, "lr": 1e-4},
}


def default_arms() -> str:
    """The arms and vectors of a study that declares none, as TOML to be copied and changed."""
    return (resources.files(__package__) / "arms.toml").read_text(encoding="utf-8")


def load(path: Path) -> Study:
    """Read and check a study file; raises `UsageError` that names the key and the nearest known one."""
    raw = read_toml(path)
    known = [*TOP, "source", "target", "targets", "phases", "arms", "vectors", *STAGE_TABLES, *DEFAULTS]
    only(raw, known, str(path))
    for part in ("source", "target"):
        if not isinstance(raw.get(part, {} if part == "source" else None), dict):
            raise UsageError(f"{path} has no [{part}]", f"a study needs [{part}] with documents and questions")
    default = parse_toml(default_arms(), "the default arms")
    arms = raw.get("arms") or default["arms"]
    vectors = {**default["vectors"], **raw.get("vectors", {})}
    study = Study(
        title=str(raw.get("title", path.stem)),
        base=str(raw.get("base", "smol")),
        seeds=seeds_of(raw.get("seeds", [0, 1, 2, 3, 4])),
        reference=str(raw.get("reference", "SFT")),
        source=build(Part, raw.get("source", {}), "[source]"),
        target=build(Part, raw["target"], "[target]"),
        targets={name: build(Part, table, f"[targets.{name}]") for name, table in raw.get("targets", {}).items()},
        phases={name: build(Phase, table, f"[phases.{name}]") for name, table in raw.get("phases", {}).items()},
        arms={name: build(Arm, table, f"[arms.{name}]") for name, table in arms.items()},
        vectors={name: build(Vector, table, f"[vectors.{name}]") for name, table in vectors.items()},
        tables={name: {**DEFAULTS.get(name, {}), **raw.get(name, {})} for name in (*STAGE_TABLES, *DEFAULTS)},
        folder=path.resolve().parent,
    )
    _check(study)
    return dataclasses.replace(study, vectors=_started(study))


def _started(study: Study) -> dict[str, Vector]:
    """The vectors, each with the SFT of its source model. One that says nothing of it starts as the arms that it is added to:
    from the SFT of the reference arm. With the default of [sft] a skill made from documents alone would be added to models
    that know the answer format, and the other way round, and the arms would differ in more than what they are named for."""
    usual = study.arms[study.reference].sft
    return {
        name: dataclasses.replace(one, sft=usual) if one.sft is None and one.kind in FROM_SOURCE else one
        for name, one in study.vectors.items()
    }


def _check(study: Study) -> None:
    for name in STAGE_TABLES:
        study.stage(name)
    if study.stage("eval").judge_model:
        raise UsageError("a study's metrics are exact match, contains and F1", "leave judge_model out of [eval]")
    if unknown := {"source", "target"} & set(study.targets):
        raise UsageError(f"[targets.{unknown.pop()}] has a name that is taken", "call it otherwise")
    for name, phase in study.phases.items():
        study.stage("sft", phase.sft), study.stage("generate", {"kind": phase.generate} if phase.generate else None)
        if phase.validate and not study.source.validation and not study.target.validation:
            hint = "set validation = 0.3 in [source] or [target]"
            raise UsageError(f"[phases.{name}] has nothing to choose its checkpoint by", hint)
    if study.reference not in study.arms:
        raise UsageError(f"the reference {study.reference!r} is no arm", f"arms: {', '.join(study.arms)}")
    for name, vector in study.vectors.items():
        study.stage("sft", vector.sft), study.stage("rl", vector.rl)
        used = any(name == one for arm in study.arms.values() for one, _ in added(arm))
        if used and vector.seed_shift and vector.seed_shift % len(study.seeds) == 0:
            raise UsageError(f"[vectors.{name}] takes the vector of another seed, and there is none", "name more seeds")
        if used and vector.kind == "distill" and study.phases:
            raise UsageError(
                f"[vectors.{name}] is of kind distill, whose rounds have one SFT each", "leave [phases] out"
            )
        part = build(Part, {**dataclasses.asdict(study.source), **(vector.source or {})}, f"source of [vectors.{name}]")
        if (vector.kind == "file") != bool(vector.file):
            raise UsageError(
                f"[vectors.{name}] needs kind = 'file' and `file`, or neither", "file = 'skill.safetensors'"
            )
        if used and vector.kind in FROM_SOURCE and not part.documents:
            _no_source(f"[vectors.{name}] is made on it")
    for name, arm in study.arms.items():
        study.stage("sft", arm.sft), study.stage("inject", arm.inject)
        check_arm(name, arm, study.vectors, study.arms)
        for domain in arm.sequence:
            one_of(domain, study.targets, f"domain in `sequence` of [arms.{name}]")
        if arm.single not in (None, True, False):
            raise UsageError(f"single of [arms.{name}] must be true or false, not {arm.single!r}")
        if arm.model == "source" and not study.source.documents:
            _no_source(f"[arms.{name}] is SFT on it")
        _check_within(name, arm)
        if arm.target and (arm.sequence or arm.model not in ("sft", "rl")):
            raise UsageError(
                f"[arms.{name}] learns no [target]", "leave `target` out: it is for arms of model sft or rl"
            )
        if arm.sequence and (
            arm.model not in ("sft", "rl") or isinstance(arm.scale, list) or len(set(arm.sequence)) < len(arm.sequence)
        ):
            raise UsageError(
                f"[arms.{name}] is a sequence", "its model is sft or rl, it has one scale, and each domain once"
            )
        if isinstance(arm.scale, list) and not study.target.dev:
            raise UsageError(
                f"[arms.{name}] chooses its scale, and there are no dev questions", "set dev = 0.25 in [target]"
            )


def check_arm(name: str, arm: Arm | ToolsArm, vectors: Mapping[str, Any], arms: Mapping[str, Any]) -> None:
    """Raises `UsageError` for an arm that names what is not there, or a control of nothing."""
    for one, _ in added(arm):
        one_of(one, vectors, f"a vector in `add` of [arms.{name}]")
    for other in arm.against.split("|") if arm.against else []:
        one_of(other, arms, f"`against` of [arms.{name}]")
    if arm.control != "none" and not arm.add:
        raise UsageError(f"[arms.{name}] has a control and no vector", 'say of which: add = ["rl"]')


def _check_within(name: str, arm: Arm) -> None:
    if arm.within and arm.sequence:
        raise UsageError(f"[arms.{name}] is a sequence", "leave `within` out: every step of it is asked everything")
    if arm.within and (arm.model == "source") != arm.within.startswith("part: "):
        asked = "source, whose strata are `part: ...`" if arm.model == "source" else "target, which has no parts"
        raise UsageError(f"[arms.{name}] is judged within {arm.within!r}, but asked about the {asked}")


FROM_SOURCE = ("rl", "imitation", "distill")


def _no_source(why: str) -> None:
    raise UsageError(f"the study has no [source], and {why}", "a study needs [source] with documents and questions")


def added(arm: Arm | ToolsArm) -> list[tuple[str, float]]:
    """(vector name, factor) of `add`; raises `UsageError` for a factor that is no number."""
    found = []
    for text in arm.add:
        name, colon, factor = str(text).rpartition(":")
        try:
            found.append((name, finite(factor)) if colon else (factor, 1.0))
        except ValueError:
            raise UsageError(f"{text!r} in `add`: {factor!r} is no number", "write NAME or NAME:FACTOR") from None
    return found


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(regular(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {reason(error)}", "name a study file; `past study arms` prints a start"
        ) from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error


def build(cls: Any, table: Any, where: str) -> Any:
    """The dataclass from a TOML table, keys and types checked."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    only(table, fields, where)
    hints = typing.get_type_hints(cls)
    for key, value in table.items():
        wanted, what = hints[key], f"{key} of {where}"
        if wanted in (dict, list) and value is not None and not isinstance(value, wanted):
            raise UsageError(f"{what} must be a {'table' if wanted is dict else 'list'}, not {value!r}")
        if wanted in (str, int, float, bool):
            checked(value, fields[key], wanted, what)
    return cls(**table)


def only(table: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    for key in table:
        one_of(key, known, f"key of {where}")


def one_of(name: str, known: typing.Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        raise UsageError(f"unknown {what}: {name}", configs.nearest(name, names))


def seeds_of(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(seed, int) and seed >= 0 for seed in value):
        raise UsageError(f"seeds must be a list of whole numbers, not {value!r}", "for example seeds = [0, 1, 2, 3, 4]")
    if len(set(value)) < len(value):
        raise UsageError("a seed is named twice", "the same run counted twice would narrow the interval")
    return tuple(value)
