"""Why first calls that name every required parameter are refused: `python tests/bench/first_calls.py RUN...`.

Reads finished runs of `past agent` (their folders) and prints, for each, the queries, first-call recall and F1, how many first
calls named all that is required, how many of these were accepted, and how many had no fault but a number given as a text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

QUOTED = ("must be a number, not a string", "must be an integer, not a string")


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def counts(run: Path) -> dict[str, Any]:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    figures = rows(run / "figures.jsonl")
    named = {row["query"]: row["first_call_valid"] == 1 for row in figures if row["first_call_recall"] == 1}
    refused: dict[str, str] = {}
    for event in rows(run / "transcript.jsonl"):
        if event["event"] == "step" and event["outcome"] == "invalid":
            refused.setdefault(event["task"], event["observation"]["error"])
    quoted = [
        query
        for query, accepted in named.items()
        if not accepted and query in refused and all(fault.endswith(QUOTED) for fault in refused[query].split("; "))
    ]
    return {
        "run": run.name,
        "queries": len(figures),
        "first_call_recall": round(summary["first_call_recall"], 4),
        "first_call_f1": round(summary["first_call_f1"], 4),
        "all_named": len(named),
        "accepted": sum(named.values()),
        "refused_for_quoted_numbers": len(quoted),
    }


if __name__ == "__main__":
    print(json.dumps([counts(Path(run)) for run in sys.argv[1:]], indent=1))
