"""How long what is left of a study takes: by what its stages took here, before that by what is assumed of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..environment import cores, has_card
from ..words import duration, durations
from .node import Node
from .store import RATED_BYTES, Store

PROCESSORS = {"generate": 30.0, "sft": 250.0, "rl": 250.0, "distill": 250.0, "answers": 700.0}
"""Tokens a second assumed before anything was measured: a model of 135 million weights on two cores without a GPU."""

CARD = {"generate": 250.0, "sft": 6000.0, "rl": 1600.0, "distill": 1600.0, "answers": 5000.0}
"""The same on a card. `sft` and `rl` are what each of fifteen trainings side by side did on an H200; the others are low guesses."""

CARD_BYTES = 3e10
"""Size in float32 up to which a card is assumed to be as fast: smaller models leave most of it idle."""

GUESSED, ONCE = 2.0, 1.3
"""Factors by which a stage may be slower or faster than what is assumed of it, and at least than what was measured."""

FIXED = 20.0
"""Seconds that any command takes beside its tokens: imports, reading and writing a model."""


def assumed(base_bytes: float, card: bool | None = None) -> dict[str, float]:
    """Tokens a second by stage for a base of that size in float32; where nobody says, on a card if this machine has one."""
    on_card = has_card() if card is None else card
    rates, size = (CARD, CARD_BYTES) if on_card else (PROCESSORS, RATED_BYTES)
    return {stage: rate * min(1.0, size / max(base_bytes, 1.0)) for stage, rate in rates.items()}


def measured(nodes: Sequence[Node], store: Store) -> dict[str, float]:
    """Tokens a second of the stages of which something was made before."""
    return {
        stage: sum(work for work, _ in made) / sum(spent for _, spent in made)
        for stage in PROCESSORS
        if (made := _made(stage, nodes, store))
    }


def _made(stage: str, nodes: Sequence[Node], store: Store) -> list[tuple[float, float]]:
    """(tokens, seconds beside what any command takes) of the nodes of a stage that are done."""
    counted = (node for node in nodes if node.stage == stage and node.work and store.done(node))
    found = [(node.work, store.seconds(node)) for node in counted]
    return [(work, max(1.0, seconds - FIXED / 2)) for work, seconds in found if seconds]


def rates_of(nodes: Sequence[Node], store: Store) -> dict[str, float]:
    """Tokens a second by stage: measured, else assumed."""
    return assumed(store.base_bytes) | measured(nodes, store)


def estimate(node: Node, rates: Mapping[str, float]) -> float:
    """Seconds of one node, roughly."""
    return FIXED + node.work / rates.get(node.stage, 1.0) if node.work else FIXED


def remaining(left: Sequence[Node], nodes: Sequence[Node], store: Store, jobs: int) -> float:
    """Seconds that `left` takes, `jobs` at a time. What was measured here was measured side by side, and what is assumed of
    a card too; on processors one stage alone is assumed to have all cores, so that two at once take twice as long."""
    made = measured(nodes, store)
    rates, shared = assumed(store.base_bytes) | made, set(PROCESSORS if has_card() else made)
    return sum(estimate(node, rates) / (jobs if node.stage in shared else 1) for node in left)


def between(left: Sequence[Node], nodes: Sequence[Node], store: Store, jobs: int) -> tuple[float, float]:
    """(least, most) seconds that `left` takes: as fast and as slow as its stages were here, where nothing was made yet by
    `GUESSED`; and slower by what now waits for the processors besides, which a card does not care about."""
    waiting = 0.0 if has_card() else os.getloadavg()[0] / cores()
    least = most = 0.0
    for stage in dict.fromkeys(node.stage for node in left):
        seconds = remaining([node for node in left if node.stage == stage], nodes, store, jobs)
        made = _made(stage, nodes, store)
        rates = [work / spent for work, spent in made]
        mean = sum(work for work, _ in made) / sum(spent for _, spent in made) if made else 0.0
        fast, slow = (max(rates) / mean, mean / min(rates)) if made else (GUESSED, GUESSED)
        least += seconds / max(fast, ONCE)
        most += seconds * max(slow, ONCE)
    return least, most * (1 + waiting)


def told(left: Sequence[Node], nodes: Sequence[Node], store: Store, jobs: int) -> dict[str, Any]:
    """The time of a plan, for people and in figures."""
    seconds, (least, most) = remaining(left, nodes, store, jobs), between(left, nodes, store, jobs)
    if not left:
        return {"time_about": "none", "seconds_about": 0, "seconds_between": [0, 0]}
    return {
        "time_about": f"{duration(seconds)} ({durations(least, most)})",
        "seconds_about": round(seconds),
        "seconds_between": [round(least), round(most)],
    }


def mean_seconds(nodes: Sequence[Node], store: Store) -> dict[str, float]:
    """What one run of each stage took here: the cost of an update beside that of RL."""
    made: dict[str, list[float]] = {}
    for node in nodes:
        seconds = store.seconds(node) if store.done(node) else None
        if seconds:
            made.setdefault(node.stage, []).append(seconds)
    return {stage: round(sum(found) / len(found), 1) for stage, found in made.items()}
