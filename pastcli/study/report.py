"""Results on disk: one JSON with every item, a Markdown table, and a plot of the effects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import qa
from ..drawing import blank
from ..errors import MismatchError, UsageError
from ..files import read_json, write_text
from ..words import counted
from . import cautions
from .continual_table import table as continual_table
from .effects import CLAIMED, METRICS, summarise
from .recipe import recipe
from .sentences import NAMES, agreeing, gain, judged, sentences


def write(document: Mapping[str, Any], out: Path) -> None:
    """`results.json`, `table.md` and `effects.png` in `out`, each whole or not at all."""
    write_text(out / "results.json", dumps(document))
    write_text(out / "table.md", markdown(document))
    if document["summary"]["effects"]:
        plot(document, out / "effects.png")


def dumps(document: Mapping[str, Any]) -> str:
    """JSON with one line a leaf list or item, so that it stays small and differences can be read."""
    return _json(document, 0) + "\n"


def _json(value: Any, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if depth >= 6 or len(flat) <= 160 or not value or isinstance(value, (str, int, float)):
        return flat
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        inner = [
            f"{pad}{json.dumps(str(key), ensure_ascii=False)}: {_json(one, depth + 1)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(inner) + "\n" + pad[:-1] + "}"
    if all(isinstance(one, (str, int, float)) or one is None for one in value):
        return flat
    return "[\n" + ",\n".join(pad + _json(one, depth + 1) for one in value) + "\n" + pad[:-1] + "]"


def markdown(document: Mapping[str, Any], level: int = 1) -> str:
    """The study as a reader sees it: what the numbers carry, the table of arms, effects, strata, how it was made."""
    if document.get("kind") == "tools":
        from .tools import report as of_tools

        return of_tools.markdown(document, level)
    summary, title = document["summary"], "#" * level
    parts = [f"{title} {document['title']}", recipe(document)]
    parts.append("\n".join(f"- {sentence}" for sentence in summary["sentences"]))
    for about in document["items"]:
        arms = [arm for arm in summary["scores"] if document["study"]["arms"][arm]["about"] == about]
        if arms:
            named = about if about in ("source", "target") else f"domain {about}"
            most = document["study"]["settings"]["eval"]["max_new_tokens"]
            said = cautions.of_questions(document["items"][about], most)
            parts += [f"{title}# Questions on the {named}", _scores(summary, arms, summary["echo"][about], said)]
    if summary["effects"]:
        parts += [f"{title}# Effects", _effects(summary, document["study"]["arms"])]
    if summary.get("continual"):
        columns, rows, caption = continual_table(document)
        parts += [f"{title}# Continual adaptation", table(columns, rows), caption]
    for arm, found in summary["scales"].items():
        curve = ", ".join(f"{scale}: {value:.3f}" for scale, value in found["dev_f1"].items())
        parts.append(f"Scale of {arm}, chosen on the dev questions alone (F1 there): {curve}; taken: {found['scale']}.")
    if summary["strata"]:
        parts += [f"{title}# Effects by stratum", _strata(summary)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _scores(
    summary: Mapping[str, Any], arms: Sequence[str], echo: Mapping[str, float], cautioned: Sequence[str]
) -> str:
    rows = []
    for arm in arms:
        score = summary["scores"][arm]
        cells = [level(score[metric]) for metric in METRICS]
        kept = score.get("retained")
        price = (
            [f"{kept['perplexity_ratio'] - 1:+.1%}", f"{kept['kl']:.3f}", f"{kept['kl_everyday']:.3f}"]
            if kept
            else ["-"] * 3
        )
        rows.append(
            [
                judged(arm, summary),
                *cells,
                f"{score['tokens']:.1f}",
                f"{score['empty']:.0%}",
                f"{score['cut']:.0%}",
                *price,
                seeds_of(score),
            ]
        )
    first = next((one for arm in arms if "within" not in (one := summary["scores"][arm])), summary["scores"][arms[0]])
    caption = f"{counted(first['questions'], 'questions')} on {counted(first['documents'], 'documents')}; mean over seeds with its {summary['confidence']:.0%} t-interval. "
    caption += (
        f"Repeating the question as the answer would score F1 {echo['f1']:.3f}, contains {echo['contains']:.3f}. "
    )
    caption += "empty, cut: answers that say nothing, and that ended at the longest an answer may be. "
    caption += "".join(f"{said} " for said in cautioned)
    caption += "What is kept of the base: perplexity of a fixed neutral text, KL(base || arm) in nats a token on it and on everyday questions."
    return (
        table(
            (
                "arm",
                *(NAMES[m] for m in METRICS),
                "tokens",
                "empty",
                "cut",
                "perplexity",
                "KL neutral",
                "KL everyday",
                "seeds",
            ),
            rows,
        )
        + "\n\n"
        + caption
    )


def seeds_of(level: Mapping[str, Any]) -> str:
    """How many trainings a level is the mean of; `any` where nothing was trained and every seed answers the same."""
    return "any" if level["untrained"] else str(len(level["seeds"]))


def level(one: Mapping[str, Any] | None) -> str:
    """A mean between 0 and 1 with its interval, where it has one."""
    if one is None:
        return "-"
    if one["low"] is None:
        return f"{one['mean']:.3f}"
    return f"{one['mean']:.3f} [{max(0.0, one['low']):.3f}, {min(1.0, one['high']):.3f}]"


def _effects(summary: Mapping[str, Any], arms: Mapping[str, Any]) -> str:
    rows = []
    for arm, found in summary["effects"].items():
        for metric in METRICS:
            one = found["metrics"][metric]
            low, high = one["over_documents"]
            documents = f"[{low:+.3f}, {high:+.3f}]" if low is not None else "-"
            holm = f"{one['p_holm']:.3g}" if "p_holm" in one else "-"
            seeds = ", ".join(f"{seed['mean']:+.3f}" for seed in one["by_seed"])
            seen = f"{one['detectable']:.3f}" if one["detectable"] is not None else "-"
            rows.append(
                [
                    judged(arm, summary),
                    NAMES[metric],
                    one["against"],
                    gain(one),
                    documents,
                    seeds,
                    f"{one['p']:.3g}",
                    holm,
                    seen,
                ]
            )
    columns = (
        "arm",
        "metric",
        "minus",
        "effect, over seeds",
        "over documents",
        "at each seed",
        "p",
        "p Holm",
        "detectable",
    )
    caption = (
        "Effects are computed within a seed, question by question, then over seeds (t). `over documents`: the mean of the seeds, interval by document. p: the larger of the t-test over seeds "
        "and the sign-flip test by document (the latter alone with one seed); Holm over the arms declared as tests. detectable: the effect that both tests show in 80 of 100 repeats, after Holm's correction; of one seed nothing, nor of so few documents that no p-value can be small enough, nor where no score differs."
    )
    caption += agreeing(
        (one for found in summary["effects"].values() for one in found["metrics"].values()), "documents"
    )
    return table(columns, rows) + "\n\n" + caption


def _strata(summary: Mapping[str, Any]) -> str:
    rows = []
    for arm, strata in summary["strata"].items():
        for name, found in strata.items():
            cells = [gain(found[metric]) if metric in found else "-" for metric in CLAIMED]
            rows.append([arm, name, str(found["questions"]), *cells])
    return table(("arm", "stratum", "questions", *(NAMES[m] for m in CLAIMED)), rows)


def plot(document: Mapping[str, Any], path: Path) -> None:
    """One row an effect, one panel a metric: every seed as a small dot, the mean and its interval over seeds."""
    summary = document["summary"]
    effects = summary["effects"]
    figure = blank(10, 1.4 + 0.42 * len(effects))
    for axes, metric in zip(figure.subplots(1, len(CLAIMED), sharey=True), CLAIMED, strict=True):
        for row, (arm, found) in enumerate(effects.items()):
            one = found["metrics"][metric]
            colour = "tab:blue" if document["study"]["arms"][arm]["test"] else "tab:grey"
            axes.plot(
                [seed["mean"] for seed in one["by_seed"]], [row] * len(one["by_seed"]), ".", color=colour, alpha=0.5
            )
            if one["low"] is not None:
                axes.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=2)
            axes.plot(one["mean"], row, "o", color=colour)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{NAMES[metric]}, effect", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        labels = [f"{judged(arm, summary)} − {found['metrics'][metric]['against']}" for arm, found in effects.items()]
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    half = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(half, dpi=130, format="png")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


# ---------------------------------------------------------------- a document made of several studies

BEGIN, END = "<!-- studies: made by `past study report`, do not edit -->", "<!-- studies: end -->"


WRITTEN = "name a results.json that `past study run` wrote"


def refreshed(path: Path) -> dict[str, Any]:
    """A results document with its summary made anew from its items, so that no table can differ from its data.

    Raises `UsageError` if the file is none that a study wrote, `MismatchError` if a score is not what its prediction earns.
    """
    try:
        document = read_json(path)
    except MismatchError as error:
        raise UsageError(error.message, WRITTEN) from None
    try:
        return _refreshed(document, path)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no whole result of a study ({type(error).__name__}: {error})", WRITTEN) from error


def _refreshed(document: dict[str, Any], path: Path) -> dict[str, Any]:
    if document.get("kind") == "tools":
        from .tools import report as of_tools

        return of_tools.refreshed(document, path)
    if not {"study", "items", "arms"} <= document.keys():
        raise UsageError(f"{path} is no result of a study", WRITTEN)
    _check_scores(document, path)
    summary = summarise(document)
    return {**document, "summary": {**summary, "sentences": sentences({**document, "summary": summary}, summary)}}


def _check_scores(document: Mapping[str, Any], path: Path) -> None:
    score = {"exact": qa.exact_match, "contains": qa.contains, "f1": qa.f1}
    for arm, seeds in document["arms"].items():
        items = document["items"][document["study"]["arms"][arm]["about"]]
        for columns in (entry["answers"] for scales in seeds.values() for entry in scales.values()):
            if any(len(column) != len(items) for column in columns.values()):
                raise MismatchError(f"{path}: {arm} has another number of answers than the {len(items)} questions")
            for number, item in enumerate(items):
                earned = {name: judge(columns["prediction"][number], item["answers"]) for name, judge in score.items()}
                if not all(abs(columns[name][number] - value) <= 1e-9 for name, value in earned.items()):
                    raise MismatchError(f"{path}: a score of {arm} on {item['id']} is not what its prediction earns")


def into(text: str, studies: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """`text` with what stands between the two marks replaced by the studies; (link to the data, document) each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError("the file has no place for studies", f"put these two lines into it: {BEGIN} and {END}")
    parts = [f"{markdown(document, 2)}\nEvery item: [{link}]({link}).\n" for link, document in studies]
    return text[: text.index(BEGIN)] + BEGIN + "\n\n" + "\n".join(parts) + "\n" + text[text.index(END) :]
