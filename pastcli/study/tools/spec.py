"""The file of a study of tools, and its checks: everything is read and refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ... import config as configs
from ...config.study import TOP
from ...config.study_tools import STAGE_TABLES, Arm, Tools, Vector
from ...errors import UsageError
from ..spec import Staged, added, build, check_arm, only, parse_toml, read_toml, seeds_of

DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": {"mix": ["none"]},
    "imitation": {"mix": ["none"], "epochs": 2.0, "lr": 1e-4},
    "format": {"mix": ["none"], "epochs": 2.0, "lr": 1e-4},
    "agent": {"backend": "hf", "also_judge": ["reference"]},
}
PLAYING, SAME = ("agent", "rl"), ("prompt", "observation_chars")
"""Stages that play episodes, and the settings in which they must agree with the lessons."""

ELSEWHERE: dict[str, dict[str, str]] = {
    "lessons": {
        "rephrase": "queries are asked as they were made; `past ingest --tools --rephrase` puts them in other words",
        "target_share": "name the categories of both sides in [tools]",
    },
    "agent": {"limit": "every query is asked; set apis or test_queries of [lessons] to have fewer"},
    "eval": {"limit": "every question is asked; set apis of [lessons] to have fewer"},
    "inject": {"scale": "set it at the arm", "control": "set it at the arm"},
}
"""Settings of a stage that a study leaves alone, and how what they are for is said."""


@dataclass(frozen=True)
class ToolsStudy(Staged):
    """The whole file. `tables` holds the stage tables as written, over `DEFAULTS`."""

    title: str
    base: str
    seeds: tuple[int, ...]
    reference: str
    tools: Tools
    arms: Mapping[str, Arm]
    vectors: Mapping[str, Vector]
    tables: Mapping[str, Mapping[str, Any]]
    folder: Path

    def path(self, name: str) -> Path:
        """A path of the study file: relative to the folder it lies in. Raises `UsageError` if there is nothing."""
        found = self.folder / Path(name).expanduser()
        if not name or not found.exists():
            raise UsageError(f"no file or folder {found}", "paths are relative to the study file")
        return found


def is_of_tools(path: Path) -> bool:
    """True for a study file with a table [tools]."""
    return isinstance(read_toml(path).get("tools"), dict)


def default_arms() -> str:
    """The arms and vectors of a study that declares none, as TOML."""
    return (resources.files(__package__) / "arms.toml").read_text(encoding="utf-8")


def load(path: Path) -> ToolsStudy:
    """Read and check a study file; raises `UsageError` that names the key and the nearest known one."""
    raw = read_toml(path)
    only(raw, [*TOP, "tools", "arms", "vectors", *STAGE_TABLES], str(path))
    default = parse_toml(default_arms(), "the default arms")
    vectors = {**default["vectors"], **raw.get("vectors", {})}
    arms = raw.get("arms") or default["arms"]
    study = ToolsStudy(
        title=str(raw.get("title", path.stem)),
        base=str(raw.get("base", "smol")),
        seeds=seeds_of(raw.get("seeds", [0, 1, 2])),
        reference=str(raw.get("reference", "SFT")),
        tools=build(Tools, raw["tools"], "[tools]"),
        arms={name: build(Arm, table, f"[arms.{name}]") for name, table in arms.items()},
        vectors={name: build(Vector, table, f"[vectors.{name}]") for name, table in vectors.items()},
        tables=_tables(raw),
        folder=path.resolve().parent,
    )
    _check(study)
    return study


def _tables(raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The stage tables over `DEFAULTS`; the agent and RL take the form of the lessons where they say nothing."""
    tables = {name: {**DEFAULTS.get(name, {}), **raw.get(name, {})} for name in STAGE_TABLES}
    form = configs.from_table("lessons", tables["lessons"], "[lessons]")
    for name in PLAYING:
        tables[name] = {setting: getattr(form, setting) for setting in SAME} | tables[name]
    return tables


def _check(study: ToolsStudy) -> None:
    for name in STAGE_TABLES:
        study.stage(name)
    _check_settings(study)
    if not study.tools.files or not study.tools.target:
        raise UsageError("[tools] needs `files` and `target`", 'files = ["toolbench.json"], target = ["Movies"]')
    if study.tools.form and not study.tools.unrelated:
        raise UsageError("`form` of [tools] is learnt on unrelated tools", "name their categories: unrelated = [...]")
    if study.reference not in study.arms:
        raise UsageError(f"the reference {study.reference!r} is no arm", f"arms: {', '.join(study.arms)}")
    for name, setting in ((name, setting) for name in PLAYING for setting in SAME):
        mine, theirs = getattr(study.stage(name), setting), getattr(study.stage("lessons"), setting)
        if mine != theirs:
            raise UsageError(
                f"{setting} of [{name}] is {mine}, that of [lessons] {theirs}",
                "learn and act in one form: set it in [lessons] alone",
            )
    used = {name for arm in study.arms.values() for name, _ in added(arm)}
    for name, vector in study.vectors.items():
        if name in used:
            _check_vector(study, name, vector)
    for name, arm in study.arms.items():
        check_arm(name, arm, study.vectors, study.arms)
        if arm.model == "know-nothing" and arm.add:
            raise UsageError(f"[arms.{name}] is a program without weights", "leave `add` out")


def _check_settings(study: ToolsStudy) -> None:
    """Nothing is set that would be passed over, or make a figure another one than it is called."""
    for name, settings in ELSEWHERE.items():
        plain = configs.STAGES[name]()
        for setting, hint in settings.items():
            if getattr(study.stage(name), setting) != getattr(plain, setting):
                raise UsageError(f"{setting} of [{name}] means nothing in a study of tools", hint)
    judge = study.stage("agent").judge
    if judge != "rules":
        raise UsageError(f"judge of [agent] is {judge!r}, and the figure SoPR rules is that of `rules`", "leave it out")


def _check_vector(study: ToolsStudy, name: str, vector: Vector) -> None:
    for stage, changes in (("sft", vector.sft), ("rl", vector.rl), ("distill", vector.distill)):
        study.stage(stage, changes)
    if vector.kind == "format" and not study.tools.unrelated:
        raise UsageError(
            f"[vectors.{name}] is made on unrelated tools", "name their categories: unrelated = [...] in [tools]"
        )
    if vector.kind in ("file", "qa") and not (vector.file if vector.kind == "file" else vector.documents):
        wanted = "file" if vector.kind == "file" else "documents"
        raise UsageError(f"[vectors.{name}] of kind {vector.kind} needs `{wanted}`", f"{wanted} = PATH")
