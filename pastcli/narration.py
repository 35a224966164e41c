"""What a finished run comes to, in one plain sentence, and the command to type next.

Pure functions of what a run recorded: the same figures always lead to the same words. A sentence never claims more
than its figures carry, and says what would mend a result that is not good enough.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from .suggestions import NOTHING, Behind, doubled, repeated
from .words import counted

MOSTLY_DEAD = 0.7
"""Share of GRPO groups whose answers all earned the same from which a run has learnt from too few of them."""

WHOLE, MOST = 0.99, 0.9
"""Survival (cosine) of the skill in the stored type: above the first nothing is lost, below the second a good part is."""


@dataclass(frozen=True)
class Closing:
    """The last two lines of a command: `judgement`, and what to type `next` ('' if nothing suggests itself)."""

    judgement: str
    next: str = ""


def closing(manifest: Mapping[str, Any], has_skill: bool = False, behind: Behind = NOTHING) -> Closing | None:
    """The closing words of a run, None for a stage that has none; `has_skill`: the workspace has one to inject; `behind`: what
    the run came of."""
    tell = _STAGES.get(manifest["stage"])
    return tell(manifest, manifest["metrics"], has_skill, behind) if tell else None


def _ingest(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
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


def _generate(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
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


def _sft(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    first, last = metrics.get("loss_first"), metrics.get("loss_last")
    use = _after_sft(run, has_skill, behind)
    if not (number(first) and number(last)):
        return Closing(f"trained for {counted(metrics.get('steps', 0), 'steps')}", use)
    fell = f"the loss went from {first:.2f} to {last:.2f} in {counted(metrics['steps'], 'steps')}"
    if last > 0.8 * first:
        return Closing(
            f"{fell}: hardly anything was learnt; give it more --epochs or a higher --lr", doubled(run, "epochs")
        )
    if last > 0.5 * first:
        return Closing(f"{fell}: part of the texts is learnt; more --epochs would hold more of it", use)
    return Closing(f"{fell}: the texts are learnt; whether their facts can be asked for, `past eval` tells", use)


def _after_sft(run: Mapping[str, Any], has_skill: bool, behind: Behind) -> str:
    if run["config"].get("phase") == "encoding":
        return f"past sft DOCS --phase adaptation --after {run['id']}"
    if has_skill:
        return f"past inject --target {run['id']}"
    if behind.of_target and behind.corpus:
        return f"past sft {behind.corpus} --mix none"  # the source first: RL practises there
    if behind.tests or behind.practice:
        return f"past rl --sft {run['id']} --tools {behind.practice or behind.tests}"
    return f"past rl --sft {run['id']} --questions questions.jsonl"


def _dead(run: Mapping[str, Any], reward: float, behind: Behind) -> tuple[str, str, str]:
    """(why all answers to a question earn the same, what mends it, the command) by what they earn."""
    if reward > 0.8:
        return "nearly every answer is right already", "ask harder questions", ""
    if reward > 0.3:
        again = repeated("rl", run.get("argv", ()), temperature=1.3)
        return "the answers to a question are right or wrong together", "let them differ more", again
    again = repeated("sft", behind.sft, epochs=12)
    return "the model hardly ever answers right", "give SFT more epochs", again


def _met_again(metrics: Mapping[str, Any]) -> str:
    """What a reward that rises on questions that come back has to be held against."""
    passes, new = metrics.get("passes"), metrics.get("reward_last_new")
    if not number(passes) or passes <= 1:
        return ""
    before = f", {new:.2f} by the end of their first time" if number(new) else ""
    return f", each question met {passes:.1f} times{before}"


def _rl(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    first, last, dead = (metrics.get(name) for name in ("reward_first", "reward_last", "dead_groups"))
    if not (number(first) and number(last)):
        return Closing(f"trained for {counted(metrics.get('steps', 0), 'steps')}; no reward was logged")
    rose = f"the mean reward went from {first:.2f} to {last:.2f}{_met_again(metrics)}"
    if number(dead) and dead > MOSTLY_DEAD:
        why, mend, again = _dead(run, last, behind)
        return Closing(f"{dead:.0%} of the groups were dead ({rose}): {why}; {mend}", again)
    if metrics.get("steps") == 1:
        once = f"the one step earned {first:.2f} on average; whether anything is learnt shows with more --steps"
        return Closing(once, doubled(run, "steps"))
    if last <= first + 0.01:
        return Closing(
            f"{rose}: nothing was learnt that could be lifted out; give it more --steps", doubled(run, "steps")
        )
    if number(passes := metrics.get("passes")) and passes > 1 and not number(metrics.get("dev_best")):
        tell = "`past rl --dev FILE` tells" if "questions" in metrics else "only queries that it never met tell"
        learnt = f"the model does better on what it practised; whether on anything else, {tell}"
        return Closing(f"{rose}: {learnt}", "past extract -o skill.safetensors")
    return Closing(f"{rose}: the model learnt to answer better on the source", "past extract -o skill.safetensors")


def _extract(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    kept = metrics.get("energy")
    share = f", {kept:.1%} of its squared norm kept" if number(kept) and kept < 1 else ""
    said = f"the skill changes {counted(metrics['tensors'], 'tensors')}, its norm is {metrics['norm']:.3g}{share}"
    return Closing(said, f"past inject --vector {_skill(run)}")


def _distill(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    return Closing(
        f"{counted(run['config']['rounds'], 'rounds')} made one skill", f"past inject --vector {_skill(run)}"
    )


def _inject(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    control, survival = run["config"].get("control", "none"), metrics.get("survival")
    before = run.get("inputs", {}).get("target", {}).get("run", "@sft")
    asked = behind.questions or "questions.jsonl"
    ask = f"past eval --questions {asked} --model sft={before} --model sft+skill={run['id']}"
    if behind.tests:
        ask = f"past agent --tools {behind.tests} --model {run['id']}"
    if control not in ("none", ""):
        return Closing(f"this is the {control} control: the skill itself is not in it", ask)
    if not number(survival) or metrics.get("norm") == 0:
        return Closing("nothing of a skill was added: the model is the target itself", ask)
    own, mend = metrics.get("target_survival"), "--dtype f32 or --as adapter keeps all of it"
    if survival >= WHOLE and number(own) and own < WHOLE:
        how = "most" if own >= MOST else "only a part"
        said = f"the whole skill is in the file, but {how} of what the target had learnt (survival {own:.3f})"
        return Closing(f"{said}; {mend}", ask)
    if survival >= WHOLE:
        return Closing(f"the whole skill is in the file (survival {survival:.3f})", ask)
    how = "most of" if survival >= MOST else "only a part of"
    return Closing(f"{how} the skill survived the stored type (survival {survival:.3f}); {mend}", ask)


def _export(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    kept = metrics.get("survival_training")
    outputs: Mapping[str, Any] = run.get("outputs") or {"model": {"path": "model"}}
    kind = next(iter(outputs))
    where = os.path.normpath(os.path.join("runs", run["id"], outputs[kind]["path"]))
    said = f"the model is in {where}, {metrics['bytes'] / 1e6:.0f} MB"
    use = f"past ask --model {run['id']}"
    if kind == "ollama":
        use = f"ollama create my-model -f {shlex.quote(where + '/Modelfile')}"
    if not number(kept):
        return Closing(said, use)
    how = "all" if kept >= WHOLE else "most" if kept >= MOST else "only a part"
    return Closing(f"{said}; {how} of what its training changed survived (cosine {kept:.3f})", use)


def _sweep(run: Mapping[str, Any], metrics: Mapping[str, Any], has_skill: bool, behind: Behind) -> Closing:
    scale = metrics.get("best_scale")
    if scale is None:
        scale = metrics.get("unlabelled_scale", 0.0)
        ask = "chosen without answers: measure it on questions that have some"
        return Closing(f"λ = {scale:g} is {ask}", f"past inject --scale {scale:g}")
    if scale == 0:
        return Closing("no scale beat the target itself on these questions: this skill does not help here")
    held_out = "on the questions it was chosen by; measure it on others"
    return Closing(f"λ = {scale:g} scored best, {held_out}", f"past inject --scale {scale:g}")


_STAGES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], bool, Behind], Closing]] = {
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


def number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _skill(run: Mapping[str, Any]) -> str:
    """How to name the skill a run made: the file asked for, else the run."""
    path = run.get("outputs", {}).get("skill", {}).get("path", run["id"])
    return shlex.quote(path if path.startswith("/") else run["id"])
