"""How the numbers of a study were made, as its report tells it: what all arms share, the phases of SFT, and what of it
single arms and vectors do otherwise. A report that told the study's own settings alone would hold for the arms that change
none of them, and mislead about the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..words import counted
from .sentences import made_by
from .spec import FROM_SOURCE

_CHANGES = ("sft", "rl", "imitation", "distill", "inject", "source", "target")
"""Tables of an arm or a vector that change settings of the study."""

_SINGLE = {"kind": "rl", "scale": 1.0, "control": "none", "single": None, "seed_shift": 0, "file": ""}
"""What else an arm or a vector may set, with what it is where nothing is said; it is told unless the name tells it."""


_READ = ("mix", "augment", "task")
"""Settings of SFT that decide what is read, and with it in what form a model answers."""


def recipe(document: Mapping[str, Any]) -> str:
    """One paragraph of what all arms share, and one of what single arms and vectors do otherwise."""
    study = document["study"]
    rl, source, target = study["settings"]["rl"], study["source"]["counts"], study["target"]["counts"]
    seen = rl["steps"] * rl["prompts_per_step"] / max(1, source["questions"])
    practised = (
        f"{counted(source['documents'], 'source documents')} with {counted(source['questions'], 'questions')} for RL"
        if source["documents"]
        else "the skill was made before, from no source of this study"
    )
    made = f"RL {counted(rl['steps'], 'steps')} of {rl['prompts_per_step']} × {rl['num_generations']} answers of {rl['max_new_tokens']} tokens at {rl['lr']:g} (each question {seen:.1f} times)"
    overlap = study["overlap"]
    shared = (
        f"Base {study['base']}; {practised}, {counted(target['documents'], 'target documents')}; "
        f"{_learnt(study)}{', ' + made if source['documents'] else ''}. "
        f"Shared titles: {overlap['titles']}; target questions whose template RL saw: {overlap['templates_seen']} of {overlap['questions']}. "
        f"Mean seconds of a run here: {', '.join(f'{stage} {seconds:.0f}' for stage, seconds in document['seconds'].items())}. "
        f"{made_by(document)}"
    )
    return "\n\n".join(filter(None, (shared, otherwise(study), unlike(study))))


def _learnt(study: Mapping[str, Any]) -> str:
    phases = study.get("phases")
    if not phases:
        return _sft(study["settings"]["sft"])
    told = [f"{name}: {_phase(phase)}" for name, phase in phases.items()]
    return f"SFT in phases, each on from the one before ({'; '.join(told)})"


def _sft(sft: Mapping[str, Any]) -> str:
    return f"SFT {sft['epochs']:g} {'epoch' if sft['epochs'] == 1 else 'epochs'} at {sft['lr']:g}"


def _phase(phase: Mapping[str, Any]) -> str:
    sft = phase["sft"]
    texts = [] if sft["augment"] == "off" else ["the documents"]
    texts += [name for name in (*sft["task"], *phase["generate"], *sft["mix"]) if name != "none"]
    chosen = (
        ", the checkpoint with the least loss on the validation questions where there are any"
        if phase["validate"]
        else ""
    )
    return f"{_sft(sft).removeprefix('SFT ')} on {', '.join(texts)}{chosen}"


def otherwise(study: Mapping[str, Any]) -> str:
    """What arms, and the vectors that they add, change of the study's settings; '' where none does."""
    arms, vectors = study["arms"], study["vectors"]
    added = {text.rpartition(":")[0] or text for arm in arms.values() for text in arm["add"]}
    made = {f"`{name}`": one for name, one in arms.items()}
    made |= {f"vector `{name}`": one for name, one in vectors.items() if name in added}
    found: dict[str, list[str]] = {}
    for who, one in made.items():
        found.setdefault(_changes(who, one, study), []).append(who)
    told = [f"with {what}: {', '.join(who)}" for what, who in found.items() if what]
    return f"Made otherwise than that, {'; '.join(told)}." if told else ""


def unlike(study: Mapping[str, Any]) -> str:
    """Which arms add a vector to a model that has read in another way than the one the vector was made from; '' where none
    does. What RL learns from a model without the answer format is the format first of all, and a model that has it gains
    nothing by that: such an arm says little of the skill."""
    found: dict[str, list[str]] = {}
    for name, arm in study["arms"].items():
        who = f"`{name.rpartition(': ')[0] if arm.get('sequence') else name}`"
        for text in arm["add"] if arm["model"] != "base" else ():
            vector = text.rpartition(":")[0] or text
            if told := _apart(study["vectors"].get(vector, {}), arm, study):
                arms = found.setdefault(f"vector `{vector}` was made from SFT with {told}", [])
                arms += [who] if who not in arms else []
    shown = "; ".join(f"{what} ({', '.join(arms)})" for what, arms in found.items())
    return f"The skill and what it is added to have not learnt alike: {shown}." if shown else ""


def _apart(vector: Mapping[str, Any], arm: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """`mix none, where theirs has mix qa`: what the SFT of a vector and of an arm read differently; '' where nothing."""
    if vector.get("kind") not in FROM_SOURCE:
        return ""
    pairs = [
        (name, {**given, **(vector.get("sft") or {})}[name], {**given, **(arm.get("sft") or {})}[name])
        for given in _given("sft", study)
        for name in _READ
    ]
    found = [(name, one, other) for name, one, other in pairs if one != other]
    made = ", ".join(f"{name} {_value(one)}" for name, one, _ in found)
    return (
        f"{made}, where theirs has {', '.join(f'{name} {_value(other)}' for name, _, other in found)}" if found else ""
    )


def _changes(who: str, one: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """`mix none, rl steps 30, source limit 56`; what is SFT's is told without its name."""
    told = [
        f"{name.replace('_', ' ')} {_value(one[name])}"
        for name, usual in _SINGLE.items()
        if one.get(name, usual) != usual and str(one[name]) not in who
    ]
    for table in _CHANGES:
        given = _given(table, study)
        told += [
            f"{'' if table == 'sft' else table + ' '}{name.replace('_', ' ')} {_value(value)}"
            for name, value in (one.get(table) or {}).items()
            if any(each.get(name) != value for each in given)
        ]
    told += [f"{counted(counts['questions'], 'questions')} for RL" for counts in filter(None, [one.get("counts")])]
    return ", ".join(told)


def _given(table: str, study: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the study itself says in a table: of SFT, in each of its phases."""
    if table == "sft" and study.get("phases"):
        return [phase["sft"] for phase in study["phases"].values()]
    return [study[table] if table in ("source", "target") else study["settings"].get(table, {})]


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " + ".join(map(str, value)) or "none"
    return str(value)
