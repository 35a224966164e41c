"""What a measurement comes to, in words: `past eval` with the models that were asked about and their controls, `past agent`,
`past probe-orthogonality`.

Pure functions of the document of such a run, as those of `narration`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from .narration import FEW_QUESTIONS, Closing, number
from .words import counted

SHOWN = 0.05
"""A difference whose p, corrected for all that were tested, is below this is called one."""

MOST_TOLD = 3
"""Models that the words after an evaluation speak of, one by one."""


def evaluated(results: Mapping[str, Any]) -> Closing:
    """The words after `past eval`: what was asked about against the reference, and against the baseline if there is one; then
    what its controls come to. By F1, corrected for all that were tested. `results` is the document of an eval run.
    """
    baseline, reference, tested = results.get("baseline") or {}, results["reference"], results["differences"]
    models = [name for name in results["models"] if name != baseline.get("label")]
    others = [name for name in models if name != reference]
    controls = [name for name in others if results["models"][name].get("role") == "control"]
    judged = _asked_about(results["models"], others, controls) or models[-1:]
    said = []
    for label in judged[:MOST_TOLD]:
        if label in tested:
            said.append(_compared(label, reference, tested[label]["f1"], results))
        if baseline:
            said.append(_compared(label, baseline["label"], baseline["differences"][label]["f1"], results))
    more = len(judged) - MOST_TOLD
    said += [f"{counted(more, 'models')} more in the table"] if more > 0 else []
    said += [_beside(name, reference, tested[name]["f1"]) for name in controls if name not in judged]
    if said:
        return Closing(". ".join(said), "past runs list" if " is better than" in said[0] else "")
    f1 = results["models"][models[-1]]["f1"]["mean"]
    return Closing(f"{models[-1]} has F1 {f1:.3f}; a second --model would tell whether that is better than anything")


def _asked_about(models: Mapping[str, Any], others: list[str], controls: list[str]) -> list[str]:
    """Of the models other than the reference those that carry a skill; where none does all but the controls; else these."""
    with_skill = [name for name in others if models[name].get("role") == "skill"]
    return with_skill or [name for name in others if name not in controls] or others


def _beside(control: str, reference: str, found: Mapping[str, Any]) -> str:
    """What a control comes to, beside the skill."""
    if found["p_holm"] < SHOWN and found["mean"] > 0:
        return f"The control {control} is better than {reference} too ({_gain(found)}): the skill's part is what it adds to that"
    return f"The control {control}: {_gain(found)}"


def _gain(found: Mapping[str, Any]) -> str:
    low, high = found["low"], found["high"]
    interval = f" [{low:+.3f}, {high:+.3f}]" if number(low) and number(high) else ""
    return f"F1 {found['mean']:+.3f}{interval}, p {found['p_holm']:.2g}"


def _compared(label: str, reference: str, found: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Better, worse, or not shown, in words. Where no difference is shown, how many questions would be needed to see five
    points of F1: n = (1.96 + 0.84)² s² / 0.05², with s from the half-width of the paired interval.
    """
    gain = _gain(found)
    if found["p_holm"] < SHOWN:
        return f"{label} is {'better' if found['mean'] > 0 else 'worse'} than {reference}: {gain}"
    units = results["documents"] if results["units"] == "documents" else results["questions"]
    named = results["units"] if units != 1 else results["units"].removesuffix("s")
    needed = _needed(found, units)
    enough = f"; about {needed} {results['units']} would be needed to see +5 points" if needed else ""
    return f"{label} is not shown to be better than {reference} on {units} {named}: {gain}{enough}"


def _needed(found: Mapping[str, Any], units: int) -> int | None:
    """Units for a power of 80 % at five points, from the width of the interval; None if what there is would do."""
    if not (number(found["low"]) and number(found["high"])) or units < 2:
        return None
    spread = (found["high"] - found["low"]) / 2 / 1.96 * math.sqrt(units)
    needed = math.ceil((1.96 + 0.84) ** 2 * spread**2 / 0.05**2)
    return needed if needed > units else None


def attempted(summary: Mapping[str, Any], run: str) -> Closing:
    """The words after `past agent`: how many queries were solved, and whether that is more than a program without a model does.
    `summary` is the run's."""
    queries, solved, floor = summary["queries"], summary["sopr"], (summary.get("know_nothing") or {}).get("sopr")
    page = f"past runs report {run}"
    if solved is None:
        said = f"no answer to {counted(queries, 'queries')} could be graded: --tasks FILE says what is expected, or --judge llm asks a model"
        return Closing(said, page)
    low, high = summary["sopr_low"], summary["sopr_high"]
    said = f"{solved:.0%} of {counted(queries, 'queries')} solved [{low:.0%}, {high:.0%}]"
    if not summary["calls"]:
        return Closing(
            f"{said}, and nothing was called: the model does not know the form", f"past agent --replay {run}"
        )
    if number(floor):
        more = "more" if low > floor else "fewer" if high < floor else "not shown to be more"
        said += f", {more} than the {floor:.0%} of a program that knows nothing"
    if queries < FEW_QUESTIONS:
        said += f". {counted(queries, 'queries').capitalize()} tell little; another model on the same ones tells what is the model's"
    return Closing(said, page)


def probed(document: Mapping[str, Any], sft: str, rl: str) -> Closing:
    """The words after `past probe-orthogonality`: its verdict, and how the change between the two is lifted out, if there is one."""
    extract = shlex.join(["past", "extract", "--sft", sft, "--rl", rl, "-o", "skill.safetensors"])
    return Closing(document["verdict"].rstrip("."), extract if document["global"]["sft_rl"] else "")


def inspected(document: Mapping[str, Any]) -> Closing:
    """The words after `past inspect FILE`; `document` is what it shows of the skill."""
    model, warned = document["model"], len(document["warnings"])
    fits = f"it can be added to any {model['architecture']} model grown from the base it was taken over"
    doubt = f"; {counted(warned, 'warnings')} above say what is not certain" if warned else ""
    return Closing(
        f"{fits}{doubt}; whether it helps there, `past eval` tells",
        shlex.join(["past", "inject", "--vector", document["path"]]),
    )
