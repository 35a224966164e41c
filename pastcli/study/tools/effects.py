"""What a study of tools says: figures by arm, effects over seeds and over tools, and where episodes break off.

Works on a results document alone. Per figure and arm: the difference to the arm it is compared with, query by query within a
seed; over seeds Student's interval; over tools the differences averaged over seeds, clustered by tool. The p-value is the
larger of both: a claim must hold over seeds and over tools (Berger 1982), Holm over the arms declared as tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import stats
from ...agent.summary import SCORES
from ..compared import against, effect_seeds, level_seeds, untrained
from ..effects import RESAMPLES, claims_of, declared_tests, over_both

FIGURES = (
    "first_call_recall",
    "first_call_f1",
    "first_call_valid",
    "argument_grounding",
    "valid_calls",
    "finished",
    "sopr_rules",
    "sopr_reference",
    "schema_recall",
)
"""Of every query: the share of required parameters that the first call named; its harmonic mean with the share of the named
arguments that the API has (results of older versions lack it); whether the call was accepted; the share of grounded
values; the share of calls that were valid; Finish reached; both judges. And F1 of the held-out questions about schemas."""

CLAIMED = ("first_call_recall", "sopr_rules", "sopr_reference")
JUDGED = ("sopr_rules", "sopr_reference")
NEWER = ("first_call_f1",)
CALLING = ("argument_grounding", "valid_calls")
"""Figures that have no value where nothing was called: levels over what there is, no paired differences."""


class Trials:
    """The answers of one results document, by arm and seed; a column has a value for every item of its kind, in order."""

    def __init__(self, document: Mapping[str, Any]):
        self.document = document
        self.arms: Mapping[str, Any] = document["study"]["arms"]

    def seeds(self, arm: str) -> list[str]:
        return list(self.document["arms"].get(arm, {}))

    def entry(self, arm: str, seed: str) -> Mapping[str, Any]:
        return self.document["arms"][arm][seed]

    def items(self, figure: str) -> Sequence[Mapping[str, Any]]:
        return self.document["asked"] if figure == "schema_recall" else self.document["items"]

    def column(self, arm: str, seed: str, figure: str) -> list[float | None]:
        """One figure of every item; [] where the arm has none (a program is asked no schema, an older version knew less)."""
        entry = self.entry(arm, seed)
        if figure == "schema_recall":
            rows = {row["id"]: row["f1"] for row in entry["recall"]}
            return [rows[item["id"]] for item in self.items(figure)] if rows else []
        if figure in NEWER and not all(figure in row for row in entry["figures"]):
            return []
        attempts: dict[str, list[float | None]] = {}
        for row in entry["figures"]:
            attempts.setdefault(row["query"], []).append(value_of(row, figure))
        return [_mean_of(attempts[item["id"]]) for item in self.items(figure)]


def value_of(row: Mapping[str, Any], figure: str) -> float | None:
    """A figure of one attempt, in [0, 1]."""
    if figure == "finished":
        return float(row["status"] == "finished")
    if figure == "valid_calls":
        return row["valid_calls"] / row["calls"] if row["calls"] else None
    if figure == "sopr_rules":
        return SCORES.get(row["verdict"])
    if figure == "sopr_reference":
        return SCORES.get(row["also"].get("reference", ""))
    return row[figure]


def summarise(document: Mapping[str, Any], confidence: float = 0.95) -> dict[str, Any]:
    """Levels, effects, the steps of an episode and the categories; only of arms that have answers."""
    trials = Trials(document)
    there = [arm for arm in trials.arms if trials.seeds(arm)]
    levels = {arm: _levels(trials, arm, confidence) for arm in there}
    effects = {arm: found for arm in there if (found := _effect(trials, arm, levels, confidence))}
    for figure in FIGURES:
        tests = [arm for arm in effects if trials.arms[arm]["test"] and figure in effects[arm]]
        corrected = stats.holm([effects[arm][figure]["p"] for arm in tests], declared_tests(trials.arms))
        for arm, p in zip(tests, corrected, strict=True):
            effects[arm][figure]["p_holm"] = p
    return {
        "confidence": confidence,
        "levels": levels,
        "effects": effects,
        "ungraded": {figure: n for figure in JUDGED if (n := _ungraded(trials, there, figure))},
        "steps": {arm: _steps(trials, arm) for arm in there},
        "categories": {arm: _categories(trials, arm, confidence) for arm in there},
    }


def _ungraded(trials: Trials, arms: Sequence[str], figure: str) -> int:
    """The queries on which a judge could not grade some arm's attempt: they are in no effect, and not in that arm's level."""
    columns = [trials.column(arm, seed, figure) for arm in arms for seed in trials.seeds(arm)]
    return sum(None in of_one for of_one in zip(*columns, strict=True))


def _levels(trials: Trials, arm: str, confidence: float) -> dict[str, Any]:
    """Mean of every figure over what has one, by seed, with Student's interval over seeds."""
    found: dict[str, Any] = {"seeds": trials.seeds(arm), "untrained": untrained(trials.document, arm)}
    seeds = level_seeds(trials.document, arm, trials.seeds(arm))
    for figure in FIGURES:
        whole = [trials.column(arm, seed, figure) for seed in seeds]
        if not all(whole):
            continue  # not the mean of those seeds alone that have it
        columns = [[v for v in column if v is not None] for column in whole]
        means = [_mean(column) for column in columns if column]
        if means:
            found[figure] = {"by_seed": means, **stats.t_interval(means, confidence)._asdict()}
    measured = [trials.entry(arm, seed).get("retained") for seed in trials.seeds(arm)]
    kept = [one for one in measured if one]
    if kept and len(kept) == len(measured):
        found["retained"] = {
            "perplexity_ratio": _mean([one["perplexity"] / one["base_perplexity"] for one in kept]),
            "kl": _mean([one["kl"] for one in kept]),
        }
    return found


