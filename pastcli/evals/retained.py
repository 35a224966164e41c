"""What a model kept of its base: the price of an injection, to be read beside its gain.

On a fixed neutral text and on the everyday questions that belong to no document: the perplexity, and how far the
next-token distributions have moved, as KL(base || model) in nats a token (what METHOD 2's rounds and 6's λ trade against).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from ..api import ChatModel, ScoresTexts

EVERYDAY = 40
"""Everyday questions read: the first so many of the built-in set, each with its answer."""


@dataclass(frozen=True)
class Retained:
    """`perplexity` on the neutral text; `kl` and `kl_everyday` of the base from the model, in nats a token."""

    perplexity: float
    base_perplexity: float
    kl: float
    kl_everyday: float


def neutral_texts() -> list[str]:
    """The fixed text, one string a paragraph."""
    text = (resources.files(__package__) / "neutral.txt").read_text(encoding="utf-8")
    return [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]


def everyday_texts() -> list[str]:
    """The first `EVERYDAY` pairs of the built-in answer format, as texts."""
    lines = (resources.files("pastcli.ingest") / "qa_format.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines[:EVERYDAY]]
    return [pair["prompt"] + pair["completion"] for pair in pairs]


class Yardstick:
    """The base's distributions, computed once; `measure` compares another model of the same vocabulary with them."""

    def __init__(self, base: ScoresTexts):
        self._texts = neutral_texts(), everyday_texts()
        self._base = [base.log_probabilities(texts) for texts in self._texts]

    def measure(self, model: ScoresTexts) -> Retained:
        """Raises `ValueError` if the model cuts the texts into other tokens: the two could not be compared."""
        found = [model.log_probabilities(texts) for texts in self._texts]
        divergences = [_divergence(base, other) for base, other in zip(self._base, found, strict=True)]
        return Retained(perplexity(found[0]), perplexity(self._base[0]), *divergences)


def yardstick(base: ChatModel) -> Yardstick | None:
    """None where the backend cannot give probabilities of texts."""
    return Yardstick(base) if isinstance(base, ScoresTexts) else None


Scored = Sequence[tuple[Sequence[int], np.ndarray]]


def perplexity(scored: Scored) -> float:
    """exp of the mean negative log-probability of the tokens after the first of each text."""
    losses = [-logs[np.arange(len(ids) - 1), np.asarray(ids[1:])].astype(np.float64) for ids, logs in scored]
    return math.exp(float(np.concatenate(losses).mean()))


def _divergence(base: Scored, other: Scored) -> float:
    total, count = 0.0, 0
    for (ids, before), (others, after) in zip(base, other, strict=True):
        if list(ids) != list(others) or before.shape != after.shape:
            raise ValueError("the two models do not share a vocabulary")
        total += float((np.exp(before) * (before - after)).sum(axis=1).astype(np.float64).sum())
        count += len(before)
    return total / count
