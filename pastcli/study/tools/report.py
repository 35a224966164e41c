"""A study of tools as a reader sees it: sentences, the table of arms, effects, where episodes break off, categories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import MismatchError
from ...files import write_text
from ...verdict import FEWEST_SEEDS, unfinished
from ...words import counted
from ..report import dumps, level, seeds_of, table
from ..sentences import failed, gain, made_by, none_could_be, of_before, seeds
from .effects import CLAIMED, FIGURES, summarise

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


def write(document: Mapping[str, Any], out: Path) -> None:
    """`results.json` and `table.md` in `out`, each whole or not at all."""
    write_text(out / "results.json", dumps(document))
    write_text(out / "table.md", markdown(document))


def refreshed(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The document with its summary made anew from its items. Raises `MismatchError` if items and answers disagree."""
    asked = {item["id"] for item in document["items"]}
    for arm, by_seed in document["arms"].items():
        for entry in by_seed.values():
            if {row["query"] for row in entry["figures"]} != asked:
                raise MismatchError(f"{path}: {arm} was not asked the queries of this study")
    return with_summary(document)


def with_summary(document: Mapping[str, Any]) -> dict[str, Any]:
    summary = summarise(document)
    return {**document, "summary": {**summary, "sentences": list(sentences(document, summary))}}


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
    wanted = len(document["study"]["seeds"])
    for arm in arms:
        count = len(summary["levels"][arm]["seeds"]) if arm in summary["levels"] else 0
        if count < wanted:
            none = "failed" if arm in document.get("failed", {}) else "declared and not run"
            yield f"{arm}: {count} of {wanted} seeds were run." if count else f"{arm}: {none}."
    yield from failed(document)


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
    if all(effect[name]["mean"] == 0 == effect[name]["detectable"] for name in there):
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
        return text + "one seed, not judged."
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


def markdown(document: Mapping[str, Any], level: int = 1) -> str:
    """The whole report."""
    summary, title = document["summary"], "#" * level
    parts = [f"{title} {document['title']}", _recipe(document)]
    parts.append("\n".join(f"- {sentence}" for sentence in summary["sentences"]))
    parts += [f"{title}# Arms, on APIs that RL never saw", _levels(summary, document["study"]["target"].get("guess"))]
    if summary["effects"]:
        parts += [f"{title}# Effects", _effects(summary)]
    parts += [f"{title}# How far episodes come", _steps(summary), f"{title}# By category", _categories(summary)]
    if document["compute"]:
        parts += [f"{title}# What was trained", _compute(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _recipe(document: Mapping[str, Any]) -> str:
    study = document["study"]
    sft, rl, agent = (study["settings"][name] for name in ("sft", "rl", "agent"))
    source, target = study["source"], study["target"]
    sides = "; ".join(
        f"{name}: {', '.join(side['categories'])} ({counted(side['apis'], 'APIs')} of {side['tools']} tools, {counted(side['queries'], 'queries')} for RL, "
        f"{counted(side['test_queries'], 'test queries')}, {counted(side['recall'], 'schema questions')})"
        for name, side in (("source", source), ("target", target))
    )
    return (
        f"Base {study['base']}. {sides}. The sides share no category, tool or query. {_shown(agent)}, {agent['prompt']} prompt; of the required "
        f"arguments of a test query {target['named_in_query'] or 0:.0%} are called by their name in it. SFT {sft['epochs']:g} {'epoch' if sft['epochs'] == 1 else 'epochs'} at {sft['lr']:g}, "
        f"RL {counted(rl['steps'], 'steps')} of {rl['prompts_per_step']} × {rl['num_generations']} episodes at {rl['lr']:g}, at most {agent['max_turns']} turns. "
        f"{made_by(document)}"
    )


def _shown(agent: Mapping[str, Any]) -> str:
    """What the models were shown of the tools."""
    told = "The documentation in the prompt" if agent.get("show_schemas") else "Names only"
    decoding = agent.get("decoding", "off")
    held = "" if decoding == "off" else f", decoding held to a grammar (`{decoding}`)"
    return told + held + (", which shows what was to be recalled" if decoding == "schema" else "")


def _levels(summary: Mapping[str, Any], guess: Mapping[str, Any] | None) -> str:
    rows = []
    # Results of older versions know nothing of some figures.
    figures = [name for name in FIGURES if any(name in found for found in summary["levels"].values())]
    for arm, found in summary["levels"].items():
        kept = found.get("retained")
        price = f"{kept['perplexity_ratio'] - 1:+.1%}" if kept else "-"
        rows.append([arm, *(level(found.get(name)) for name in figures), price, seeds_of(found)])
    caption = f"Mean over seeds with its {summary['confidence']:.0%} t-interval. Grounding and valid calls are shares of what was called. Perplexity of a fixed neutral text, against the base."
    if guess:
        caption += (
            f" A guess: the right function called at once with all {guess['names']} parameters of the source's APIs has first-call recall "
            f"{guess['first_call_recall']:.3f} and F1 {guess['first_call_f1']:.3f}."
        )
    return table(("arm", *(NAMES[name] for name in figures), "perplexity", "seeds"), rows) + "\n\n" + caption


def _effects(summary: Mapping[str, Any]) -> str:
    rows = []
    for arm, effect in summary["effects"].items():
        for name, one in effect.items():
            low, high = one["over_tools"]
            tools = f"[{low:+.3f}, {high:+.3f}]" if low is not None else "-"
            each = ", ".join(f"{seed['mean']:+.3f}" for seed in one["by_seed"])
            holm = f"{one['p_holm']:.3g}" if "p_holm" in one else "-"
            rows.append([arm, NAMES[name], one["against"], gain(one), tools, each, f"{one['p']:.3g}", holm])
    columns = ("arm", "figure", "minus", "effect, over seeds", "over tools", "at each seed", "p", "p Holm")
    caption = (
        "Effects are computed within a seed, query by query, then over seeds (t). `over tools`: the mean of the seeds, interval by tool. "
        "p: the larger of the t-test over seeds and the sign-flip test by tool (the latter alone with one seed); Holm over the arms declared as tests."
    )
    return table(columns, rows) + "\n\n" + caption


def _steps(summary: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["steps"].values()), {}))
    rows = [[arm, *(f"{found[name]:.0%}" for name in names)] for arm, found in summary["steps"].items()]
    return (
        table(("arm", *names), rows)
        + "\n\nThe share of all episodes that come so far, each step among those of the step before it."
    )


def _categories(summary: Mapping[str, Any]) -> str:
    rows = []
    for arm, found in summary["categories"].items():
        for category, one in found.items():
            cells = [level(one.get(name)) for name in CLAIMED]
            rows.append([arm, category, f"{one['queries']} of {one['tools']}", *cells])
    columns = ("arm", "category", "queries of tools", *(NAMES[name] for name in CLAIMED))
    return table(columns, rows) + "\n\nMean over seeds, interval over the tools of the category."


def _compute(document: Mapping[str, Any]) -> str:
    rows = [
        [label, str(one["seed"]), f"{one['tokens'] or 0:,}", f"{one['seconds'] or 0:.0f}", str(one["steps"] or "-")]
        for label, one in document["compute"].items()
    ]
    return table(("training", "seed", "tokens", "seconds", "steps"), rows)
