"""What each round of `past distill` trains on: parts of documents, or parts of a set of tools that share no tool."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import api
from .. import config as configs
from ..errors import UsageError
from ..words import counted
from . import _rl_tools, _train_rows
from ._ingest_tools import lesson_rows

Tool = tuple[str, str]
"""(category, tool)"""


@dataclass(frozen=True)
class Part:
    """One round's share of the source: its documents' passages and the questions about them."""

    passages: list[api.Passage]
    questions: list[api.Question]


@dataclass(frozen=True)
class Work:
    """One round's share as its two trainings take it: rows to learn, rows to ask, and the tools that answer, if any."""

    learnt: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    source: _rl_tools.Source | None
    sizes: dict[str, int]


def of_documents(parts: Sequence[Part], sft: configs.SftConfig, sources: Sequence[Path]) -> list[Work]:
    """The rounds on documents; what `--mix` adds is the same in all."""
    from ..ingest import read_pairs

    mixed = [row for path in _train_rows.mixed(sft, sources) for row in read_pairs(path)]
    return [
        Work(
            _train_rows.document_rows(part.passages, sft) + mixed,
            _train_rows.rl_rows(part.questions, f"round {number}"),
            None,
            {"passages": len(part.passages), "questions": len(part.questions)},
        )
        for number, part in enumerate(parts, 1)
    ]


def of_tools(
    file: Path,
    config: configs.DistillConfig,
    rl: configs.RlConfig,
    lessons: configs.LessonsConfig,
    also: Sequence[Path] = (),
) -> list[Work]:
    """The rounds on tools: the documentation of a part's APIs is learnt, its queries are asked. The pairs and whole runs of the
    files `also` are learnt in every round: the form of a call, say, from tools that are nobody's.

    Parts share no tool: a query goes where the tools are that it needs, and is shown no function of another part. The
    queries are the file's own, or made from the documentation where it brings none. Runs to learn from look as the
    episodes of [rl] do.
    """
    from ..ingest import read_pairs
    from ..tools.learning.lessons import make

    same = [row for path in also for row in read_pairs(path)]
    whole = _rl_tools.read_any(file, rl)
    lessons = replace(lessons, prompt=rl.prompt, observation_chars=rl.observation_chars, test_queries=0)
    own = bool(whole.tasks)
    found = []
    for tools in split_tools(whole, config):
        specs = [spec for spec in whole.specs if spec.key[:2] in tools]
        made = make(specs, replace(lessons, queries=0) if own else lessons)
        tasks = [_within(task, tools) for task in whole.tasks if needed(task) <= tools] if own else made.practice
        if not tasks:
            raise UsageError(
                f"no query for the {counted(len(specs), 'APIs')} of a part", "lower --rounds, or name more categories"
            )
        part = whole.part(tasks[: rl.limit] if rl.limit else tasks)
        found.append(
            Work(lesson_rows(made, lessons) + same, part.rows(), part, {"apis": len(specs), "queries": len(part.tasks)})
        )
    return found


def split_tools(whole: _rl_tools.Source, config: configs.DistillConfig) -> list[set[Tool]]:
    """K sets of tools: those that one query needs stay together, the sets hold about as many queries each; drawn by seed."""
    groups = _connected(whole)
    if len(groups) < config.rounds:
        raise UsageError(
            f"{counted(len(groups), 'groups')} of tools that share no query cannot make {counted(config.rounds, 'rounds')}",
            "lower --rounds",
        )
    random.Random(config.seed).shuffle(groups)
    queries = {id(group): sum(needed(task) <= group for task in whole.tasks) for group in groups}
    parts: list[set[Tool]] = [set() for _ in range(config.rounds)]
    filled = [(0, 0)] * config.rounds  # queries, then tools: every part gets a group
    for group in sorted(groups, key=lambda group: (-queries[id(group)], -len(group))):
        place = min(range(config.rounds), key=lambda place: filled[place])
        parts[place] |= group
        filled[place] = (filled[place][0] + queries[id(group)], len(parts[place]))
    return parts


def needed(task: api.Task) -> set[Tool]:
    """The tools that a good run of a query calls."""
    return {(key[0], key[1]) for key in (*task.relevant, *(call.key for call in task.expected_calls))}


def _within(task: api.Task, tools: set[Tool]) -> api.Task:
    """The query, shown the functions of these tools alone."""
    return replace(task, tools=tuple(spec for spec in task.tools if spec.key[:2] in tools))


def _connected(whole: _rl_tools.Source) -> list[set[Tool]]:
    """The tools in groups: two that one query needs are in one."""
    groups = [{tool} for tool in dict.fromkeys(spec.key[:2] for spec in whole.specs)]
    for task in whole.tasks:
        touched = [group for group in groups if group & needed(task)]
        if len(touched) > 1:
            groups = [group for group in groups if group not in touched] + [set().union(*touched)]
    return groups


def split(
    passages: Sequence[api.Passage], questions: Sequence[api.Question], config: configs.DistillConfig
) -> list[Part]:
    """K parts of whole documents, of like size, drawn by seed; each question goes with its document."""
    documents = sorted({passage.doc for passage in passages})
    about = {question.doc for question in questions}
    if config.rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {config.rounds}")
    if strangers := about - set(documents):
        raise UsageError(
            f"{counted(len(strangers), 'documents')} of the questions are not in the source, first {sorted(strangers)[0]!r}",
            f"the source has {', '.join(documents[:5])}; set `doc` of each question to one of them",
        )
    asked = sorted(about)
    if len(asked) < config.rounds:
        raise UsageError(
            f"{counted(len(asked), 'documents')} with questions cannot make {counted(config.rounds, 'rounds')}",
            "lower --rounds",
        )
    rest = [name for name in documents if name not in about]
    generator = random.Random(config.seed)
    generator.shuffle(asked)
    generator.shuffle(rest)
    order = asked + rest
    parts = []
    for index in range(config.rounds):
        names = set(order[index :: config.rounds])
        parts.append(Part([p for p in passages if p.doc in names], [q for q in questions if q.doc in names]))
    return parts
