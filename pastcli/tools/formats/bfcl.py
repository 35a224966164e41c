"""The Berkeley Function Calling Leaderboard: JSONL of `{"id", "question": [[{"role", "content"}]], "function": […]}`.

Its right calls are in a file of the same name in the folder `possible_answer` beside it, `{"id", "ground_truth":
[{function: {parameter: [values that are right]}}]}`, where "" among the values says that a parameter may be left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...api import ExpectedCall, Task, ToolDocument, ToolSpec, ToolWarnings
from ...errors import UsageError
from .functions import function_spec, named, once

NAME = "BFCL"

CATEGORY = "functions"

OPTIONAL = ""


def accepts(document: ToolDocument) -> bool:
    """True if an entry has a question and functions to answer it with."""
    return any(isinstance(entry, dict) and "question" in entry and "function" in entry for entry in document.entries)


def read(document: ToolDocument, warnings: ToolWarnings) -> tuple[list[Task], list[ToolSpec]]:
    """One task an entry, with the calls that are right where they are known."""
    answers = _answers(document, warnings)
    tasks = []
    for index, entry in enumerate(document.entries, start=1):
        if not isinstance(entry, dict) or "function" not in entry:
            warnings.add("T01", f"entry {index}: no question with functions; left out")
            continue
        identity = str(entry.get("id", f"#{index}"))
        query = _query(entry.get("question"))
        if not query.strip():
            warnings.add("T01", f"entry {identity}: no text; left out")
            continue
        if isinstance(entry["question"], list) and sum(isinstance(turn, list) for turn in entry["question"]) > 1:
            warnings.add("T14", f"entry {identity}")
        listed = entry["function"] if isinstance(entry["function"], list) else [entry["function"]]
        tools = once((_tool(one, identity, warnings) for one in listed if named(one)), warnings)
        expected = _expected(entry.get("ground_truth", answers.get(identity)), tools, identity, warnings)
        relevant = tuple(dict.fromkeys(call.key for call in expected))
        tasks.append(Task(identity, query, tuple(tools), relevant, expected_calls=expected))
    return tasks, []


def _tool(entry: dict[str, Any], question: str, warnings: ToolWarnings) -> ToolSpec:
    """The key holds the question's id: two questions may mean different functions by one name."""
    return replace(
        function_spec(entry, entry.get("parameters"), CATEGORY, warnings, entry.get("response")), tool=question
    )


def _query(question: Any) -> str:
    """What the user says in the first turn; a question may be a text, a list of messages, or a list of turns."""
    turn = question
    while isinstance(turn, list) and turn and isinstance(turn[0], list):
        turn = turn[0]
    if isinstance(turn, list):
        said = [message for message in turn if isinstance(message, dict) and message.get("role") != "assistant"]
        return "\n".join(filter(None, (_text(message.get("content")) for message in said)))
    return _text(turn)


def _text(content: Any) -> str:
    """A message's content: a text, or a list of parts of which some are texts."""
    parts = (
        [part.get("text") if isinstance(part, dict) else part for part in content]
        if isinstance(content, list)
        else [content]
    )
    return "\n".join(part for part in parts if isinstance(part, str))


def _answers(document: ToolDocument, warnings: ToolWarnings) -> dict[str, Any]:
    """Ground truth by id, from the file beside; {} if there is none."""
    from ..sources import read as read_file

    beside = document.path.parent / "possible_answer" / document.path.name
    if not beside.is_file():
        return {}
    try:
        entries = read_file(beside).entries
    except UsageError as error:
        warnings.add("T12", error.message)
        return {}
    return {
        str(e["id"]): e["ground_truth"] for e in entries if isinstance(e, dict) and {"id", "ground_truth"} <= e.keys()
    }


def _expected(truth: Any, tools: list[ToolSpec], identity: str, warnings: ToolWarnings) -> tuple[ExpectedCall, ...]:
    keys = {spec.api: spec.key for spec in tools}
    found = []
    for call in truth if isinstance(truth, list) else []:
        for name, arguments in call.items() if isinstance(call, dict) else ():
            if name not in keys or not isinstance(arguments, dict):
                warnings.add("T07", f"entry {identity}: {name!r}")
                continue
            values = {p: tuple(v) if isinstance(v, list) else (v,) for p, v in arguments.items()}
            optional = frozenset(p for p, allowed in values.items() if OPTIONAL in allowed)
            found.append(ExpectedCall(keys[name], values, optional))
    return tuple(found)
