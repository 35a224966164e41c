"""All that is made of a set of APIs: texts and questions to learn, runs to learn from, questions and queries for tests.

Every query is checked before it is kept: the simulator must accept its call, and two judges that share no code must find
its run solved. What cannot be made is counted with the reason.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from ... import qa
from ...api import ChatModel, Episode, Progress, Task, ToolSpec
from ...api.tools import Key
from ...config import LessonsConfig
from ...errors import UsageError
from ..environments.simulator import SchemaSimulator
from ..judging.reference import reference
from ..judging.rules import rules
from . import queries, recall, wording
from .calls import Call, invented
from .rephrase import rephrased

KINDS = ("card", *recall.WORDINGS, "react")


@dataclass
class Lessons:
    """What was made. `rows` train, `runs` are whole episodes that train, `recall` asks about schemas in wordings that no row
    has; `practice` are queries for reinforcement learning and `solved` runs that solve them, `tests` those for evaluation, in wordings of their own."""

    specs: tuple[ToolSpec, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    runs: list[Episode] = field(default_factory=list)
    recall: list[dict[str, Any]] = field(default_factory=list)
    practice: list[Task] = field(default_factory=list)
    solved: list[Episode] = field(default_factory=list)
    tests: list[Task] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        """In numbers; `named_in_query` is the share of required arguments that a test query calls by their own name."""
        told = [queries.names_its_arguments(task, _relevant(task)) for task in self.tests]
        known = [share for share in told if share is not None]
        return {
            "apis": len(self.specs),
            "tools": len({(spec.category, spec.tool or spec.api) for spec in self.specs}),
            "texts": len(self.rows),
            "episodes": len(self.runs),
            "recall": len(self.recall),
            "queries": len(self.practice),
            "test_queries": len(self.tests),
            "apis_without_query": len(self.specs) - len({task.relevant for task in self.tests}),
            "named_in_query": round(sum(known) / len(known), 3) if known else None,
            "left_out": dict(sorted(self.left_out.items())),
        }


def make(
    specs: Sequence[ToolSpec], config: LessonsConfig, progress: Progress | None = None, chat: ChatModel | None = None
) -> Lessons:
    """The lessons of a set of APIs, all of one side of a split; with `chat` its queries are put in other words. Raises
    `UsageError` for an unknown kind."""
    wanted = _kinds(config.kinds)
    found, env = Lessons(tuple(specs)), SchemaSimulator(specs)
    for spec in specs:
        example = invented(spec, env, f"{config.seed}|input")
        found.rows += _texts(spec, specs, example, wanted, config)
        found.recall += list(_recall(spec, specs))
    taken: set[str] = set()
    plan = _uses(config, wanted)
    made: dict[str, list[queries.Asked]] = {use: [] for use, _, _ in plan}
    for done, spec in enumerate(specs, 1):
        asked = {use: _asked(use, most, wordings, spec, found, env, config, taken) for use, most, wordings in plan}
        # In turn: of an API that can be called in few ways no use takes them all.
        for turn in zip_longest(*asked.values()):
            for use, one in zip(asked, turn, strict=True):
                if one is not None:
                    made[use].append(one if use == "react" else _in_other_words(one, chat, found, taken, config))
        if progress:
            progress(done, len(specs), {})
    found.runs = [one.episode for one in made["react"]]
    found.practice = [one.task for one in made["practice"]]
    found.solved = [one.episode for one in made["practice"]]
    found.tests = [one.task for one in made["test"]]
    return found


def in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plain texts last: by its first row a file is known for pairs, and one of texts alone is read as documents."""
    return sorted(rows, key=lambda row: "text" in row)


def drawn(specs: Sequence[ToolSpec], config: LessonsConfig, without: Collection[Key] = ()) -> list[ToolSpec]:
    """`config.apis` of the APIs in their order, drawn among those that can be asked for in enough ways for every use to have
    one: an API that is practised and never tested, or the reverse, says nothing. Those `without` are passed over."""
    uses = sum(1 for _, most, _ in _uses(config, _kinds(config.kinds)) if most)
    order = list(range(len(specs)))
    random.Random(f"{config.seed}|apis").shuffle(order)
    found, env = Lessons(tuple(specs)), SchemaSimulator(specs)
    kept: list[int] = []
    for place in order:
        if len(kept) == config.apis:
            break
        if specs[place].key in without:
            continue
        if len(list(_asked("probe", uses, queries.LEARNT, specs[place], found, env, config, set()))) == uses:
            kept.append(place)
    return [specs[place] for place in sorted(kept)]


def _uses(config: LessonsConfig, kinds: Sequence[str]) -> list[tuple[str, int, Sequence[str]]]:
    """(what queries are made for, how many an API, wordings) of whole runs, practice and tests."""
    return [
        ("react", config.examples if "react" in kinds else 0, queries.LEARNT),
        ("practice", config.queries, queries.LEARNT),
        ("test", config.test_queries, queries.HELD_OUT),
    ]


