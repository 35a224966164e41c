"""What an arm is compared with, and over which seeds: what has no trained part is one model, and its repeats are no sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def against(document: Mapping[str, Any], arm: str) -> list[str]:
    """The arms that an arm is compared with: one of its own, the better of several, or the reference."""
    arms = document["study"]["arms"]
    named = arms[arm]["against"] or document["study"]["reference"]
    return [named] if named in arms else named.split("|")


def made_before(document: Mapping[str, Any], arm: str) -> list[str]:
    """The vectors of an arm that are files, each of one training that this study did not repeat."""
    vectors = document["study"].get("vectors", {})
    names = [factor_of(text)[0] for text in document["study"]["arms"][arm].get("add") or []]
    return [name for name in names if vectors.get(name, {}).get("kind") == "file"]


def factor_of(text: str) -> tuple[str, float]:
    """(vector, factor) of an arm's `add`, which the study has checked."""
    name, colon, factor = str(text).rpartition(":")
    return (name, float(factor)) if colon else (factor, 1.0)


def untrained(document: Mapping[str, Any], arm: str) -> bool:
    """Whether an arm is the same at every seed: the base, or the know-nothing program, by itself or with vectors made before."""
    declared = document["study"]["arms"][arm]
    added = declared.get("add") or []
    return (
        declared.get("model") in ("base", "know-nothing")
        and len(made_before(document, arm)) == len(added)
        and (not added or declared.get("control", "none") in ("none", "zero"))
    )


def level_seeds(document: Mapping[str, Any], arm: str, seeds: Sequence[str]) -> Sequence[str]:
    """The seeds whose mean is a level of its own: one of an untrained arm, whose repeats are no sample to take an interval of."""
    return seeds[:1] if untrained(document, arm) else seeds


def effect_seeds(document: Mapping[str, Any], arm: str, other: str, both: Sequence[str]) -> Sequence[str]:
    """Of the seeds that two arms have, those whose difference is one of its own: a single one where neither was trained."""
    return both[:1] if untrained(document, arm) and untrained(document, other) else both