def _effect(trials: Trials, arm: str, levels: Mapping[str, Any], confidence: float) -> dict[str, dict[str, Any]]:
    others = [name for name in against(trials.document, arm) if name in levels and name != arm]
    found = {}
    for figure in FIGURES:
        able = [name for name in others if figure in levels[name]]
        if able and figure in levels[arm] and figure not in CALLING:
            best = max(able, key=lambda name: levels[name][figure]["mean"])  # of several the better: the harder claim
            one = difference(trials, arm, best, figure, confidence, claims_of(trials.arms, arm))
            if one is not None:
                found[figure] = {"against": best, **one}
    return found


def difference(
    trials: Trials, arm: str, other: str, figure: str, confidence: float, claims: int
) -> dict[str, Any] | None:
    """`arm` minus `other`, over the items that both have a value of; None without a seed in common."""
    items = trials.items(figure)
    by_seed: list[dict[str, Any]] = []
    sums, counts = [0.0] * len(items), [0] * len(items)
    both = [seed for seed in trials.seeds(arm) if seed in trials.seeds(other)]
    for seed in effect_seeds(trials.document, arm, other, both):
        pair = zip(trials.column(arm, seed, figure), trials.column(other, seed, figure), strict=True)
        gains = []
        for place, (a, b) in enumerate(pair):
            if a is not None and b is not None:
                gains.append(a - b)
                sums[place], counts[place] = sums[place] + a - b, counts[place] + 1
        if gains:
            by_seed.append({"seed": seed, "mean": _mean(gains)})
    if not by_seed:
        return None
    rows = [place for place, count in enumerate(counts) if count]
    gains, tools = [sums[place] / counts[place] for place in rows], [items[place]["tool"] for place in rows]
    effect = over_both(by_seed, gains, tools, "tools", confidence, claims)
    return {**effect, "items": len(gains), "tools": len(set(tools))}


STEPS = (
    "said anything to call",
    "a function that exists",
    "the right function",
    "all required named",
    "accepted",
    "finished",
)
"""How far episodes come, each step among those of the step before; then solved, by either judge."""


def _steps(trials: Trials, arm: str) -> dict[str, float]:
    """The share of episodes that reach each step: where a weak model breaks."""
    rows = [row for seed in trials.seeds(arm) for row in trials.entry(arm, seed)["figures"]]
    tests: tuple[Callable[[Mapping[str, Any]], bool], ...] = (
        lambda row: row["calls"] > 0,
        lambda row: row["calls"] > row["hallucinated_calls"],
        lambda row: row["right_function"] == 1.0,
        lambda row: row["first_call_recall"] in (None, 1.0),
        lambda row: row["first_call_valid"] == 1.0,
        lambda row: row["status"] == "finished",
    )
    found, left = {}, rows
    for name, test in zip(STEPS, tests, strict=True):
        left = [row for row in left if test(row)]
        found[name] = len(left) / len(rows)
    found["solved (rules)"] = sum(row["verdict"] == "Solved" for row in left) / len(rows)
    found["solved (reference)"] = sum(row["also"].get("reference") == "Solved" for row in left) / len(rows)
    return found


def _categories(trials: Trials, arm: str, confidence: float) -> dict[str, Any]:
    """First-call recall and both judges by category: the mean over seeds, with an interval over the category's tools."""
    found: dict[str, Any] = {}
    items, seeds = trials.items("finished"), trials.seeds(arm)
    for category in dict.fromkeys(item["category"] for item in items):
        rows = [place for place, item in enumerate(items) if item["category"] == category]
        found[category] = {"queries": len(rows), "tools": len({items[place]["tool"] for place in rows})}
        for figure in CLAIMED:
            columns = [trials.column(arm, seed, figure) for seed in seeds]
            known = [place for place in rows if all(column[place] is not None for column in columns)]
            if known:
                means = [_mean([column[place] for column in columns]) for place in known]
                tools = [items[place]["tool"] for place in known]
                found[category][figure] = stats.mean_interval(means, confidence, RESAMPLES, 0, tools)._asdict()
    return found


def _mean_of(attempts: Sequence[float | None]) -> float | None:
    """Over the attempts at one query that have a value."""
    return _mean(attempts) if any(value is not None for value in attempts) else None


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
