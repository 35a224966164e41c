"""One episode after the other for human eyes, read back from the transcript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import output
from .prompts import FINISH, observation_text

STYLES = {"Thought": "italic", "Action": "bold cyan", "Action Input": "cyan", "Observation": "dim", "Error": "red"}


def show_episodes(transcript: Path, limit: int) -> None:
    """Print every episode of a transcript on stdout; observations as the model saw them, at most `limit` characters."""
    with open(transcript, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "episode":
                title = f"── query {event['task']}, attempt {event['attempt'] + 1} ──"
                output.line(title, "dim")
                _line("Query", event["messages"][-1]["content"], "bold")
            elif event["event"] == "step":
                _step(event, limit)
            elif event["event"] == "end":
                verdict = event["verdict"]
                style = {"Solved": "bold green", "Partially Solved": "bold yellow", "Ungraded": "bold"}.get(
                    verdict["label"], "bold red"
                )
                _line("Answer", event["answer"] or f"none ({event['status']})", "bold")
                _line(verdict["label"], verdict["reason"], style)


def _step(event: dict[str, Any], limit: int) -> None:
    _line("Thought", event["thought"], STYLES["Thought"])
    if event["action"]:
        _line("Action", event["action"], STYLES["Action"])
        read = json.dumps(event["arguments"], ensure_ascii=False)
        _line("Action Input", event["completion"]["text"] if event["error"] else read, STYLES["Action Input"])
    else:
        _line("Said", event["completion"]["text"], "dim")
    if event["repairs"]:
        _line("Repaired", ", ".join(event["repairs"]), "dim")
    if (event["observation"] is not None and event["action"] != FINISH) or event["outcome"] == "malformed":
        style = STYLES["Observation" if event["outcome"] == "ok" else "Error"]
        _line("Observation", observation_text(event["observation"], limit), style)


def _line(label: str, text: str, style: str) -> None:
    """`label: text`. What a model or a tool says may not steer the terminal, so control characters are made visible."""
    safe = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text.strip())
    output.line(safe, style, label=f"{label}: ")
