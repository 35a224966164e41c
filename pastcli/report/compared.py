"""Runs on the same queries as tables of scores, and what else differs between them than the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .. import runs
from ..agent.reading import episodes, scores
from ..errors import UsageError
from ..evals.closed_book import METRICS, read_transcript
from ..evals.paired import Table

DECIDE = (
    "decoding",
    "show_schemas",
    "prompt",
    "format",
    "judge",
    "judge_model",
    "max_turns",
    "observation_chars",
    "max_new_tokens",
)
"""Settings in which agent runs must agree for a difference to be the model's."""


def tables_of(records: Sequence[runs.Record]) -> tuple[dict[str, Table], dict[str, str]]:
    """Scores by run (and label), and the document of each question."""
    tables: dict[str, Table] = {}
    documents: dict[str, str] = {}
    for record in records:
        if record.stage == "agent":
            tables[record.id] = scores(episodes(output_of(record, "transcript")))
        elif record.stage == "eval":
            labels = list(json.loads(output_of(record, "results").read_text(encoding="utf-8"))["models"])
            for number, label in enumerate(labels, 1):
                answers = read_transcript(output_of(record, "answers") / f"{number}.jsonl")
                name = f"{record.id}:{label}" if len(labels) > 1 else record.id
                tables[name] = {metric: {a.id: getattr(a, metric) for a in answers} for metric in METRICS}
                documents |= {a.id: a.doc for a in answers if a.doc}
        else:
            raise UsageError(f"{record.id} is a run of {record.stage}", "compare runs of agent or eval")
    if len({record.stage for record in records}) > 1:
        raise UsageError("agent and eval runs have no metric in common", "compare runs of one kind")
    return tables, documents


def output_of(record: runs.Record, name: str) -> Path:
    path = record.output(name)
    if path is None or not path.exists():
        raise UsageError(f"{record.id} has no {name} any more", "was the run finished, and is its folder whole?")
    return path


def not_comparable(records: Sequence[runs.Record], tables: dict[str, Table]) -> list[str]:
    """What else differs between the runs than the model."""
    first, reasons = records[0], []
    for record in records[1:]:
        if record.stage == "agent":
            for name in DECIDE:
                old, new = first.manifest["config"].get(name), record.manifest["config"].get(name)
                if old != new:
                    reasons.append(f"{name} is {new} in {record.id}, {old} in {first.id}")
        for name in ("tools", "tasks", "questions"):
            hashes = [one.manifest["inputs"].get(name, {}).get("hash") for one in (first, record)]
            if hashes[0] != hashes[1]:
                reasons.append(f"{record.id} used other {name} than {first.id}")
    reference = next(iter(tables.values()))
    for name, table in tables.items():
        metric = next(iter(table))
        if set(table[metric]) != set(reference[metric]):
            reasons.append(f"{name} has other queries than the first; only those in common are compared")
    return reasons
