"""What a measurement comes to, in words: `past eval` with the models that were asked about and their controls, `past agent`,
`past probe-orthogonality`, `past study`.

Pure functions of the document of such a run, as those of `narration`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from .narration import Closing, number
from .words import counted

SHOWN = 0.05
"""A difference whose p, corrected for all that were tested, is below this is called one."""

MOST_TOLD = 3
"""Models that the words after an evaluation speak of, one by one."""


FEWEST_SEEDS = 3
"""With fewer the interval over seeds rests on one or no degree of freedom."""

FEW_QUESTIONS = 20
"""Below this many questions only a gain of twenty points or more can be told from chance."""

HARDLY = 0.1
"""F1, or share of right calls, below which a model answers hardly anything."""

NOTHING_LEARNT = (
    "Both answer hardly anything: what SFT did not teach no skill brings out; more epochs, more texts (`past generate`), fewer "
    "documents or a larger base would teach more"
)


def evaluated(results: Mapping[str, Any], run: str = "") -> Closing:
    """The words after `past eval`: what was asked about against the reference, and against the baseline if there is one; then
    what its controls come to. By F1, corrected for all that were tested. `results` is the document of an eval `run`, whose page shows the answers themselves.
    """
    page = f"past runs report {run}" if run else ""
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
        return Closing(". ".join(said), page)
    f1 = results["models"][models[-1]]["f1"]["mean"]
    alone = f"{models[-1]} has F1 {f1:.3f}; a second --model would tell whether that is better than anything"
    return Closing(alone, page)


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
    `summary` is the run's. What could not be graded may be solved: no claim stands that this would turn."""
    queries, solved, nothing = summary["queries"], summary["sopr"], summary.get("know_nothing") or {}
    page = f"past runs report {run}"
    if solved is None:
        said = f"no answer to {counted(queries, 'queries')} could be graded: --tasks FILE says what is expected, or --judge llm asks a model"
        return Closing(said, page)
    low, high = summary["sopr_low"], summary["sopr_high"]
    most, floor = summary.get("sopr_at_most", solved), nothing.get("sopr")
    said = f"{solved:.0%} of {counted(queries, 'queries')} solved [{low:.0%}, {high:.0%}]"
    if most > solved:
        said += f"; {summary['ungraded']:.0%} could not be graded, so up to {most:.0%} may be"
    if not summary["calls"]:
        return Closing(
            f"{said}, and nothing was called: the model does not know the form", f"past agent --replay {run}"
        )
    if number(floor):
        above, below = low > floor + nothing.get("ungraded", 0), max(high, most) < floor
        more = "more" if above else "fewer" if below else "not shown to be more"
        said += f", {more} than the {floor:.0%} of a program that knows nothing"
    if queries < FEW_QUESTIONS:
        said += f". {counted(queries, 'queries').capitalize()} tell little; another model on the same ones tells what is the model's"
    return Closing(said + judged(summary.get("judge_error") or {}), page)


def judged(error: Mapping[str, Any]) -> str:
    """How often the judge of a run errs, as one more sentence; '' where nobody measured it."""
    if not error:
        return ""
    rates = f"{error['false_solved']:.0%} of the wrong ones solved, and {error['false_not_solved']:.0%} of the right ones not"
    met = counted(error["answers"], "answers")
    return f". Of {met} that it had never met the judge {error['judge']} called {rates}"


def probed(document: Mapping[str, Any], sft: str, rl: str) -> Closing:
    """The words after `past probe-orthogonality`: its verdict, and how the change between the two is lifted out, if there is one."""
    extract = shlex.join(["past", "extract", "--sft", sft, "--rl", rl, "-o", "skill.safetensors"])
    return Closing(document["verdict"].rstrip("."), extract if document["global"]["sft_rl"] else "")


def inspected(document: Mapping[str, Any]) -> Closing:
    """The words after `past inspect FILE`; `document` is what it shows of the skill."""
    model, warned = document["model"], len(document["warnings"])
    fits = f"it can be added to any {model['architecture']} model grown from the base it was taken over"
    doubt = (
        f"; {counted(warned, 'warnings')} above {'says' if warned == 1 else 'say'} what is not certain"
        if warned
        else ""
    )
    return Closing(
        f"{fits}{doubt}; whether it helps there, `past eval` tells",
        shlex.join(["past", "inject", "--vector", document["path"]]),
    )


def figure_of(summary: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, str]:
    """(the level of every arm, the figure a study is told by, what it is called): F1, or of a study of tools first-call recall."""
    if "levels" in summary:
        return summary["levels"], "first_call_recall", "first-call recall"
    return summary["scores"], "f1", "F1"


