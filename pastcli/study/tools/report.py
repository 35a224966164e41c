"""A study of tools as a reader sees it: its sentences, the table of arms, effects, where episodes break off, categories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import MismatchError
from ...files import write_text
from ...words import counted
from ..recipe import declared
from ..report import dumps, level, seeds_of, table
from ..sentences import agreeing, gain, made_by
from .effects import CLAIMED, FIGURES, summarise
from .sentences import NAMES, sentences


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


def markdown(document: Mapping[str, Any], level: int = 1) -> str:
    """The whole report."""
    summary, title = document["summary"], "#" * level
    parts = [f"{title} {document['title']}", _recipe(document), declared(document["study"])]
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
    caption += agreeing((one for effect in summary["effects"].values() for one in effect.values()), "tools")
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
