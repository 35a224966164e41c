"""One episode after the other for human eyes, read back from the transcript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import output
from ..api import Step
from .told import told

STYLES = {
    "Thought": "italic",
    "Action": "bold cyan",
    "Action Input": "cyan",
    "Said": "dim",
    "Repaired": "dim",
    "Observation": "dim",
}
VERDICTS = {"Solved": "bold green", "Partially Solved": "bold yellow", "Ungraded": "bold"}


def show_episodes(transcript: Path, limit: int) -> None:
    """Print every episode of a transcript on stdout, one after the other however they were played; observations as the model
    saw them, at most `limit` characters."""
    episodes: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with open(transcript, encoding="utf-8") as lines:
        for event in map(json.loads, lines):
            if event["event"] in ("episode", "step", "end"):
                episodes.setdefault((event["task"], event["attempt"]), []).append(event)
    for events in episodes.values():
        for event in events:
            _show(event, limit)


def _show(event: dict[str, Any], limit: int) -> None:
    if event["event"] == "episode":
        output.line(f"── query {event['task']}, attempt {event['attempt'] + 1} ──", "dim")
        _line("Query", event["messages"][-1]["content"], "bold")
    elif event["event"] == "step":
        for part in told(Step.from_dict(event), limit):
            _line(part.label, part.text, "red" if part.kind == "error" else STYLES[part.label])
    else:
        verdict = event["verdict"]
        _line("Answer", event["answer"] or f"none ({event['status']})", "bold")
        _line(verdict["label"], verdict["reason"], VERDICTS.get(verdict["label"], "bold red"))


def seen(text: str) -> str:
    """What a model or a tool says may not steer the terminal: control characters become visible."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _line(label: str, text: str, style: str) -> None:
    output.line(seen(text.strip()), style, label=f"{label}: ")
