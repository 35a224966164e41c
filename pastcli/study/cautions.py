"""What a study's questions cannot tell, whoever answers them: said before anything is trained, and beside the scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import qa, stats
from ..words import counted
from .effects import RESAMPLES, declared_tests

Items = Sequence[Mapping[str, Any]]


def of_questions(items: Items, most: int) -> list[str]:
    """What the reference answers keep from being measured, where an answer may have `most` tokens."""
    reported = [item for item in items if item["part"] != "dev"]
    # a word is a token at least, so these are too long by any tokenizer
    long = sum(min(len(answer.split()) for answer in item["answers"]) > most for item in reported)
    plain = sum(any(qa.normalize(answer) in ("yes", "no") for answer in item["answers"]) for item in reported)
    found = []
    if long:
        found.append(
            f"At least {long} of {counted(len(reported), 'questions')} have no reference of {most} words or fewer, and an answer ends at "
            f"{counted(most, 'tokens')}: none can hold it whole."
        )
    if plain:
        found.append(
            f"{plain} of {counted(len(reported), 'questions')} are answered by yes or no, which every answer with that word contains."
        )
    return found


def of_design(arms: Mapping[str, Any], items: Mapping[str, Items], confidence: float = 0.95) -> Iterator[str]:
    """What cannot come out however large an effect is: too few documents for the tests declared."""
    claims = declared_tests(arms)
    for about in dict.fromkeys(arm["about"] for arm in arms.values() if arm["test"]):
        documents = len({item["doc"] or item["id"] for item in items[about] if item["part"] != "dev"})
        least = min(1.0, claims * stats.least_sign_flip(documents, RESAMPLES))
        if least >= 1 - confidence:
            yield (
                f"of {counted(documents, 'documents')} no gain can be shown, however large: the smallest p is {least:.2g} "
                f"after Holm's correction for {counted(claims, 'tests')}"
            )
