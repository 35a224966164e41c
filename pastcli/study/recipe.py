"""How the numbers of a study were made, as its report tells it: what all arms share, the phases of SFT, and what every arm and
vector is, with what of the settings it changes. A report that told the study's own settings alone would hold for the arms that change
none of them, and mislead about the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..words import counted
from .compared import factor_of
from .sentences import made_by
from .spec import FROM_SOURCE

_CHANGES = ("sft", "rl", "imitation", "distill", "inject", "source", "target")
"""Tables of an arm or a vector that change settings of the study."""

_READ = ("mix", "augment", "task")
"""Settings of SFT that decide what is read, and with it in what form a model answers."""


def recipe(document: Mapping[str, Any]) -> str:
    """One paragraph of what all arms share, and one of what each is."""
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
        f"Shared titles: {overlap['titles']}; target questions whose template RL saw: {overlap['templates_seen']} of {overlap['questions']}{_read(overlap)}. "
        f"Mean seconds of a run here: {', '.join(f'{stage} {seconds:.0f}' for stage, seconds in document['seconds'].items())}. "
        f"{made_by(document)}"
    )
    return "\n\n".join(filter(None, (shared, declared(study), unlike(study))))


def _read(overlap: Mapping[str, Any]) -> str:
    """The target questions that SFT reads, in texts that models wrote, say: their answers are learnt as answers."""
    read = overlap.get("read", 0)
    return f"; **target questions that stand word for word in what SFT reads: {read}**" if read else ""


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


def declared(study: Mapping[str, Any]) -> str:
    """What every arm, and every vector that arms add, is by more than its name: what is added to what, and what it changes of the
    study's settings. The steps of a sequence are one arm."""
    arms, vectors = study["arms"], study.get("vectors", {})
    added = dict.fromkeys(factor_of(text)[0] for arm in arms.values() for text in arm.get("add") or [])
    made = dict.fromkeys(f"`{_as_declared(name, arm)}` is {_arm(arm, study)}" for name, arm in arms.items())
    found = {name: _vector(vectors[name], study) for name in added if name in vectors}
    of_vectors = f" Vectors: {'; '.join(f'`{name}` is {what}' for name, what in found.items())}." if found else ""
    return f"Arms: {'; '.join(made)}.{of_vectors}"


def _as_declared(name: str, arm: Mapping[str, Any]) -> str:
    """An arm's name in the file: each step of a sequence is an arm in the results."""
    return name.rpartition(": ")[0] if arm.get("sequence") else name


def _arm(arm: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """`SFT, one model a document + random of rl at 0.5, with epochs 1`."""
    made = {"sft": "SFT", "rl": "SFT and RL on the target", "source": "SFT on the source"}.get(
        arm.get("model", "sft"), arm.get("model", "sft")
    )
    if arm.get("sequence"):
        made += f" on {', then '.join(arm['sequence'])}" + (f", vectors {arm['when']}" if arm.get("add") else "")
    made += ", one model a document" if arm.get("single") else ""
    if arm.get("add"):
        control = arm.get("control", "none")
        made += f" + {f'{control} of ' if control != 'none' else ''}{' + '.join(map(str, arm['add']))}"
        made += _scaled(arm.get("scale", 1.0))
    return made + _changes(arm, study)


def _scaled(scale: Any) -> str:
    if isinstance(scale, list):
        return f" at one of {', '.join(f'{one:g}' for one in scale)}"
    return f" at {scale:g}" if scale != 1 else ""


def _vector(vector: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    made = f"the file {vector['file']}" if vector["kind"] == "file" else vector["kind"]
    further = f", of the seed {vector['seed_shift']} further" if vector.get("seed_shift") else ""
    return made + further + _changes(vector, study)


def unlike(study: Mapping[str, Any]) -> str:
    """Which arms add a vector to a model that has read in another way than the one the vector was made from; '' where none
    does. What RL learns from a model without the answer format is the format first of all, and a model that has it gains
    nothing by that: such an arm says little of the skill."""
    found: dict[str, list[str]] = {}
    for name, arm in study["arms"].items():
        who = f"`{_as_declared(name, arm)}`"
        for text in (arm.get("add") or []) if arm["model"] != "base" else ():
            vector = factor_of(text)[0]
            if told := _apart(study.get("vectors", {}).get(vector, {}), arm, study):
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


def _changes(one: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """`, with mix none, rl steps 30, source limit 56`; what is SFT's is told without its name, what the study says itself not at
    all, and '' where nothing is left."""
    told = []
    for table in _CHANGES:
        given = _given(table, study)
        told += [
            f"{'' if table == 'sft' else table + ' '}{name.replace('_', ' ')} {_value(value)}"
            for name, value in (one.get(table) or {}).items()
            if any(each.get(name) != value for each in given)
        ]
    told += [f"{counted(counts['questions'], 'questions')} for RL" for counts in filter(None, [one.get("counts")])]
    return f", with {', '.join(told)}" if told else ""


def _given(table: str, study: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the study itself says in a table: of SFT, in each of its phases."""
    if table == "sft" and study.get("phases"):
        return [phase["sft"] for phase in study["phases"].values()]
    return [study[table] if table in ("source", "target") else study["settings"].get(table, {})]


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " + ".join(map(str, value)) or "none"
    return str(value)
