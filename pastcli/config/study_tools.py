"""What a study of tools may say: its tables as dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .setting import setting
from .study import CONTROLS

KINDS = ("rl", "imitation", "format", "distill", "qa", "file")
MODELS = ("base", "sft", "rl", "know-nothing")
STAGE_TABLES = ("lessons", "sft", "rl", "distill", "inject", "agent", "eval", "imitation", "format", "ingest")


@dataclass(frozen=True)
class Tools:
    """[tools]: the files, and which categories of them are whose."""

    files: list = setting([], "tools files, as `past agent` takes them")
    source: list = setting([], "categories on which RL trains (default: all that share nothing with the target)")
    target: list = setting([], "categories on which everything is tested, and which RL never sees")
    unrelated: list = setting([], "categories of neither side, whose whole runs make the format vector")
    form: bool = setting(
        False,
        "every SFT also learns the whole runs on unrelated tools: with `react` left out of [lessons] kinds, a model knows the form of "
        "calling and has only read the documentation of its own APIs",
    )
    real: bool = setting(False, "ask the queries that came with the target's tools as well; those have no reference")


@dataclass(frozen=True)
class Vector:
    """[vectors.NAME]: a weight change made away from the target."""

    kind: str = setting(
        "rl",
        choices=KINDS,
        help="rl: RL on the source minus its SFT | distill: K rounds on disjoint APIs of the source | imitation: SFT on runs that solve "
        "RL's queries, minus source SFT | format: base + SFT on whole runs of unrelated tools, minus base | qa: RL minus SFT on documents | file",
    )
    file: str = setting("", "the skill file (kind file)")
    documents: str = setting("", "documents of a QA skill (kind qa)")
    questions: str = setting("", "questions on them (kind qa; default: those inside)")
    sft: dict = setting(None, "changes to [sft] for what it starts from")
    rl: dict = setting(None, "changes to [rl]")
    distill: dict = setting(None, "changes to [distill] (kind distill)")
    imitation: dict = setting(None, "changes to [imitation] or [format]")


@dataclass(frozen=True)
class Arm:
    """[arms.NAME]: one model that is asked, at every seed."""

    model: str = setting(
        "sft",
        choices=MODELS,
        help="what the vectors are added to. sft: the target's lessons | base | rl: SFT and then RL on the target's own queries (upper "
        "bound) | know-nothing: a program without a model",
    )
    add: list = setting([], "vectors to add, as NAME or NAME:FACTOR")
    scale: float = setting(1.0, "the scale of their sum")
    control: str = setting("none", "replace each vector by a control of `past inject`", choices=CONTROLS)
    against: str = setting("", "the arm it is compared with (default: `reference`); `a|b` is the better of several")
    test: bool = setting(False, "a claim: its p-values count in Holm's correction")


def reference() -> str:
    """The keys of a study of tools with their meaning, as Markdown."""
    parts: list[str] = []
    tables: list[tuple[str, Any]] = [("[tools]", Tools), ("[vectors.NAME]", Vector), ("[arms.NAME]", Arm)]
    for title, cls in tables:
        lines = [f"- `{one.name}`: {one.metadata['help']}" for one in dataclasses.fields(cls)]
        parts += [f"**{title}** (a study of tools)", "\n".join(lines)]
    return "\n\n".join(parts)
