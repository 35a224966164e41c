"""A study from one folder of documents: which of them are source, target and dev, the questions, and the study file.

Documents are never divided between the parts, and are drawn by `DRAW` alone: nobody can choose what helps a result.
"""

from __future__ import annotations

import fnmatch
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from ..api import Passage
from ..errors import UsageError
from ..files import write_lines, write_text
from ..ingest import write_corpus
from ..words import counted
from .draws import DRAW

SENTENCE_ENDS = (".", "?", "!", "。", "？")

ASKED = 8
"""Passages that are asked about for each question that a document may have."""

FEWEST = 6
"""Documents below which a trial shortens them rather than leave more of them out."""


@dataclass(frozen=True)
class Parts:
    """Names of documents. `dev` are among `target`: learnt like the others, their questions only choose the scale."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    dev: int


@dataclass(frozen=True)
class Choice:
    """How much is used: the first `documents` in drawn order, `passages` of each (0: all), over so many `seeds`."""

    documents: int
    passages: int
    seeds: int


def order(passages: Sequence[Passage]) -> list[str]:
    """The documents in the order in which they are taken."""
    names = sorted({passage.doc for passage in passages})
    random.Random(DRAW).shuffle(names)
    return names


def divided(passages: Sequence[Passage], share: float, patterns: Sequence[str], dev: float, skill: bool) -> Parts:
    """Source and target, by document: those that match one of `patterns` (name or path) are the source, or else as many
    as make up `share` of the text. With a `skill` made before all are the target. Raises `UsageError` if either is empty.
    """
    names = order(passages)
    if skill:
        return Parts((), tuple(sorted(names)), _dev(len(names), dev))
    sizes = Counter[str]()
    for passage in passages:
        sizes[passage.doc] += len(passage.text)
    source = _matching(passages, patterns) if patterns else _up_to(names, sizes, share)
    target = [name for name in names if name not in source]
    if not source or not target:
        raise UsageError(
            f"{len(names)} document(s) cannot be divided into source and target",
            "--source and --share must leave some of them, or name a skill made before: --vector FILE",
        )
    return Parts(tuple(sorted(source)), tuple(sorted(target)), _dev(len(target), dev))


def _matching(passages: Sequence[Passage], patterns: Sequence[str]) -> set[str]:
    found = set()
    for pattern in patterns:
        hit = {
            p.doc
            for p in passages
            if any(fnmatch.fnmatch(name, pattern) for name in (p.doc, str(p.source.get("path", ""))))
        }
        if not hit:
            some = ", ".join(sorted({p.doc for p in passages})[:8])
            raise UsageError(f"--source {pattern!r} matches no document", f"documents: {some}, ...")
        found |= hit
    return found


def _up_to(names: Sequence[str], sizes: Mapping[str, int], share: float) -> set[str]:
    """The first of `names` with at least `share` of all characters; one is left for the target."""
    whole, taken, found = sum(sizes.values()), 0, set()
    for name in names[:-1]:
        if taken >= share * whole:
            break
        found.add(name)
        taken += sizes[name]
    return found


def _dev(documents: int, share: float) -> int:
    """Of so many documents at least one is dev, if there is a share, and two are left to measure on."""
    return min(max(1, round(documents * share)), documents - 2) if share and documents > 2 else 0


def reduced(passages: Sequence[Passage], choice: Choice) -> list[Passage]:
    """What a choice takes of the passages."""
    names = set(order(passages)[: choice.documents])
    seen: Counter[str] = Counter()
    found = []
    for passage in passages:
        if passage.doc in names and (not choice.passages or seen[passage.doc] < choice.passages):
            seen[passage.doc] += 1
            found.append(passage)
    return found


def fitting(passages: Sequence[Passage], seeds: int, seconds: float, cost: Callable[[Choice], float]) -> Choice:
    """The largest choice that takes at most `seconds` by `cost`: fewer documents first, then less of each, then one seed.

    Raises `UsageError` if even the smallest takes longer.
    """
    longest = max(Counter(passage.doc for passage in passages).values())
    total = len({passage.doc for passage in passages})
    for runs in dict.fromkeys((seeds, 1)):
        few = min(total, FEWEST)
        if cost(Choice(few, 0, runs)) <= seconds:
            return _largest(few, total, partial(Choice, passages=0, seeds=runs), seconds, cost)
        if cost(Choice(few, 1, runs)) <= seconds:
            return _largest(1, longest, partial(Choice, few, seeds=runs), seconds, cost)
    least = cost(Choice(min(total, FEWEST), 1, 1))
    minutes = int(least / 60) + 1
    raise UsageError(
        f"the smallest study of these documents takes about {counted(minutes, 'minutes')}", f"--minutes {minutes}"
    )


def _largest(
    low: int, high: int, choice: Callable[[int], Choice], seconds: float, cost: Callable[[Choice], float]
) -> Choice:
    """By bisection, `low` being known to fit."""
    while low < high:
        middle = (low + high + 1) // 2
        if cost(choice(middle)) <= seconds:
            low = middle
        else:
            high = middle - 1
    return choice(low)


def asked_about(passages: Sequence[Passage], most: int) -> list[Passage]:
    """Passages enough of each document to draw `most` questions on it from: a log of ten thousand needs none on each."""
    by_document: dict[str, list[int]] = {}
    for number, passage in enumerate(passages):
        by_document.setdefault(passage.doc, []).append(number)
    dice = random.Random(DRAW)
    kept = {n for found in by_document.values() for n in dice.sample(found, min(ASKED * most, len(found)))}
    return [passage for number, passage in enumerate(passages) if number in kept]


def largest(passages: Sequence[Passage]) -> tuple[str, float]:
    """The document with the most text, and its share of all of it."""
    sizes = Counter[str]()
    for passage in passages:
        sizes[passage.doc] += len(passage.text)
    name, size = sizes.most_common(1)[0]
    return name, size / sizes.total()


def drawn(questions: Sequence[Mapping[str, Any]], parts: Parts, most: int) -> tuple[list[Any], list[Any]]:
    """The questions of source and target, at most so many on a document, drawn by `DRAW` and in their old order. Whole
    sentences are preferred: what is left of menus and tables asks for nothing that anybody would want to know."""
    by_document: dict[str, list[int]] = {}
    for number, row in enumerate(questions):
        by_document.setdefault(row["doc"], []).append(number)
    dice = random.Random(DRAW)
    kept = set()
    for found in by_document.values():
        whole = [n for n in found if questions[n]["question"].rstrip().endswith(SENTENCE_ENDS)] or found
        kept |= set(dice.sample(whole, min(most, len(whole))))
    rows = [{k: row[k] for k in ("id", "question", "answer", "doc")} for n, row in enumerate(questions) if n in kept]
    source, target = ([row for row in rows if row["doc"] in part] for part in (parts.source, parts.target))
    return source, target


def write(
    folder: Path,
    name: str,
    passages: Sequence[Passage],
    parts: Parts,
    questions: tuple[Sequence[Any], Sequence[Any]],
    settings: Mapping[str, Any],
) -> Path:
    """The corpora, the questions and `NAME.toml` in `folder`; gives the study file.

    `settings`: base, seeds, `vector`, the path of a skill made before ('' for none), and `alone`, the document that all of them
    are parts of ('' for none). Raises `UsageError` if there is nothing to ask about a part that needs it.
    """
    folder.mkdir(exist_ok=True)
    asked = dict(zip(("source", "target"), questions, strict=True))
    for part, names in (("source", parts.source), ("target", parts.target)):
        if not names:
            continue
        if not asked[part]:
            hint = "name a chat model to write some (--model NAME), or divide otherwise (--share, --source)"
            raise UsageError(f"no question could be made about the {part} ({', '.join(names[:5])})", hint)
        write_corpus(folder / f"{part}.jsonl", [passage for passage in passages if passage.doc in names])
        write_lines(folder / f"{part}_questions.jsonl", asked[part])
    file = folder / f"{name}.toml"
    write_text(file, _study_file(name, parts, asked["target"], settings))
    return file


def _study_file(name: str, parts: Parts, asked: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    documents = len({row["doc"] for row in asked})
    dev = min(parts.dev, max(0, documents - 2))
    template = "with_skill" if settings["vector"] else "whole"
    text = (resources.files(__package__) / f"init_{template}.toml").read_text(encoding="utf-8")
    title = f"{name}: parts of one document" if settings["alone"] else name
    top = tomli_w.dumps({"title": title, "base": settings["base"]})
    filled = text.replace("@top@", f"{top}seeds = {list(range(settings['seeds']))}")
    filled = filled.replace("@skill@", tomli_w.dumps({"file": settings["vector"]}).strip())
    filled = filled.replace("@dev@", f"dev = {dev / documents:.4f}" if dev else "dev = 0.0")
    before, _, chosen = filled.partition("@by_dev@\n")
    return before + chosen if dev else before
