"""What a finished run comes to, in one plain sentence, and the command to type next.

Pure functions of what a run recorded: the same figures always lead to the same words. A sentence never claims more
than its figures carry, and says what would mend a result that is not good enough.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from .words import counted

MOSTLY_DEAD = 0.7
"""Share of GRPO groups whose answers all earned the same from which a run has learnt from too few of them."""

WHOLE, MOST = 0.99, 0.9
"""Survival (cosine) of the skill in the stored type: above the first nothing is lost, below the second a good part is."""


FEWEST_SEEDS = 3
"""With fewer the interval over seeds rests on one or no degree of freedom."""

SHOWN = 0.05
"""A difference whose p, corrected for all that were tested, is below this is called one."""

MOST_TOLD = 3
"""Models that the words after an evaluation speak of, one by one."""

FEW_QUESTIONS = 20
"""Below this many questions only a gain of twenty points or more can be told from chance."""


@dataclass(frozen=True)
class Closing:
    """The last two lines of a command: `judgement`, and what to type `next` ('' if nothing suggests itself)."""

    judgement: str
    next: str = ""


def closing(manifest: Mapping[str, Any], has_skill: bool = False) -> Closing | None:
    """The closing words of a run, None for a stage that has none; `has_skill`: the workspace has one to inject."""
    tell = _STAGES.get(manifest["stage"])
    return tell(manifest, manifest["metrics"], has_skill) if tell else None


def _ingest(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    if "apis" in metrics:
        return _lessons(run, metrics)
    skipped = metrics.get("skipped", 0)
    left_out = f"; skipped {counted(skipped, 'files')}" if skipped else ""
    made = f"{counted(metrics['passages'], 'passages')} of {counted(metrics['documents'], 'documents')}"
    return Closing(f"{made}{left_out}", "past sft")


def examined(warnings: int) -> Closing:
    """What `past doctor` comes to where nothing essential is missing."""
    worth = f"; {counted(warnings, 'things')} could be better, see the lines marked warn" if warnings else ""
    return Closing(f"everything that past needs is here{worth}", "past study init FOLDER")


def _lessons(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> Closing:
    made = f"{counted(metrics['texts'], 'texts')} and {counted(metrics['episodes'], 'runs')} to learn {counted(metrics['apis'], 'APIs')}"
    asked = f"{counted(metrics['recall'], 'questions')} and {counted(metrics['test_queries'], 'queries')} to test them"
    silent = f"; {counted(metrics['apis_without_query'], 'APIs')} got no query" if metrics["apis_without_query"] else ""
    return Closing(f"{made}, {asked}{silent}", "past sft --mix none")


def _generate(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    kept = metrics["texts"] + metrics["pairs"]
    lost = f"; {metrics['rejected']} were rejected" if metrics["rejected"] else ""
    if not kept:
        return Closing(f"nothing could be kept{lost}: look at the reasons, then try a larger model or another --kind")
    files = {"texts": "corpus.jsonl", "pairs": "pairs.jsonl"}
    where = " ".join(f"runs/{run['id']}/{file}" for name, file in files.items() if metrics[name])
    return Closing(
        f"{counted(metrics['texts'], 'texts')} and {counted(metrics['pairs'], 'question-answer pairs')}{lost}",
        f"past sft {where}",
    )


def _sft(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    first, last = metrics.get("loss_first"), metrics.get("loss_last")
    use = f"past inject --target {run['id']}" if has_skill else f"past rl --sft {run['id']} --questions questions.jsonl"
    if run["config"].get("phase") == "encoding":
        use = f"past sft DOCS --phase adaptation --after {run['id']}"
    if not (_number(first) and _number(last)):
        return Closing(f"trained for {counted(metrics.get('steps', 0), 'steps')}", use)
    fell = f"the loss went from {first:.2f} to {last:.2f} in {counted(metrics['steps'], 'steps')}"
    if last > 0.8 * first:
        return Closing(
            f"{fell}: hardly anything was learnt; give it more --epochs or a higher --lr", _again(run, "epochs")
        )
    if last > 0.5 * first:
        return Closing(f"{fell}: part of the texts is learnt; more --epochs would hold more of it", use)
    return Closing(f"{fell}: the texts are learnt; whether their facts can be asked for, `past eval` tells", use)


def _dead(reward: float) -> tuple[str, str, str]:
    """(why all answers to a question earn the same, what mends it, the command) by what they earn."""
    if reward > 0.8:
        return "nearly every answer is right already", "ask harder questions", ""
    if reward > 0.3:
        return (
            "the answers to a question are right or wrong together",
            "let them differ more",
            "past rl --temperature 1.3",
        )
    return "the model hardly ever answers right", "give SFT more epochs", "past sft --epochs 12"


def _rl(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    first, last, dead = (metrics.get(name) for name in ("reward_first", "reward_last", "dead_groups"))
    if not (_number(first) and _number(last)):
        return Closing(f"trained for {counted(metrics.get('steps', 0), 'steps')}; no reward was logged")
    rose = f"the mean reward went from {first:.2f} to {last:.2f}"
    if _number(dead) and dead > MOSTLY_DEAD:
        why, mend, again = _dead(last)
        return Closing(f"{dead:.0%} of the groups were dead ({rose}): {why}; {mend}", again)
    if last <= first + 0.01:
        return Closing(
            f"{rose}: nothing was learnt that could be lifted out; give it more --steps", _again(run, "steps")
        )
    return Closing(f"{rose}: the model learnt to answer better on the source", "past extract -o skill.safetensors")


def _extract(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    kept = metrics.get("energy")
    share = f", {kept:.1%} of its squared norm kept" if _number(kept) and kept < 1 else ""
    said = f"the skill changes {counted(metrics['tensors'], 'tensors')}, its norm is {metrics['norm']:.3g}{share}"
    return Closing(said, f"past inject --vector {_skill(run)}")


def _distill(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    return Closing(
        f"{counted(run['config']['rounds'], 'rounds')} made one skill", f"past inject --vector {_skill(run)}"
    )


def _inject(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    control, survival = run["config"].get("control", "none"), metrics.get("survival")
    ask = f"past eval --questions questions.jsonl --model sft=@sft --model sft+skill={run['id']}"
    if control not in ("none", ""):
        return Closing(f"this is the {control} control: the skill itself is not in it", ask)
    if not _number(survival) or metrics.get("norm") == 0:
        return Closing("nothing of a skill was added: the model is the target itself", ask)
    own, mend = metrics.get("target_survival"), "--dtype f32 or --as adapter keeps all of it"
    if survival >= WHOLE and _number(own) and own < WHOLE:
        how = "most" if own >= MOST else "only a part"
        said = f"the whole skill is in the file, but {how} of what the target had learnt (survival {own:.3f})"
        return Closing(f"{said}; {mend}", ask)
    if survival >= WHOLE:
        return Closing(f"the whole skill is in the file (survival {survival:.3f})", ask)
    how = "most of" if survival >= MOST else "only a part of"
    return Closing(f"{how} the skill survived the stored type (survival {survival:.3f}); {mend}", ask)


def _export(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    size, kept = f"{metrics['bytes'] / 1e6:.0f} MB", metrics.get("survival_training")
    if not _number(kept):
        return Closing(f"the model is in {size}")
    how = "all" if kept >= WHOLE else "most" if kept >= MOST else "only a part"
    return Closing(f"the model is in {size}; {how} of what its training changed survived (cosine {kept:.3f})")


def _sweep(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool) -> Closing:
    scale = metrics.get("best_scale")
    if scale is None:
        scale = metrics.get("unlabelled_scale", 0.0)
        ask = "chosen without answers: measure it on questions that have some"
        return Closing(f"λ = {scale:g} is {ask}", f"past inject --scale {scale:g}")
    if scale == 0:
        return Closing("no scale beat the target itself on these questions: this skill does not help here")
    held_out = "on the questions it was chosen by; measure it on others"
    return Closing(f"λ = {scale:g} scored best, {held_out}", f"past inject --scale {scale:g}")


_STAGES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], bool], Closing]] = {
    "ingest": _ingest,
    "generate": _generate,
    "sft": _sft,
    "rl": _rl,
    "extract": _extract,
    "distill": _distill,
    "inject": _inject,
    "export": _export,
    "sweep": _sweep,
}


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
    interval = f" [{low:+.3f}, {high:+.3f}]" if _number(low) and _number(high) else ""
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


def experimented(document: Mapping[str, Any], file: str) -> Closing | None:
    """The words after `past study run` of `file`: the first arm that is a test, by F1, or of a study of tools by first-call
    recall; None where there is none yet."""
    summary, arms = document["summary"], document["study"].get("arms", {})
    tests = [arm for arm, one in summary.get("effects", {}).items() if arms.get(arm, {}).get("test")]
    if not tests:
        return None
    of_tools = "levels" in summary
    levels, effect = summary["levels" if of_tools else "scores"], summary["effects"][tests[0]]
    figure, named = ("first_call_recall", "first-call recall") if of_tools else ("f1", "F1")
    found = (effect if of_tools else effect["metrics"]).get(figure)
    if found is None or found["against"] not in levels:
        return None
    arm, other, seeds = tests[0], found["against"], len(found["by_seed"])
    said = f"{arm} has {named} {levels[arm][figure]['mean']:.3f} where {other} has {levels[other][figure]['mean']:.3f}"
    if seeds < FEWEST_SEEDS:
        missing = f"{FEWEST_SEEDS} seeds are the fewest that carry a claim: add some to `seeds` in the file"
        return Closing(f"{said}, over {counted(seeds, 'seeds')}. {missing}", f"past study run {file}")
    low, high = found["low"], found["high"]
    if _number(low) and found.get("p_holm", found["p"]) < 1 - summary["confidence"] and not low <= 0 <= high:
        gains = low > 0
        return Closing(
            f"{said}, over {counted(seeds, 'seeds')}: a {'gain' if gains else 'loss'}", "past inspect" if gains else ""
        )
    seen = f"; a gain of {found['detectable']:.3f} would have been" if _number(found.get("detectable")) else ""
    return Closing(f"{said}, over {counted(seeds, 'seeds')}: no gain is shown{seen}")


def studied(metrics: Mapping[str, Any], command: str) -> Closing:
    """The words after `past study init`; `metrics` are those of its run, `command` runs the study."""
    parts, asked = metrics["parts"], metrics["parts"]["target"]["questions"]
    used = f"{metrics['documents']} of {metrics['of_documents']} documents"
    if metrics["passages_each"]:
        used += f", the first {counted(metrics['passages_each'], 'passages')} of each"
    practised = len(parts["source"]["documents"])
    said = (
        f"{used}: {practised} to practise on, {counted(asked, 'questions')} on others"
        if practised
        else f"{used}: {counted(asked, 'questions')}"
    )
    if asked < FEW_QUESTIONS:
        return Closing(f"{said}: too few to see anything but a large gain", command)
    if metrics["written_by"] == "rule":
        said += ". They are gaps in its own sentences, which ask for wording more than for understanding"
    return Closing(said, command)


def _needed(found: Mapping[str, Any], units: int) -> int | None:
    """Units for a power of 80 % at five points, from the width of the interval; None if what there is would do."""
    if not (_number(found["low"]) and _number(found["high"])) or units < 2:
        return None
    spread = (found["high"] - found["low"]) / 2 / 1.96 * math.sqrt(units)
    needed = math.ceil((1.96 + 0.84) ** 2 * spread**2 / 0.05**2)
    return needed if needed > units else None


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _again(run: Mapping[str, Any], name: str) -> str:
    """The same stage with twice of a setting."""
    return f"past {run['stage']} --{name} {2 * run['config'].get(name, 1):g}"


def _skill(run: Mapping[str, Any]) -> str:
    """How to name the skill a run made: the file asked for, else the run."""
    path = run.get("outputs", {}).get("skill", {}).get("path", run["id"])
    return shlex.quote(path if path.startswith("/") else run["id"])
