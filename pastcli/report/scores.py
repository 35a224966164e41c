"""Eval runs and studies in a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import runs
from ..evals.closed_book import METRICS, read_transcript
from ..study.report import refreshed
from ..words import counted
from .blocks import Block, Cell, Dots, Folded, Score, Section, Table, Words
from .compared import output_of
from .plots import interval

MOST_QUESTIONS = 2000
"""Questions whose answers a page holds."""


def eval_section(records: Sequence[runs.Record], differences: Sequence[Block]) -> Section:
    """Every model's scores with their intervals."""
    rows: list[list[Any]] = []
    scores: dict[str, list[Score]] = {metric: [] for metric in METRICS}
    captions = []
    for record in records:
        results = json.loads(output_of(record, "results").read_text(encoding="utf-8"))
        for label, found in results["models"].items():
            name = f"{record.id}:{label}" if len(results["models"]) > 1 else record.id
            own = [Score(name, *(found[metric][bound] for bound in ("mean", "low", "high"))) for metric in METRICS]
            for metric, score in zip(METRICS, own, strict=True):
                scores[metric].append(score)
            rows.append([name, results["questions"], *map(interval, own), f"{found['tokens']:.1f}", found["empty"]])
        level = float(record.manifest["config"].get("confidence", 0.95))
        captions.append(f"{record.id}: {level:.0%} intervals over {results['units']}")
    table = Table(("model", "questions", *METRICS, "tokens", "empty"), rows, "; ".join(captions) + ".")
    return Section("Evaluations", [table, *(Dots(metric, of) for metric, of in scores.items()), *differences])


def answers_section(records: Sequence[runs.Record]) -> Section:
    """Every question with what each model answered."""
    asked: dict[str, dict[str, Any]] = {}
    columns = []
    for record in records:
        labels = list(json.loads(output_of(record, "results").read_text(encoding="utf-8"))["models"])
        for number, label in enumerate(labels, 1):
            name = f"{record.id}:{label}" if len(labels) > 1 else record.id
            columns.append(name)
            for one in read_transcript(output_of(record, "answers") / f"{number}.jsonl"):
                row = asked.setdefault(one.id, {"question": one.question, "right": " | ".join(one.answers)})
                row[name] = f"{one.prediction or '(empty)'}  (F1 {one.f1:.2f})"
    rows = [[row["question"], row["right"], *(row.get(name) for name in columns)] for row in asked.values()]
    left = len(rows) - MOST_QUESTIONS
    caption = f"Left out: {counted(left, 'more questions')}." if left > 0 else ""
    table = Table(("question", "right", *columns), rows[:MOST_QUESTIONS], caption)
    return Section("Answers", [Folded(f"{counted(len(rows), 'questions')}", [table])])


def study_sections(path: Path) -> list[Section]:
    """A study as its own report tells it, computed anew from its items."""
    document = refreshed(path)
    summary = document["summary"]
    blocks: list[Block] = [Words(summary["sentences"])] if summary["sentences"] else []
    for about in document["items"]:
        arms = [arm for arm in summary["scores"] if document["study"]["arms"][arm]["about"] == about]
        if arms:
            blocks += _arms(summary, arms, about)
    return [Section(f"Study: {document['title']}", [*blocks, *_effects(summary)])]


def _arms(summary: Mapping[str, Any], arms: Sequence[str], about: str) -> list[Block]:
    level = f"{summary['confidence']:.0%}"
    first = summary["scores"][arms[0]]
    caption = f"Questions on the {about}: {first['questions']} on {counted(first['documents'], 'documents')}; mean over seeds with its {level} t-interval."
    rows: list[list[Cell]] = []
    dots: dict[str, list[Score]] = {}
    for arm in arms:
        found = summary["scores"][arm]
        own = {metric: _share(arm, found[metric]) for metric in METRICS}
        for metric, score in own.items():
            dots.setdefault(metric, []).append(score)
        rows.append([arm, *(interval(score) for score in own.values()), f"{found['tokens']:.1f}", len(found["seeds"])])
    plots = [Dots(f"{metric}, questions on the {about}", scores) for metric, scores in dots.items()]
    return [Table(("arm", *METRICS, "tokens", "seeds"), rows, caption), *plots]


def _effects(summary: Mapping[str, Any]) -> list[Block]:
    rows: list[list[Any]] = []
    dots: dict[str, list[Score]] = {}
    for arm, found in summary["effects"].items():
        for metric, one in found["metrics"].items():
            score = Score(f"{arm} − {one['against']}", one["mean"], one["low"], one["high"])
            dots.setdefault(metric, []).append(score)
            holm = f"{one['p_holm']:.3g}" if "p_holm" in one else "-"
            rows.append([arm, metric, one["against"], interval(score, "+"), f"{one['p']:.3g}", holm])
    caption = "Effects within a seed, question by question, then over seeds; Holm over the arms declared as tests."
    plots = [Dots(f"effect on {metric}", scores, zero=True) for metric, scores in dots.items()]
    return [*plots, Table(("arm", "metric", "minus", "effect", "p", "p Holm"), rows, caption)] if rows else []


def _share(label: str, one: Mapping[str, Any]) -> Score:
    """Student's interval of a share, cut where there are no shares, as in the study's own table."""
    if one["low"] is None:
        return Score(label, one["mean"], None, None)
    return Score(label, one["mean"], max(0.0, one["low"]), min(1.0, one["high"]))
