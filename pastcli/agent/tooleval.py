"""The answers of a run as ToolEval's scripts read them (2307.16789)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..api import Episode
from ..files import write_json
from .player import Result
from .prompts import FINISH_SCHEMA, GIVE_ANSWER, schema


def export(results: Sequence[Result], folder: Path, model: str, group: str) -> None:
    """Write `folder/MODEL/GROUP.json`, the names ToolEval's scripts expect; further attempts as models `MODEL@2`, `MODEL@3`, ..."""
    for attempt in sorted({result.episode.attempt for result in results}):
        place = folder / (model if attempt == 0 else f"{model}@{attempt + 1}")
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / f"{group}.json", tooleval(results, attempt))


def tooleval(results: Sequence[Result], attempt: int) -> dict[str, Any]:
    """One attempt at every query in the answer format of ToolEval (2307.16789), keyed by query id.

    `answer_details` is a chain of nodes, each in the `next` of the one before: system (left empty, as theirs is), the user's
    query, then a node for every thought and for every call. Their scripts count a run as answered only if the last call is
    one of Finish.
    """
    return {
        result.episode.task.id: {
            "query": result.episode.task.query,
            "available_tools": [*(schema(spec) for spec in result.episode.task.tools), FINISH_SCHEMA],
            "answer": _answer(result.episode),
        }
        for result in results
        if result.episode.attempt == attempt
    }


def _answer(episode: Episode) -> dict[str, Any]:
    nodes: list[tuple[str, Any]] = [("system", ""), ("user", episode.task.query)]
    for step in episode.steps:
        if step.thought:
            nodes.append(("assistant", step.thought))
        if step.action:
            response = "" if step.observation is None else json.dumps(step.observation.to_dict(), ensure_ascii=False)
            arguments = json.dumps(step.arguments, ensure_ascii=False)
            nodes.append(("tool", {"name": step.action, "arguments": arguments, "response": response}))
    chain: list[dict[str, Any]] = []
    for role, message in reversed(nodes):
        chain = [{"role": role, "message": message, "next": chain}]
    final = json.dumps({"return_type": GIVE_ANSWER, "final_answer": episode.answer}, ensure_ascii=False)
    return {
        "method": f"past_react@{episode.attempt + 1}",
        "total_steps": len(nodes),
        "final_answer": final if episode.status == "finished" else "",
        "answer_details": chain,
    }