def experimented(document: Mapping[str, Any], file: str, ask: str = "", take: str = "") -> Closing | None:
    """The words after `past study run` of `file`: the first arm that is a test; None where there is none yet. `ask` is the command
    that asks the model that was tested, `take` what makes a file of it; '' where it is not there any more."""
    summary, arms = document["summary"], document["study"].get("arms", {})
    tests = [arm for arm, one in summary.get("effects", {}).items() if arms.get(arm, {}).get("test")]
    if not tests:
        return None
    effect = summary["effects"][tests[0]]
    levels, figure, named = figure_of(summary)
    found = effect.get("metrics", effect).get(figure)
    if found is None or found["against"] not in levels:
        return None
    arm, other, seeds = tests[0], found["against"], len(found["by_seed"])
    fixed = bool(levels[arm].get("untrained") and levels[other].get("untrained"))
    said, hardly = _two_levels(arm, found, levels, figure, named, fixed)
    kept = (f". {NOTHING_LEARNT}" if hardly else "") + (f". To take it along: {take}" if take else "")
    if seeds < FEWEST_SEEDS and not fixed:
        wanted = ", ".join(map(str, range(FEWEST_SEEDS)))
        more = f"{FEWEST_SEEDS} seeds are the fewest that carry a claim: write `seeds = [{wanted}]` into {file} and run it again"
        return Closing(f"{said}. {more}{kept}", ask or f"past study run {file}")
    declared = len(document["study"].get("seeds", ()))
    if seeds < declared and not fixed:
        return Closing(f"{said}. {unfinished(seeds, declared)}{kept}", f"past study run {file}")
    over_units = found.get("over_documents") or found.get("over_tools")
    low, high = over_units if fixed else (found["low"], found["high"])
    if number(low) and found.get("p_holm", found["p"]) < 1 - summary["confidence"] and not low <= 0 <= high:
        gains = low > 0
        alone = ", in recall alone: its first-call F1, which counts what was named and is no parameter, shows none"
        only = alone if gains and _is_recall_alone(effect, figure, summary["confidence"]) else ""
        return Closing(f"{said}: a {'gain' if gains else 'loss'}{only}{kept}", ask or ("past inspect" if gains else ""))
    seen = f"; a gain of {found['detectable']:.3f} would have been" if number(found.get("detectable")) else ""
    return Closing(f"{said}: no gain is shown{seen}{kept}", ask)


def _is_recall_alone(effect: Mapping[str, Any], figure: str, confidence: float) -> bool:
    """Whether more names were tried, for all that is known, and not more of them right."""
    exact = effect.get("first_call_f1") if figure == "first_call_recall" else None
    if exact is None:
        return False
    return not (number(exact["low"]) and exact["low"] > 0 and exact.get("p_holm", exact["p"]) < 1 - confidence)


def unfinished(count: int, declared: int) -> str:
    """Whoever looks as seeds come in and stops at a good moment shows gains that are not there (Armitage, McPherson and Rowe 1969)."""
    return f"{count} of the {declared} seeds that were declared: no claim before all were run"


def _two_levels(
    arm: str, found: Mapping[str, Any], levels: Mapping[str, Any], figure: str, named: str, fixed: bool
) -> tuple[str, bool]:
    """What an arm has and what the other has on the same questions, and whether both answer hardly anything. `fixed`: neither
    was trained, so that no seed is to be spoken of."""
    level, within, other = levels[arm][figure]["mean"], levels[arm].get("within"), found["against"]
    theirs = level - found["mean"] if within else levels[other][figure]["mean"]
    said = f"{arm} has {named} {level:.3f} where {other} has {theirs:.3f}"
    asked, over = levels[arm].get("questions"), "" if fixed else f"over {counted(len(found['by_seed']), 'seeds')}"
    if asked:
        parts = [f", on {counted(asked, 'questions')}", f"({within})" if within else "", over]
        said += " ".join(part for part in parts if part)
    elif over:
        said += f", {over}"
    return said, max(level, theirs) < HARDLY


ONE_DOCUMENT = (
    "Parts of one document share its words, and what one of them says another may repeat: what is found holds for this "
    "document, and says nothing of a skill on others"
)
"""What cannot be concluded from a study of a single document."""


def studied(metrics: Mapping[str, Any], command: str) -> Closing:
    """The words after `past study init`; `metrics` are those of its run, `command` runs the study."""
    parts, asked = metrics["parts"], metrics["parts"]["target"]["questions"]
    alone = metrics.get("parts_of", "")
    used = f"{metrics['documents']} of {metrics['of_documents']} {f'parts of {alone}' if alone else 'documents'}"
    if metrics["passages_each"]:
        few = metrics["passages_each"]
        used += f", the first {counted(few, 'passages') if few > 1 else 'passage'} of each"
    practised = len(parts["source"]["documents"])
    said = (
        f"{used}: {practised} to practise on, {counted(asked, 'questions')} on others"
        if practised
        else f"{used}: {counted(asked, 'questions')}"
    )
    if asked < FEW_QUESTIONS:
        said += ": too few to see anything but a large gain"
    elif metrics["written_by"] == "rule":
        said += ". They are gaps in its own sentences, which ask for wording more than for understanding"
    if alone:
        said += f". {ONE_DOCUMENT}"
    return Closing(said, command)
