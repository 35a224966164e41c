"""Several models on the same questions: means with intervals, and paired tests against one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import stats
from ..config import EvalConfig
from ..errors import UsageError
from .closed_book import METRICS, QAResult

_YES_NO = ("exact", "contains")
"""Metrics that are 0 or 1: Wilson's interval and McNemar's exact test; F1 is graded: bootstrap and sign flips."""


@dataclass(frozen=True)
class Difference:
    """Model minus reference on one metric: the mean with its paired bootstrap interval, and p-values.

    `p` tests "no difference" over questions; `p_holm` corrects it for all models compared on this metric.
    """

    mean: float
    low: float | None
    high: float | None
    p: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """`scores[label][metric]` for every model; `differences[label][metric]` for every model but the reference.

    `tokens` is the mean length of a model's answers, `empty` how many of them say nothing.
    """

    questions: int
    ungradable: int
    scores: Mapping[str, Mapping[str, stats.Estimate]]
    tokens: Mapping[str, float]
    empty: Mapping[str, int]
    reference: str | None
    differences: Mapping[str, Mapping[str, Difference]]

    def to_dict(self) -> dict[str, Any]:
        models = {
            label: {**{metric: value._asdict() for metric, value in metrics.items()},
                    "tokens": self.tokens[label], "empty": self.empty[label]}
            for label, metrics in self.scores.items()
        }  # fmt: skip
        differences = {
            label: {metric: asdict(value) for metric, value in metrics.items()}
            for label, metrics in self.differences.items()
        }
        return {"questions": self.questions, "ungradable": self.ungradable, "reference": self.reference,
                "models": models, "differences": differences}  # fmt: skip


def compare(results: Mapping[str, QAResult], config: EvalConfig, reference: str | None = None) -> Comparison:
    """Tabulate models that answered the same questions; `reference` is the label the others are tested against."""
    if reference is not None and reference not in results:
        raise UsageError(f"no model labelled {reference!r}", f"labels: {', '.join(results)}")
    first = next(iter(results.values()))
    asked = [answer.id for answer in first.answers]
    if any([answer.id for answer in result.answers] != asked for result in results.values()):
        raise UsageError("the models answered different questions", "evaluate them in one `past eval`")
    scores = {label: {m: _interval(result, m, config) for m in METRICS} for label, result in results.items()}
    tokens = {label: result.tokens for label, result in results.items()}
    empty = {label: result.empty for label, result in results.items()}
    others = [label for label in results if label != reference] if reference is not None else []
    differences: dict[str, dict[str, Difference]] = {label: {} for label in others}
    for metric in METRICS if others else ():
        p_values = [_test(results[label], results[str(reference)], metric, config) for label in others]
        for label, p, corrected in zip(others, p_values, stats.holm(p_values), strict=True):
            pair = results[label].scores(metric), results[str(reference)].scores(metric)
            gain = stats.paired_bootstrap(*pair, config.confidence, config.resamples, config.seed)
            differences[label][metric] = Difference(*gain, p, corrected)
    return Comparison(len(asked), first.ungradable, scores, tokens, empty, reference, differences)


def _interval(result: QAResult, metric: str, config: EvalConfig) -> stats.Estimate:
    values = result.scores(metric)
    if metric in _YES_NO:
        return stats.wilson(sum(values), len(values), config.confidence)
    return stats.bootstrap_mean(values, config.confidence, config.resamples, config.seed)


def _test(result: QAResult, reference: QAResult, metric: str, config: EvalConfig) -> float:
    pair = result.scores(metric), reference.scores(metric)
    return stats.mcnemar(*pair) if metric in _YES_NO else stats.sign_flip(*pair, config.resamples, config.seed)


def label_for(name: str, stage: str = "", control: str = "none") -> str:
    """A model's label when the user gave none: the kind of control, else the stage that made it, else its name."""
    if stage == "inject" and control != "none":
        return f"{control} control"
    return stage or name.rstrip("/").rsplit("/", 1)[-1] or name
