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
from ..config import setting
from ..errors import UsageError

KINDS = ("rl", "imitation", "format")
MODELS = ("sft", "base", "source", "rl")
STAGES = ("ingest", "sft", "rl", "inject", "eval")


@dataclass(frozen=True)
class Part:
    """[source] or [target]: documents, and questions about them."""

    documents: str = setting("", "what SFT learns: a file of records (SQuAD, LooGLE, JSONL), a corpus, or a folder")
    questions: str = setting("", "questions with answers, `doc` naming the document (default: those inside `documents`)")
    limit: int = setting(0, "use only so many documents, after `skip`; 0 uses all")
    skip: int = setting(0, "leave out so many documents first")
    kinds: list = setting([], "model-written texts of a record's `augmentations` to learn as well: AUTHOR.KIND[:N], * and ? allowed")
    per_document: int = setting(0, "use at most so many questions on one document; 0 uses all")
    held_out: float = setting(0.0, "source: share of the questions that RL does not see, to tell a skill from learning the content")
    dev: float = setting(0.0, "target: share of the documents whose questions only choose a scale and are never reported")
    apart: bool = setting(True, "source: leave out documents whose title (article) occurs in the target")


@dataclass(frozen=True)
class Vector:
    """[vectors.NAME]: a weight change made on the source. `rl`, `imitation` and `format` exist without being declared."""

    kind: str = setting("rl", "rl: RL minus source SFT | imitation: SFT on the source's question-answer pairs, minus source SFT | format: base + SFT on everyday pairs, minus base")
    sft: dict = setting(None, "changes to [sft] for the source model it starts from, e.g. { mix = ['qa'] }")
    rl: dict = setting(None, "changes to [rl]")
    imitation: dict = setting(None, "changes to [imitation] (kind imitation) or [format] (kind format)")
    source: dict = setting(None, "changes to [source]")
    seed_shift: int = setting(0, "take the vector of this many seeds further: the skill of another seed")


@dataclass(frozen=True)
class Arm:
    """[arms.NAME]: one model that is asked, at every seed."""

    model: str = setting("sft", "what the vectors are added to. sft: SFT on the target | base | source: SFT on the source, asked about the source | rl: SFT and then RL on the target's own questions (upper bound)")
    add: list = setting([], "vectors to add, as NAME or NAME:FACTOR")
    scale: typing.Any = setting(1.0, "the scale of the sum; a list is a grid, of which the dev questions choose one")
    control: str = setting("none", "replace each vector by a control of `past inject`: random, shuffled, layers, zero")
    sft: dict = setting(None, "changes to [sft] for this arm's target model, e.g. { mix = ['qa'] }")
    inject: dict = setting(None, "changes to [inject]")
    against: str = setting("", "the arm it is compared with (default: `reference`); `a|b` is the better of several")
    test: bool = setting(False, "a claim: its p-values count in Holm's correction")


@dataclass(frozen=True)
class Study:
    """The whole file. `tables` holds [ingest], [sft], [rl], [inject], [eval], [imitation] and [format] as written."""

    title: str
    base: str
    seeds: tuple[int, ...]
    reference: str
    source: Part
    target: Part
    arms: Mapping[str, Arm]
    vectors: Mapping[str, Vector]
    tables: Mapping[str, Mapping[str, Any]]
    folder: Path

    def stage(self, name: str, *changes: Mapping[str, Any] | None, seed: int | None = None) -> Any:
        """The config of a stage: default, then the file's table, then changes. [imitation] and [format] are SFT."""
        values: dict[str, Any] = dict(self.tables.get(name, {}))
        for change in changes:
            values.update(change or {})
        if seed is not None:
            values["seed"] = seed
        cls = "sft" if name in ("imitation", "format") else name
        return configs.from_table(cls, values, f"[{name}]")


TOP = {
    "title": "a name for the reports (default: the file's)",
    "base": "the base model of everything: alias, path or hub id (default: smol)",
    "seeds": "seeds of every training (default: 0 to 4)",
    "reference": "the arm the others are compared with (default: SFT)",
}
DEFAULTS = {
    "imitation": {"mix": ["none"], "epochs": 6.0, "lr": 1e-4},
    "format": {"mix": ["none"], "epochs": 2.0, "lr": 1e-4},
}


def default_arms() -> str:
    """The arms and vectors of a study that declares none, as TOML to be copied and changed."""
    return (resources.files(__package__) / "arms.toml").read_text(encoding="utf-8")