def _kinds(named: Sequence[str]) -> tuple[str, ...]:
    unknown = [kind for kind in named if kind not in KINDS]
    if unknown:
        raise UsageError(f"unknown kind of lesson: {unknown[0]}", f"kinds: {', '.join(KINDS)}")
    return tuple(named) or KINDS


def _texts(
    spec: ToolSpec, specs: Sequence[ToolSpec], example: Call | None, wanted: Sequence[str], config: LessonsConfig
) -> Iterable[dict[str, Any]]:
    """The rows that teach one schema: its card, and questions in learnt wordings."""
    for fact in recall.facts(spec, specs, example):
        if fact.kind in wanted:
            for question in fact.questions(held_out=False)[: config.wordings or None]:
                yield {"prompt": qa.prompt_for(question), "completion": f" {fact.answers[0]}"}
    if "card" in wanted:
        yield {"text": recall.card(spec)}


def _recall(spec: ToolSpec, specs: Sequence[ToolSpec]) -> Iterable[dict[str, Any]]:
    for fact in recall.facts(spec, specs, None):
        if fact.kind in recall.TESTED:
            for number, question in enumerate(fact.questions(held_out=True), 1):
                what = ":".join(filter(None, [fact.kind, spec.name, fact.words.get("parameter", "")]))
                doc = f"{spec.category}/{spec.tool or spec.api}"
                yield {"id": f"{what}#{number}", "question": question, "answers": list(fact.answers), "doc": doc}


def _asked(
    use: str,
    most: int,
    wordings: Sequence[str],
    spec: ToolSpec,
    found: Lessons,
    env: SchemaSimulator,
    config: LessonsConfig,
    taken: set[str],
) -> Iterator[queries.Asked]:
    """Up to `most` checked queries of one API. `taken` holds what was asked before: no query and, where there is anything to
    fill in, no call is asked twice, so that a test asks for nothing that training has seen."""
    made = 0
    for number in range(3 * most):
        if made == most:
            return
        identity = f"{use}-{spec.name}-{number}"
        one, why = _one(identity, spec, wordings, found, env, config)
        if one is None:
            found.left_out[f"{use}: {why}"] += 1
            continue
        call = json.dumps([spec.name, one.episode.steps[0].arguments], sort_keys=True)
        marks = {one.task.query, call} if one.episode.steps[0].arguments else {one.task.query}
        if not marks & taken:
            taken.update(marks)
            made += 1
            yield one


def _in_other_words(
    one: queries.Asked, chat: ChatModel | None, found: Lessons, taken: set[str], config: LessonsConfig
) -> queries.Asked:
    """The query as a model puts it, if that can be solved too and is no other's; else as it is."""
    if chat is None:
        return one
    other = rephrased(one, chat, config.seed)
    if other is None or other.task.query in taken or why_unsolved(other.episode, found.specs):
        found.left_out["rephrased: not the same request any more"] += 1
        return one
    taken.add(other.task.query)
    return other


def _one(
    identity: str, spec: ToolSpec, wordings: Sequence[str], found: Lessons, env: SchemaSimulator, config: LessonsConfig
) -> tuple[queries.Asked | None, str]:
    """(a query that can be solved, why there is none)"""
    call = invented(spec, env, f"{config.seed}|{identity}")
    if call is None:
        return None, "no call that the simulator accepts"
    if queries.could_be_one(call):
        return None, "values that could be taken for one"
    one = queries.asked(
        identity,
        call,
        _others(spec, found.specs, config, identity),
        wordings,
        config.observation_chars,
        f"{config.seed}",
    )
    if one is None:
        return None, "no value in the answer that a question can name"
    why = why_unsolved(one.episode, found.specs)
    return (None, why) if why else (one, "")


def why_unsolved(episode: Episode, specs: Sequence[ToolSpec]) -> str:
    """'' if the run of a query is valid and two independent judges find it solved; else why not. The simulator is one
    that knows the query, as it is where the query is asked."""
    env = SchemaSimulator(specs, [episode.task])
    for step in episode.steps:
        spec = next((tool for tool in episode.task.tools if tool.name == step.action), None)
        if spec is not None and env.call(spec, step.arguments) != step.observation:
            return "another answer where the query is asked"
    for judge in (rules, reference):
        verdict = judge.judge(episode)
        if verdict.label != "Solved":
            return f"{judge.name}: {verdict.reason.split(':')[0]}"
    return ""


def _others(spec: ToolSpec, specs: Sequence[ToolSpec], config: LessonsConfig, identity: str) -> list[ToolSpec]:
    """The functions shown beside the right one: first those of its tool, then others of its side. None that the query's words
    would ask for as well."""
    draw = random.Random(f"{config.seed}|shown|{identity}")
    rest = [other for other in specs if other.key != spec.key]
    draw.shuffle(rest)
    rest = [other for other in rest if wording.asks(other) != wording.asks(spec)]
    rest.sort(key=lambda other: (other.category, other.tool) != (spec.category, spec.tool))
    return rest[: config.shown - 1]


def _relevant(task: Task) -> ToolSpec:
    return next(spec for spec in task.tools if spec.key in task.relevant)
