"""Prompts with their completions, as people keep them: prompt/completion, chat messages, Alpaca, ShareGPT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .faults import Faults
from .rows import records

ACCEPTED = (
    "a pair is {prompt, completion}, {messages: [{role, content}]}, {instruction, input, output} (Alpaca) "
    "or {conversations: [{from, value}]} (ShareGPT), or {messages, parts: [{text, learn}]}; {text} is learnt as a whole"
)

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

Row = dict[str, Any]


def is_pair(record: Mapping[str, Any]) -> bool:
    """True for a record that teaches an answer to a prompt, by its keys."""
    keys = record.keys()
    return (
        {"prompt", "completion"} <= keys
        or "messages" in keys
        or "conversations" in keys
        or ("instruction" in keys and bool({"output", "response"} & keys))
    )


def read_pairs(path: Path, strict: bool = False) -> list[Row]:
    """Training rows of a file: {"text"}, {"prompt", "completion"}, or {"messages"} that end with the answer to learn; with
    "parts" (an agent's episode) the messages are what was asked, and the parts what follows, of which some are learnt.

    A row that is none of these is skipped with a warning, or raised under `strict`. Raises `UsageError` if none is left.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}", 'expected JSONL rows like {"prompt": "...", "completion": "..."}')
    faults, found = Faults(strict), []
    for number, record in records(path, faults):
        rows = rows_of(record)
        if rows:
            found += rows
        else:
            faults.add(f"{path}, line {number}", f"no pair and no text (keys: {', '.join(record)})", ACCEPTED)
    if not found:
        place, reason = faults.items[0] if faults.items else (str(path), "no rows in it")
        raise UsageError(f"{place}: {reason}", ACCEPTED)
    faults.warn()
    return found


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """The training rows of one record, an answer each; [] if it holds none."""
    if {"prompt", "completion"} <= record.keys():
        kept = {key: record[key] for key in ("prompt", "completion")}
        return [kept] if all(isinstance(text, str) and text for text in kept.values()) else []
    if "parts" in record and "messages" in record:
        return _episode(record)
    if "messages" in record or "conversations" in record:
        turns = record.get("messages", record.get("conversations"))
        return _answers([_message(turn) for turn in turns] if isinstance(turns, list) else [])
    if is_pair(record):
        asked = [record["instruction"], record.get("input") or record.get("context") or ""]
        answer = record.get("output", record.get("response"))
        if not all(isinstance(text, str) for text in (*asked, answer)):
            return []
        prompt = "\n\n".join(text.strip() for text in asked if text.strip())
        return _answers([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])
    text = record.get("text")
    return [{"text": text}] if isinstance(text, str) and text.strip() else []


def _episode(record: Mapping[str, Any]) -> list[Row]:
    """A conversation and the stretches of one long answer to it: `learn` says which of them the model is to write."""
    turns, parts = record["messages"], record["parts"]
    if not isinstance(turns, list) or not isinstance(parts, list) or not turns or not parts:
        return []
    messages = [_message(turn) for turn in turns]
    whole = all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) and isinstance(part.get("learn"), bool)
        for part in parts
    )
    if None in messages or not whole or not any(part["learn"] for part in parts):
        return []
    return [{"messages": messages, "parts": [{"text": part["text"], "learn": part["learn"]} for part in parts]}]


def _message(turn: Any) -> dict[str, str] | None:
    """A turn in either layout, by `role` or ShareGPT's `from`; None for what is no text of a known speaker."""
    if not isinstance(turn, Mapping):
        return None
    role = _SPEAKERS.get(str(turn.get("role", turn.get("from"))))
    content = turn.get("content", turn.get("value"))
    return {"role": role, "content": content} if role and isinstance(content, str) else None


def _answers(turns: list[dict[str, str] | None]) -> list[Row]:
    """Every answer with all that was said before it. A turn that cannot be read spoils the whole conversation."""
    messages = [turn for turn in turns if turn is not None]
    if len(messages) < len(turns) or not all(turn["content"].strip() for turn in messages):
        return []
    ends = [n for n, turn in enumerate(messages) if n and turn["role"] == "assistant"]
    return [{"messages": messages[: end + 1]} for end in ends]