def load(path: Path) -> Study:
    """Read and check a study file; raises `UsageError` that names the key and the nearest known one."""
    raw = _toml(path)
    known = [*TOP, "source", "target", "arms", "vectors", *STAGES, *DEFAULTS]
    _only(raw, known, str(path))
    for part in ("source", "target"):
        if not isinstance(raw.get(part), dict):
            raise UsageError(f"{path} has no [{part}]", f"a study needs [{part}] with documents and questions")
    default = _parse(default_arms(), "the default arms")
    arms = raw.get("arms") or default["arms"]
    vectors = {**default["vectors"], **raw.get("vectors", {})}
    study = Study(
        title=str(raw.get("title", path.stem)),
        base=str(raw.get("base", "smol")),
        seeds=_seeds(raw.get("seeds", [0, 1, 2, 3, 4])),
        reference=str(raw.get("reference", "SFT")),
        source=_build(Part, raw["source"], "[source]"),
        target=_build(Part, raw["target"], "[target]"),
        arms={name: _build(Arm, table, f"[arms.{name}]") for name, table in arms.items()},
        vectors={name: _build(Vector, table, f"[vectors.{name}]") for name, table in vectors.items()},
        tables={name: {**DEFAULTS.get(name, {}), **raw.get(name, {})} for name in (*STAGES, *DEFAULTS)},
        folder=path.resolve().parent,
    )
    _check(study)
    return study


def _check(study: Study) -> None:
    for name in STAGES:
        study.stage(name)
    if study.reference not in study.arms:
        raise UsageError(f"the reference {study.reference!r} is no arm", f"arms: {', '.join(study.arms)}")
    for name, vector in study.vectors.items():
        _one_of(vector.kind, KINDS, f"kind of [vectors.{name}]")
        study.stage("sft", vector.sft), study.stage("rl", vector.rl)
        _build(Part, {**dataclasses.asdict(study.source), **(vector.source or {})}, f"source of [vectors.{name}]")
    for name, arm in study.arms.items():
        _one_of(arm.model, MODELS, f"model of [arms.{name}]")
        study.stage("sft", arm.sft), study.stage("inject", arm.inject)
        for vector, _ in added(arm):
            _one_of(vector, study.vectors, f"a vector in `add` of [arms.{name}]")
        for other in arm.against.split("|") if arm.against else []:
            _one_of(other, study.arms, f"`against` of [arms.{name}]")
        if isinstance(arm.scale, list) and not study.target.dev:
            raise UsageError(f"[arms.{name}] chooses its scale, and there are no dev questions", "set dev = 0.25 in [target]")
        if arm.control != "none" and not arm.add:
            raise UsageError(f"[arms.{name}] has a control and no vector", 'say of which: add = ["rl"]')


def added(arm: Arm) -> list[tuple[str, float]]:
    """(vector name, factor) of `add`; raises `UsageError` for a factor that is no number."""
    found = []
    for text in arm.add:
        name, colon, factor = str(text).rpartition(":")
        try:
            found.append((name, float(factor)) if colon else (factor, 1.0))
        except ValueError:
            raise UsageError(f"{text!r} in `add`: {factor!r} is no number", "write NAME or NAME:FACTOR") from None
    return found


def reference() -> str:
    """The study file's keys with their meaning, for `--help` and the docs; made from the dataclasses above."""
    lines = ["Top level: " + "; ".join(f"{name}: {text}" for name, text in TOP.items())]
    for title, cls in (("[source], [target]", Part), ("[vectors.NAME]", Vector), ("[arms.NAME]", Arm)):
        lines += ["", title]
        lines += [f"  {field.name}: {field.metadata['help']}" for field in dataclasses.fields(cls)]
    lines += ["", "[ingest] [sft] [rl] [inject] [eval]", "  settings of the stages, as in past.toml"]
    lines += ["", "[imitation] [format]", "  settings of the SFT that makes these two vectors, as in [sft]"]
    return "\n".join(lines)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a study file; `past study arms` prints a start") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise UsageError(f"{where} is not valid TOML: {error}") from error


def _build(cls: Any, table: Any, where: str) -> Any:
    """The dataclass from a TOML table, keys and types checked."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    _only(table, fields, where)
    hints = typing.get_type_hints(cls)
    for key, value in table.items():
        wanted = hints[key]
        fits = wanted is Any or isinstance(value, (int, float) if wanted is float else wanted)
        if value is not None and (not fits or (isinstance(value, bool) and wanted is not bool)):
            raise UsageError(f"{key} of {where} must be {wanted.__name__}, not {value!r}")
    return cls(**table)


def _only(table: Mapping[str, Any], known: typing.Iterable[str], where: str) -> None:
    for key in table:
        _one_of(key, known, f"key of {where}")


def _one_of(name: str, known: typing.Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        raise UsageError(f"unknown {what}: {name}", configs.nearest(name, names))


def _seeds(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(seed, int) and seed >= 0 for seed in value):
        raise UsageError(f"seeds must be a list of whole numbers, not {value!r}", "for example seeds = [0, 1, 2, 3, 4]")
    if len(set(value)) < len(value):
        raise UsageError("a seed is named twice", "the same run counted twice would narrow the interval")
    return tuple(value)
