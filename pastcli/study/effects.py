"""What the answers say: effects within a seed, then over seeds, with intervals; Holm over the arms declared as tests.

Works on a results document alone (`run.collect`), so that a table can be made again anywhere. Per metric and arm:

1. within a seed, the difference to the arm it is compared with, question by question, interval by document;
2. over seeds, Student's interval of these differences: would other seeds of the same training say the same?
3. over documents, the differences averaged over seeds, signs flipped by document: would other documents?

The p-value is the larger of the two of 2 and 3: a claim must hold over seeds and over documents (Berger 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import qa, stats
from . import continual
from .compared import against, effect_seeds, level_seeds, untrained

METRICS = ("exact", "contains", "f1")
CLAIMED = ("contains", "f1")
"""Metrics a claim is judged by: recall, which does not mind length, and the paper's overlap."""

RESAMPLES = 10_000
NIL = 0.01
"""A control is nil if its whole interval lies within this of zero: one point."""


class Answers:
    """The answers of one results document, by arm, seed and scale; only questions of a `part` count."""

    def __init__(self, document: Mapping[str, Any]):
        self.document = document
        self.arms: Mapping[str, Any] = document["study"]["arms"]
        self.scales = {name: self._chosen(name) for name in self.arms if document["arms"].get(name)}

    def asked(self, arm: str) -> str:
        return self.arms[arm]["about"]

    def rows(self, arm: str, keep: Mapping[str, str] | None = None) -> list[int]:
        """Indices of the questions an arm is judged by: the test part of the target, or every asked one of the source; of
        these its stratum, where it has one."""
        wanted = keep or self.judged_by(arm)
        items = self.document["items"][self.asked(arm)]
        return [i for i, item in enumerate(items) if all(item.get(key) == value for key, value in wanted.items())]

    def judged_by(self, arm: str) -> dict[str, str]:
        """What every item that an arm is judged by has."""
        kind, colon, value = self.within(arm).partition(": ")
        return {**({} if self.asked(arm) == "source" else {"part": "test"}), **({kind: value} if colon else {})}

    def within(self, arm: str) -> str:
        """The stratum that an arm is judged in, as the study declared it; "" for all questions."""
        return self.arms[arm].get("within", "")

    def level(self, arm: str, metric: str, rows: Sequence[int]) -> float:
        """Mean over an arm's seeds."""
        return _mean([_mean(self.column(arm, seed, metric, rows)) for seed in self.seeds(arm)])

    def docs(self, arm: str, rows: Sequence[int]) -> list[str]:
        items = self.document["items"][self.asked(arm)]
        return [items[i]["doc"] or items[i]["id"] for i in rows]

    def seeds(self, arm: str) -> list[str]:
        return self.scales[arm]["seeds"] if arm in self.scales else []

    def column(self, arm: str, seed: str, name: str, rows: Sequence[int], scale: str = "") -> list[Any]:
        values = self.document["arms"][arm][seed][scale or self.scales[arm]["scale"]]["answers"][name]
        return [values[i] for i in rows]

    def kept(self, arm: str, seed: str) -> dict[str, float] | None:
        """What the arm kept of the base at a seed, where it was measured."""
        return self.document["arms"][arm][seed][self.scales[arm]["scale"]].get("retained")

    def _chosen(self, arm: str) -> dict[str, Any]:
        """The scale of an arm: its only one, or of a grid the one with the best mean F1 over seeds on the dev questions.
        Seeds at which the grid is not complete yet do not count."""
        wanted = self.arms[arm]["scale"]
        grid = [f"{float(scale):g}" for scale in (wanted if isinstance(wanted, list) else [wanted])]
        complete = [seed for seed, scales in self.document["arms"][arm].items() if all(one in scales for one in grid)]
        if len(grid) == 1 or not complete:
            return {"scale": grid[0], "seeds": complete}
        rows = self.rows(arm, {"part": "dev"})
        means = {
            scale: _mean([_mean(self.column(arm, seed, "f1", rows, scale)) for seed in complete]) for scale in grid
        }
        best = max(means, key=lambda scale: (means[scale], -abs(float(scale))))
        return {"scale": best, "seeds": complete, "dev_f1": means}


