"""The sentences that a study's numbers carry, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..verdict import FEWEST_SEEDS, unfinished
from ..words import counted
from .compared import made_before
from .effects import CLAIMED, NIL

SILENT = 0.2
"""From this share of empty answers on, an arm fails for saying nothing rather than for not knowing."""

KEPT = 0.02
"""Perplexity that may be lost on the neutral text."""

NAMES = {"f1": "F1", "contains": "contains", "exact": "exact match"}


def sentences(document: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """One sentence a claim, one a control."""
    found = []
    arms = document["study"]["arms"]
    for arm, effect in summary["effects"].items():
        if arms[arm]["test"]:
            said = claim(arm, effect["metrics"], summary, len(document["study"]["seeds"]))
            found.append(said + of_before(document, arm) + price(effect))
        elif arms[arm]["control"] != "none":
            found.append(control(arm, effect["metrics"], summary))
    wanted = len(document["study"]["seeds"])
    had = {arm: len(summary["scores"][arm]["seeds"]) if arm in summary["scores"] else 0 for arm in arms}
    short = [f"{arm} ({count} of {wanted} seeds)" for arm, count in had.items() if 0 < count < wanted]
    if short:
        found.append(f"Not finished: {', '.join(short)}.")
    if absent := [arm for arm, count in had.items() if not count and arm not in document.get("failed", {})]:
        found.append(f"Declared and not run: {', '.join(absent)}.")
    return found + failed(document)


def failed(document: Mapping[str, Any]) -> list[str]:
    """One sentence for all that failed, by what failed; [] if nothing did."""
    causes: dict[tuple[str, str], list[str]] = {}
    for arm, seeds in document.get("failed", {}).items():
        for seed, one in seeds.items():
            causes.setdefault((one["label"], one["why"]), []).append(f"{arm} at seed {seed}")
    told = [f"{label}: {why.rstrip('.')} (so no {', no '.join(arms)})" for (label, why), arms in causes.items()]
    return [f"Failed, and what failed is not missing by chance: {'; '.join(told)}."] if told else []


def claim(arm: str, metrics: Mapping[str, Any], summary: Mapping[str, Any], declared: int) -> str:
    """Shown only if the corrected p-value and the interval over seeds agree, and all `declared` seeds were run; else the smallest
    effect the design would show."""
    other = metrics["f1"]["against"]
    fixed = summary["scores"][arm]["untrained"] and summary["scores"][other]["untrained"]
    if fixed:  # no seed says anything: the documents judge, of these two models and of no other training
        metrics = {name: one | dict(zip(("low", "high"), one["over_documents"])) for name, one in metrics.items()}
    parts, shown, smallest = [], [], []
    for name in CLAIMED:
        one = metrics[name]
        p = one.get("p_holm", one["p"])
        parts.append(f"{NAMES[name]} {gain(one)} over {one['against']} (Holm p {p:.2g})")
        if one["low"] is not None and one["low"] > 0 and p < 1 - summary["confidence"]:
            shown.append(NAMES[name])
        if one["detectable"] is not None:
            smallest.append(f"{one['detectable']:.3f} {NAMES[name]}")
    count = len(metrics[CLAIMED[0]]["by_seed"])
    silent = summary["scores"][other]["empty"]
    said = f"{judged(arm, summary)}: {'; '.join(parts)}; "
    documents = counted(summary["scores"][arm]["documents"], "documents")
    if fixed:
        gains = (
            f"A gain of this model is shown on {' and '.join(shown)}{of_all(shown, metrics)}."
            if shown
            else "No gain is shown."
        )
        return f"{said}{documents}, neither was trained here. {gains}"
    text = f"{said}{seeds(count)}, {documents}. "
    if silent >= SILENT:
        text += f"{other} leaves {silent:.0%} of the questions without any answer, so this is also the gain of answering at all. "
    if count < FEWEST_SEEDS:
        return text + f"{seeds(count).capitalize()} {'is' if count == 1 else 'are'} too few: no claim."
    if count < declared:
        return text + f"{unfinished(count, declared)}."
    if shown:
        return text + f"A gain is shown on {' and '.join(shown)}{of_all(shown, metrics)}."
    if all(metrics[name]["same"] for name in CLAIMED):
        return (
            text + f"No gain is shown: every question has the score that it has under {other}, which compares nothing."
        )
    if not smallest:
        return f"{text}No gain is shown{none_could_be(metrics[CLAIMED[0]], summary['confidence'], 'documents')}."
    return text + f"No gain is shown; this design would have shown about {' or '.join(smallest)} (80 % power)."


def none_could_be(one: Mapping[str, Any], confidence: float, units: str) -> str:
    """Where no gain of any size could have been shown, that; else ''."""
    if one["least_p"] < 1 - confidence:
        return ""
    return f", and none of any size could have been: of so few {units} the smallest p after Holm's correction is {one['least_p']:.2g}"


def of_all(shown: Sequence[str], metrics: Mapping[str, Any]) -> str:
    """What a gain on some of the measures is worth, of which whoever looks at all has as many chances (Bonferroni)."""
    others = [NAMES[name] for name in CLAIMED if NAMES[name] not in shown]
    if not others:
        return ""
    p = min(
        1.0,
        len(CLAIMED) * min(metrics[name].get("p_holm", metrics[name]["p"]) for name in CLAIMED if NAMES[name] in shown),
    )
    return f", not on {' or '.join(others)}; as one of {len(CLAIMED)} measures that were looked at it has p {p:.2g}"


def of_before(document: Mapping[str, Any], arm: str) -> str:
    """What seeds of this study cannot say of a vector that it did not make."""
    if names := made_before(document, arm):
        return f" {' and '.join(names)}: made before, once; what another training of it would do was not measured."
    return ""


def judged(arm: str, summary: Mapping[str, Any]) -> str:
    """An arm with the stratum of questions that it is judged in, if it is."""
    within = summary["scores"][arm].get("within")
    return f"{arm} ({within})" if within else arm


def price(effect: Mapping[str, Any]) -> str:
    """What the change costs on the neutral text, beside the arm it is compared with."""
    if "perplexity_change" not in effect:
        return ""
    change = effect["perplexity_change"]
    verdict = "lost" if change > KEPT else "nothing lost"
    return f" Perplexity of the neutral text {change:+.1%}: {verdict}."


def control(arm: str, metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    one = metrics["f1"]
    text = f"Control {judged(arm, summary)}: F1 {gain(one)} against {one['against']}, {seeds(len(one['by_seed']))}: "
    if one["low"] is None:
        return text + unjudged(one)
    if one["low"] >= -NIL and one["high"] <= NIL:
        nothing = one["same"] and summary["scores"][one["against"]]["f1"]["mean"] == 0
        itself = f", as {one['against']} itself is: it controls nothing." if nothing else "."
        return f"{text}within {NIL * 100:.0f} point of zero{itself}"
    if one["low"] > 0 or one["high"] < 0:
        return text + "it is not nil."
    return text + f"not shown to be within {NIL * 100:.0f} point of zero, and not shown to differ."


def unjudged(one: Mapping[str, Any]) -> str:
    """Why an effect has no interval."""
    return "one seed, not judged." if len(one["by_seed"]) == 1 else "all seeds agree and there is one unit, not judged."


def agreeing(found: Iterable[Mapping[str, Any]], units: str) -> str:
    """How a table is to be read in which seeds agree to the last digit about what is not zero throughout; '' if in none they do."""
    if not any(one.get("agree") and (one["low"], one["high"]) != (0.0, 0.0) for one in found):
        return ""
    return f" Where all seeds agree to the last digit nothing is known of their spread: the interval and p are those over {units}."


def gain(one: Mapping[str, Any]) -> str:
    if one["low"] is None:
        return f"{one['mean']:+.3f}"
    return f"{one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"


def seeds(count: int) -> str:
    return "one seed" if count == 1 else counted(count, "seeds")


def made_by(document: Mapping[str, Any]) -> str:
    """The versions and the machine of a study, and whether all that its table holds was made by one state of the code."""
    versions = document["versions"]
    told = f"past {versions['past']}, torch {versions.get('torch', '?')}, {document['machine']['platform']}."
    states = document.get("code", {})
    return told if len(states) < 2 else f"{told} **Its results were made by {len(states)} states of past's code.**"
