"""What chance decides of a study's questions, the same for every seed: who is held out, and which answers are made wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .. import qa
from ..api import Question
from ..config.study import Part
from ..errors import UsageError
from ..words import counted

DRAW = 0
"""Seed of what is held out and of the dev documents: one and the same in every study, so that nobody can choose it."""


def drawn(names: Sequence[str], share: float) -> list[str]:
    """A share of the names, drawn by `DRAW`."""
    if not 0 <= share < 1:
        raise UsageError(f"held_out, dev, validation and label_noise are shares from 0 to below 1, not {share:g}")
    return random.Random(DRAW).sample(sorted(names), round(len(names) * share))


def at_most(questions: Sequence[Question], most: int) -> list[Question]:
    """The first so many questions on each document."""
    seen: Counter[str] = Counter()
    kept = []
    for question in questions:
        seen[question.doc] += 1
        if seen[question.doc] <= most:
            kept.append(question)
    return kept


def mislabelled(practice: list[Question], part: Part) -> list[Question]:
    """The practised questions, a share of them (`label_noise`) with the answers of another one of that share, which are not its own."""
    noisy_ids = set(drawn([question.id for question in practice], part.label_noise))
    noisy = [question for question in practice if question.id in noisy_ids]
    if part.label_noise and not noisy:
        raise UsageError(f"label_noise = {part.label_noise:g} is none of {counted(len(practice), 'questions')}")
    wrong: dict[str, tuple[str, ...]] = {}
    for place, question in enumerate(noisy):
        own = {qa.normalize(answer) for answer in question.answers}
        after = (noisy[(place + step) % len(noisy)].answers for step in range(1, len(noisy)))
        wrong[question.id] = next((them for them in after if own.isdisjoint(map(qa.normalize, them))), ())
        if not wrong[question.id]:
            raise UsageError(
                f"label_noise finds no wrong answer for question {question.id}", "all drawn have its answer"
            )
    return [replace(question, answers=wrong.get(question.id, question.answers)) for question in practice]
