"""Several models on the same questions: means with intervals, and paired tests against one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import output, stats
from ..config import EvalConfig
from ..errors import PastError, UsageError
from .closed_book import METRICS, QAResult

JUDGE = "judge"
"""The metric that a judge's model gives, where one was asked: the share of answers that it finds right."""

_YES_NO = ("exact", "contains", JUDGE)
"""Metrics that are 0 or 1: McNemar's exact test; F1 is graded: sign flips."""

FEWEST_DOCUMENTS = 2
"""One document says nothing of another, so its questions count by themselves. With fewer than six not even a gain on every
one could be told from chance (2 in 2^6 sign patterns: p = 0.03), and the p-value says so."""


@dataclass(frozen=True)
class Difference:
    """Model minus reference on one metric: the mean with its paired interval, and p-values.

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

    `tokens` is the mean length of a model's answers, `empty` how many of them say nothing. Where several questions are on
    one document and there are documents enough, `units` is "documents": these are drawn again, and signs flipped by them,
    because questions on one document are not independent. Otherwise it is "questions".
    """

    questions: int
    documents: int
    units: str
    ungradable: int
    scores: Mapping[str, Mapping[str, stats.Estimate]]
    tokens: Mapping[str, float]
    empty: Mapping[str, int]
    reference: str | None
    differences: Mapping[str, Mapping[str, Difference]]

    def to_dict(self) -> dict[str, Any]:
        models = {
            label: {
                **{metric: value._asdict() for metric, value in metrics.items()},
                "tokens": self.tokens[label],
                "empty": self.empty[label],
            }
            for label, metrics in self.scores.items()
        }
        differences = {
            label: {metric: asdict(value) for metric, value in metrics.items()}
            for label, metrics in self.differences.items()
        }
        return {
            "questions": self.questions,
            "documents": self.documents,
            "units": self.units,
            "ungradable": self.ungradable,
            "reference": self.reference,
            "models": models,
            "differences": differences,
        }


def compare(results: Mapping[str, QAResult], config: EvalConfig, reference: str | None = None) -> Comparison:
    """Tabulate models that answered the same questions; `reference` is the label the others are tested against."""
    if reference is not None and reference not in results:
        raise UsageError(f"no model labelled {reference!r}", f"labels: {', '.join(results)}")
    first = next(iter(results.values()))
    asked = [answer.id for answer in first.answers]
    if any([answer.id for answer in result.answers] != asked for result in results.values()):
        raise UsageError("the models answered different questions", "evaluate them in one `past eval`")
    documents, groups = _documents(first)
    metrics = [*METRICS, JUDGE] if config.judge_model else list(METRICS)
    on = {metric: _judged(results) if metric == JUDGE else results for metric in metrics}
    by = {metric: _documents(next(iter(on[metric].values())))[1] for metric in metrics}
    scores = {label: {m: _interval(on[m][label], m, by[m], config) for m in metrics} for label in results}
    tokens = {label: result.tokens for label, result in results.items()}
    empty = {label: result.empty for label, result in results.items()}
    others = [label for label in results if label != reference] if reference is not None else []
    differences: dict[str, dict[str, Difference]] = {label: {} for label in others}
    for metric in metrics if others else ():
        theirs, groups_of = on[metric][str(reference)], by[metric]
        p_values = [_test(on[metric][label], theirs, metric, groups_of, config) for label in others]
        for label, p, corrected in zip(others, p_values, stats.holm(p_values), strict=True):
            pair = on[metric][label].scores(metric), theirs.scores(metric)
            gain = stats.paired_interval(*pair, config.confidence, config.resamples, config.seed, groups_of)
            differences[label][metric] = Difference(*gain, p, corrected)
    units = "questions" if groups is None else "documents"
    return Comparison(len(asked), documents, units, first.ungradable, scores, tokens, empty, reference, differences)


def _judged(results: Mapping[str, QAResult]) -> dict[str, QAResult]:
    """The same without the questions that the judge could not grade for some model: it is asked about all or none of them."""
    missing = {answer.id for result in results.values() for answer in result.answers if answer.judge is None}
    left = {label: result.without(missing) for label, result in results.items()}
    if not next(iter(left.values())).answers:
        raise PastError("the judge graded no question for all of the models", "is its model up to it?")
    if missing:
        output.warn(f"the judge left {len(missing)} question(s) ungraded: `judge` is over the others")
    return left


def _documents(result: QAResult) -> tuple[int, list[str] | None]:
    """How many documents the questions are on (0: they do not say), and that of each question where this matters."""
    docs = [answer.doc for answer in result.answers]
    count = len(set(docs)) if all(docs) else 0
    return count, docs if FEWEST_DOCUMENTS <= count < len(docs) else None


def _interval(result: QAResult, metric: str, groups: list[str] | None, config: EvalConfig) -> stats.Estimate:
    """Scores lie in [0, 1] and often near 0, where an interval that is even on both sides misses too often: Wilson's by the
    effective number of questions, also for the graded F1."""
    values = result.scores(metric)
    if groups is None and metric in _YES_NO:
        return stats.wilson(sum(values), len(values), config.confidence)
    return stats.clustered_share(values, range(len(values)) if groups is None else groups, config.confidence)


def _test(result: QAResult, reference: QAResult, metric: str, groups: list[str] | None, config: EvalConfig) -> float:
    pair = result.scores(metric), reference.scores(metric)
    if metric in _YES_NO and groups is None:
        return stats.mcnemar(*pair)
    return stats.sign_flip(*pair, config.resamples, config.seed, groups)


def label_for(name: str, stage: str = "", control: str = "none") -> str:
    """A model's label when the user gave none: the kind of control, else the stage that made it, else its name."""
    if stage == "inject" and control != "none":
        return f"{control} control"
    return stage or name.rstrip("/").rsplit("/", 1)[-1] or name
