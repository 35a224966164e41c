"""A conversation as one text and back, for servers that keep their chat template to themselves.

An agent renders once and then appends what was said; whatever follows the last marker is what the assistant has
already said in this turn, and is sent as an assistant message to be carried on.

Calls that a model makes by the protocol's own means (`tool_calls`) stand in the text as `<tool_call>{"name": …, "arguments":
"…"}</tool_call>`, their arguments as the text that the server sent, and become `tool_calls` again on the way back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pastcli.api import Message

_HEAD = "\x1epast-transcript\n"
_MARK = re.compile(r"\x1e(\w+)\n")
"""U+001E, the record separator, occurs in no natural text and is taken out of what is rendered or answered."""

_CALL = re.compile(r'<tool_call>\{"name": ("(?:[^"\\]|\\.)*"), "arguments": ("(?:[^"\\]|\\.)*")\}</tool_call>')


def render(messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
    """The text of a conversation, ending where the assistant is to speak; the functions it may call stand before it."""
    told = f"\x1etools\n{json.dumps(list(tools), ensure_ascii=False)}" if tools else ""
    turns = (f"\x1e{message.role}\n{without_marks(message.content)}" for message in messages)
    return _HEAD + told + "".join(turns) + "\x1eassistant\n"


def parse(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(messages, functions) of a rendered text, with what was appended to it, as the protocol has them; no messages if
    it is not one."""
    if not text.startswith(_HEAD):
        return [], []
    _, *pieces = _MARK.split(text[len(_HEAD) :])
    turns = list(zip(pieces[::2], pieces[1::2], strict=True))
    tools = json.loads(turns.pop(0)[1]) if turns[0][0] == "tools" else []
    messages: list[dict[str, Any]] = []
    for role, content in turns if turns[-1][1] else turns[:-1]:
        messages.append(_message(role, content, messages) if tools else {"role": role, "content": content})
    return messages, tools


def _message(role: str, content: str, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One message of a conversation with functions. An observation answers the call before it; one that no call asked for
    (the turn could not be read) is the user's word."""
    if role == "assistant":
        calls = [
            {
                "id": f"call_{len(before)}_{number}",
                "type": "function",
                "function": {"name": _sendable(found[1]), "arguments": _sendable(found[2])},
            }
            for number, found in enumerate(_CALL.finditer(content))
        ]
        said = _CALL.sub("", content).strip()
        return (
            {"role": role, "content": said or None, "tool_calls": calls}
            if calls
            else {"role": role, "content": content}
        )
    asked = before[-1].get("tool_calls") if role == "tool" and before else None
    if asked:
        return {"role": role, "tool_call_id": asked[0]["id"], "content": content}
    return {"role": "user" if role == "tool" else role, "content": content}


def _sendable(written: str) -> str:
    """A text of a call as it can be sent: half a character (a lone surrogate), which a server's JSON may hold, can not."""
    return str(json.loads(written)).encode("utf-8", "replace").decode("utf-8")


def answered(message: Any) -> str:
    """What a chat message said: its content, then each of its calls. Raises `ValueError` for what is none of either."""
    parts = [without_marks(_text(message.content))]
    calls = getattr(message, "tool_calls", None) or []
    if not isinstance(calls, list) or not all(getattr(call, "function", None) for call in calls):
        raise ValueError("tool calls that name no function")
    for call in calls:
        name, arguments = call.function.name, call.function.arguments or ""
        # Some servers send the arguments as the object itself, where the protocol has its text.
        arguments = (arguments if isinstance(arguments, str) else json.dumps(arguments)).strip() or "{}"
        # "</" stands inside of a string here, where "<\/" is the same text: no argument ends the call.
        written = json.dumps({"name": name, "arguments": without_marks(arguments)}).replace("</", "<\\/")
        parts.append(f"<tool_call>{written}</tool_call>")
    return "\n".join(part for part in parts if part)


def _text(content: Any) -> str:
    """A content: a text, none, or the texts of its parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def without_marks(text: str) -> str:
    return text.replace("\x1e", " ")