def summarise(document: Mapping[str, Any], confidence: float = 0.95) -> dict[str, Any]:
    """Scores, effects and the sentences they carry; only of arms that have answers."""
    answers = Answers(document)
    there = [arm for arm in answers.arms if answers.seeds(arm)]
    scores = {arm: _scores(answers, arm, confidence) for arm in there}
    effects = {arm: found for arm in there if (found := effect(answers, arm, scores, confidence))}
    tests = [arm for arm in effects if answers.arms[arm]["test"]]
    for metric in METRICS:
        corrected = stats.holm([effects[arm]["metrics"][metric]["p"] for arm in tests], declared_tests(answers.arms))
        for arm, p in zip(tests, corrected, strict=True):
            effects[arm]["metrics"][metric]["p_holm"] = p
    return {
        "confidence": confidence,
        "scores": scores,
        "effects": effects,
        "echo": {about: _echo(items) for about, items in document["items"].items()},
        "scales": {arm: found for arm, found in answers.scales.items() if "dev_f1" in found},
        "strata": strata(answers, effects, confidence),
        "continual": continual.summarise(document, scores, confidence),
    }


def _echo(items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a model would score that only repeats the question: a skill of speaking that knows nothing."""
    pairs = [(item["question"], item["answers"]) for item in items if item["part"] != "dev"]
    score = {"f1": qa.f1, "contains": qa.contains}
    return {metric: _mean([score[metric](*pair) for pair in pairs]) for metric in CLAIMED}


def _scores(answers: Answers, arm: str, confidence: float) -> dict[str, Any]:
    """Mean of every metric over the seeds, with Student's interval; mean length of an answer in tokens; empty answers."""
    rows, seeds = answers.rows(arm), level_seeds(answers.document, arm, answers.seeds(arm))
    found: dict[str, Any] = {
        "seeds": answers.seeds(arm),
        "untrained": untrained(answers.document, arm),
        "questions": len(rows),
        "documents": len(set(answers.docs(arm, rows))),
    }
    for metric in METRICS:
        means = [_mean(answers.column(arm, seed, metric, rows)) for seed in seeds]
        found[metric] = {"by_seed": means, **stats.t_interval(means, confidence)._asdict()}
    found["tokens"] = _mean([_mean(answers.column(arm, seed, "tokens", rows)) for seed in seeds])
    found["empty"] = _mean(
        [float(not text) for seed in seeds for text in answers.column(arm, seed, "prediction", rows)]
    )
    found["cut"] = _mean(
        [float(end == "length") for seed in seeds for end in answers.column(arm, seed, "finish", rows)]
    )
    if within := answers.within(arm):
        found["within"] = within
    kept = [one for seed in seeds if (one := answers.kept(arm, seed))]
    if len(kept) == len(seeds):
        found["retained"] = {
            "perplexity_ratio": _mean([one["perplexity"] / one["base_perplexity"] for one in kept]),
            "kl": _mean([one["kl"] for one in kept]),
            "kl_everyday": _mean([one["kl_everyday"] for one in kept]),
        }
    return found


def effect(answers: Answers, arm: str, scores: Mapping[str, Any], confidence: float) -> dict[str, Any] | None:
    """The arm minus what it is compared with; None for a reference, or where the two were never asked the same."""
    others = [
        name
        for name in against(answers.document, arm)
        if name in scores and name != arm and answers.asked(name) == answers.asked(arm)
    ]
    if not others:
        return None
    metrics, rows, claims = {}, answers.rows(arm), claims_of(answers.arms, arm)
    for metric in METRICS:
        # of several the better on these questions: the harder claim
        best = max(others, key=lambda name: answers.level(name, metric, rows))
        found = difference(answers, arm, best, metric, rows, confidence, claims)
        if found is not None:
            metrics[metric] = {"against": best, **found}
    if len(metrics) < len(METRICS):
        return None
    found = {"against": others, "metrics": metrics}
    other = metrics["f1"]["against"]
    pairs = [(answers.kept(arm, seed), answers.kept(other, seed)) for seed in _shared(answers, arm, other)]
    both = [mine["perplexity"] / theirs["perplexity"] - 1 for mine, theirs in pairs if mine and theirs]
    if len(both) == len(pairs):  # the price: how much more the neutral text surprises the model
        found["perplexity_change"] = _mean(both)
    return found


def declared_tests(arms: Mapping[str, Any]) -> int:
    """How many arms are declared as tests, those that failed or were not run among them."""
    return sum(bool(arm["test"]) for arm in arms.values())


def claims_of(arms: Mapping[str, Any], arm: str) -> int:
    """By how many declared tests Holm's correction divides what an arm's p-value is held against, at worst."""
    return declared_tests(arms) if arms[arm]["test"] else 1


def difference(
    answers: Answers, arm: str, other: str, metric: str, rows: Sequence[int], confidence: float, claims: int = 1
) -> dict[str, Any] | None:
    """Effect of `arm` over `other` on one metric; None without a seed that both have."""
    seeds = _shared(answers, arm, other)
    if not seeds or not rows:
        return None
    docs = answers.docs(arm, rows)
    by_seed, per_question = [], [0.0] * len(rows)
    for seed in seeds:
        pair = answers.column(arm, seed, metric, rows), answers.column(other, seed, metric, rows)
        gain = stats.paired_interval(*pair, confidence, RESAMPLES, 0, docs)
        by_seed.append({"seed": seed, **gain._asdict()})
        per_question = [sofar + (a - b) / len(seeds) for sofar, a, b in zip(per_question, *pair, strict=True)]
    return over_both(by_seed, per_question, docs, "documents", confidence, claims)


def over_both(
    by_seed: Sequence[Mapping[str, Any]],
    gains: Sequence[float],
    clusters: Sequence[str],
    unit: str,
    confidence: float,
    claims: int = 1,
) -> dict[str, Any]:
    """An effect from its means at each seed and from its `gains` averaged over seeds, one an item, clustered by `unit`.

    Student's interval over seeds, and one over the units; where all seeds agree to the last digit (`agree`) nothing is known of
    their spread, and the units judge alone. The p-value is the larger of both: a claim must hold over seeds
    and over units (Berger 1982). `detectable` is the effect that both tests would have shown in 80 of 100 repeats, after Holm's
    correction for so many `claims`; None where nothing differs at all (`same`), or where they show none of any size: `least_p` is
    the smallest p-value, so corrected, that so few units can have.
    """
    means = [one["mean"] for one in by_seed]
    over = stats.mean_interval(gains, confidence, RESAMPLES, 0, clusters)
    p_units = stats.sign_flip(gains, [0.0] * len(gains), RESAMPLES, 0, clusters)
    p_seeds = stats.t_test(means)
    estimate = stats.t_interval(means, confidence)
    agree = len(means) > 1 and estimate.low is None
    errors = [stats.standard_error(means), stats.standard_error(gains, clusters)]
    detectable = stats.smallest_detectable(errors, (1 - confidence) / claims)
    least = min(1.0, claims * stats.least_sign_flip(len(set(clusters)), RESAMPLES))
    return {
        **(estimate._replace(low=over.low, high=over.high) if agree else estimate)._asdict(),
        "agree": agree,
        "by_seed": list(by_seed),
        f"over_{unit}": [over.low, over.high],
        "p_seeds": p_seeds,
        f"p_{unit}": p_units,
        "p": max(p_units, p_seeds if p_seeds is not None else 0.0),
        "least_p": least,
        "same": not any(abs(gain) > stats.NOTHING for gain in (*means, *gains)),
        "detectable": detectable if detectable and least < 1 - confidence else None,
    }


def _shared(answers: Answers, arm: str, other: str) -> Sequence[str]:
    """Seeds that both arms have."""
    theirs = set(answers.seeds(other))
    both = [seed for seed in answers.seeds(arm) if seed in theirs]
    return effect_seeds(answers.document, arm, other, both)


def strata(answers: Answers, effects: Mapping[str, Any], confidence: float) -> dict[str, Any]:
    """The effects again, within every stratum of the questions (template, how often stated, practised or held out)."""
    found: dict[str, Any] = {}
    for arm, whole in effects.items():
        if answers.within(arm):
            continue
        items = answers.document["items"][answers.asked(arm)]
        base = {} if answers.asked(arm) == "source" else {"part": "test"}
        kinds = ["part"] if answers.asked(arm) == "source" else ["template", "stated"]
        for kind in kinds:
            for value in sorted({item[kind] for item in items if kind in item}):
                rows = answers.rows(arm, {**base, kind: value})
                for metric in CLAIMED:
                    got = difference(answers, arm, whole["metrics"][metric]["against"], metric, rows, confidence)
                    if got is not None:
                        place = found.setdefault(arm, {}).setdefault(f"{kind}: {value}", {"questions": len(rows)})
                        place[metric] = {key: got[key] for key in ("mean", "low", "high", "p")}
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
