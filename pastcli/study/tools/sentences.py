"""What the numbers of a study of tools say in sentences, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...verdict import FEWEST_SEEDS, unfinished
from ...words import counted
from ..sentences import failed, gain, none_could_be, of_before, seeds, unjudged
from .effects import CLAIMED

NAMES = {
    "first_call_recall": "first-call recall",
    "first_call_f1": "first-call F1",
    "first_call_valid": "first call valid",
    "argument_grounding": "grounding",
    "valid_calls": "valid calls",
    "finished": "finished",
    "sopr_rules": "SoPR rules",
    "sopr_reference": "SoPR reference",
    "schema_recall": "schema recall",
}
NIL = 0.01
"""A control is nil if its whole interval lies within this of zero: one point."""

TARGET = 0.10
"""The paper's headline on unseen categories: ten points."""

EQUAL = 1.5
"""Tokens within this factor are about equal compute."""


def sentences(document: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[str]:
    """One a claim, one a control, what broke where, and what was not run."""
    arms = document["study"]["arms"]
    for arm, effect in summary["effects"].items():
        if arms[arm]["test"]:
            yield _claim(arm, effect, summary, len(document["study"]["seeds"])) + of_before(document, arm)
        elif arms[arm]["control"] != "none":
            yield _control(arm, effect, summary["levels"])
    asked = len(document["items"])
    for name, count in summary["ungraded"].items():
        yield f"{NAMES[name]} is of {asked - count} of {counted(asked, 'queries')}: it could not be graded on the others."
    reference = document["study"]["reference"]
    if reference in summary["steps"]:
        yield f"How far the episodes of {reference} come: {_came(summary['steps'][reference])}."
    yield from _compared_compute(document["compute"])
    wanted = len(document["study"]["seeds"])
    for arm in arms:
        count = len(summary["levels"][arm]["seeds"]) if arm in summary["levels"] else 0
        if count < wanted:
            none = "failed" if arm in document.get("failed", {}) else "declared and not run"
            yield f"{arm}: {count} of {wanted} seeds were run." if count else f"{arm}: {none}."
    yield from failed(document)


def _compared_compute(compute: Mapping[str, Any]) -> Iterator[str]:
    """What imitation was trained on beside RL: with a part of the compute it is no equal."""
    tokens, seconds = (
        {what: _a_seed(compute, f"{what} source", one) for what in ("imitation", "rl")} for one in ("tokens", "seconds")
    )
    if not tokens["imitation"] or not tokens["rl"]:
        return
    ratio = tokens["imitation"] / tokens["rl"]
    verdict = "about equal compute" if 1 / EQUAL <= ratio <= EQUAL else "not equal compute"
    yield (
        f"Imitation was trained on {tokens['imitation']:,.0f} tokens a seed ({seconds['imitation']:,.0f} s), RL on {tokens['rl']:,.0f} "
        f"({seconds['rl']:,.0f} s): {verdict}."
    )


def _a_seed(compute: Mapping[str, Any], label: str, figure: str) -> float:
    """The mean over the seeds of a training; 0 where it was not made, or did not count."""
    found = [one[figure] for name, one in compute.items() if name.startswith(f"{label}, seed") and one[figure]]
    return sum(found) / len(found) if found else 0.0


def _claim(arm: str, effect: Mapping[str, Any], summary: Mapping[str, Any], declared: int) -> str:
    """Shown only where p after Holm and both intervals agree; a gain of a judge alone is called what it is."""
    there = [name for name in CLAIMED if name in effect]
    if not there:
        return f"{arm}: nothing of it could be compared."
    parts = [f"{NAMES[name]} {gain(effect[name])} over {effect[name]['against']}" for name in there]
    count = len(effect[there[0]]["by_seed"])
    text = f"{arm}: {'; '.join(parts)}; {seeds(count)}, {counted(effect[there[0]]['tools'], 'tools')}. "
    if count < FEWEST_SEEDS:
        return text + f"{seeds(count).capitalize()} {'is' if count == 1 else 'are'} too few: no claim."
    if count < declared:
        return text + f"{unfinished(count, declared)}."
    shown = [name for name in there if _is_shown(effect[name], summary["confidence"])]
    judged = [name for name in shown if name.startswith("sopr")]
    if judged and "first_call_recall" not in shown:
        return (
            text + f"A gain is shown on {_and(judged)} and none on first-call recall: the judge may have been bought."
        )
    if all(effect[name]["same"] for name in there):
        return f"{text}No gain is shown: every query has what it has under {effect[there[0]]['against']}, which compares nothing."
    if not shown:
        return f"{text}No gain is shown{none_could_be(effect[there[0]], summary['confidence'], 'tools')}."
    exact = effect.get("first_call_f1")
    if shown == ["first_call_recall"] and exact and not _is_shown(exact, summary["confidence"]):
        return text + (
            f"A gain is shown on first-call recall and none on first-call F1 ({gain(exact)}), which counts what was named and is "
            "no parameter: more names may have been tried, not more of them known."
        )
    large = [name for name in shown if effect[name]["mean"] >= TARGET]
    size = f"; of ten points on {_and(large)}" if large else ""
    return f"{text}A gain is shown on {_and(shown)}{size}{_of_all(shown, effect, there)}."


def _of_all(shown: Sequence[str], effect: Mapping[str, Any], there: Sequence[str]) -> str:
    """What a gain on some of the figures is worth, of which whoever looks at all has as many chances (Bonferroni)."""
    if len(shown) == len(there):
        return ""
    p = min(1.0, len(there) * min(effect[name].get("p_holm", effect[name]["p"]) for name in shown))
    return f"; as one of {len(there)} figures that were looked at it has p {p:.2g}"


def _is_shown(one: Mapping[str, Any], confidence: float) -> bool:
    low, tools = one["low"], one["over_tools"][0]
    return (
        low is not None and low > 0 and tools is not None and tools > 0 and one.get("p_holm", one["p"]) < 1 - confidence
    )


def _control(arm: str, effect: Mapping[str, Any], levels: Mapping[str, Any]) -> str:
    name = next((name for name in CLAIMED if name in effect), None)
    if name is None:
        return f"Control {arm}: nothing of it could be compared."
    one = effect[name]
    text = f"Control {arm}: {NAMES[name]} {gain(one)} against {one['against']}, {seeds(len(one['by_seed']))}: "
    if one["low"] is None:
        return text + unjudged(one)
    if one["low"] >= -NIL and one["high"] <= NIL:
        nothing = levels[one["against"]][name]["mean"] == 0
        return (
            text
            + "within one point of zero"
            + (f", as {one['against']} itself is: it controls nothing." if nothing else ".")
        )
    return text + (
        "it is not nil." if one["low"] > 0 or one["high"] < 0 else "not shown to be within one point of zero."
    )


def _and(names: list[str]) -> str:
    return " and ".join(NAMES[name] for name in names)


def _came(steps: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in steps.items())
