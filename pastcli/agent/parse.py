"""Model text to one ReAct turn. Total: any text gives a `Said`, and nothing is ever executed or evaluated.

No call is ever made with arguments other than those written: where an input is missing, doubtful or unreadable, the turn
is an error that says so, and the model is asked again.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from ..thoughts import THOUGHT
from .arguments import parse_arguments

_LABEL = re.compile(
    r"^[ \t>*_#`-]*(?P<label>Thought|Action[ _]?Input|Arguments?|Parameters?|Input|Action|Observation|Final[ _]Answer)"
    r"(?:[ \t]*#?\d+)?(?P<mark>[*_`]*)[ \t]*[:：]\**[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_TOOL_CALL = re.compile(r"<tool_call>(?P<call>.*?)(?:</tool_call>|\Z)", re.DOTALL)
_CALL = re.compile(r"(?P<name>[\w.-]+)\s*\((?P<inside>.*)\)\s*;?\s*", re.DOTALL)
_PARTS = {"thought": "thought", "observation": "observation", "action": "action"}
NO_ACTION = "no Action line; write 'Action:' and one function name"
NO_INPUT = "no Action Input; write 'Action Input:' and one JSON object, {} for none"
FINISH, ANSWER = "Finish", "final_answer"


@dataclass(frozen=True)
class Said:
    """What one turn said, as read. `error` is '' when there is an action and readable arguments.

    `arguments` is any JSON value (only the tool decides whether it is acceptable); `used` is the part of the text
    that belongs to this step: what stands after it (an observation of the model's own making, a second call)
    is left out of the conversation.
    """

    thought: str
    action: str
    arguments: Any
    used: str
    repairs: tuple[str, ...]
    error: str


def parse(text: str, cut: bool = False) -> Said:
    """Read `… Action: … Action Input: …`; `cut` says that generation stopped at the token limit.

    What stands before the first label is thought (the prompt ends in `Thought:`). The first action counts. Labels
    may be bold, quoted, numbered or without a space, the input may be called Input or Arguments, or stand in brackets after
    the name; a `<tool_call>` and a `Final Answer:` are understood. Nothing inside <think> is a label.
    """
    visible = THOUGHT.sub(lambda found: " " * len(found[0]), text)
    parts, repairs, end = _parts(visible)
    cut = cut and end == len(text)  # a limit hit in what is left out anyway has cut nothing off
    thought = " ".join(parts["thought"].split())
    if "action" not in parts:
        return _without_action(text, visible, parts, thought, repairs, end, cut)
    action, inside = _action(parts["action"], repairs)
    written = parts.get("input", inside)
    arguments, mended, error = parse_arguments(written or "")
    if not action:
        error = "Action is empty; write one function name after 'Action:'"
    elif written is None:
        error = "the answer was cut off before Action Input" if cut else NO_INPUT
    elif "input" not in parts and written and not written.startswith("{"):
        error = "write the arguments as one JSON object after 'Action Input:'"
    elif cut and "empty_input" in mended and inside is None:  # half a name may be the name of another function
        error = "the answer was cut off before Action Input"
    elif cut and error:
        error = f"the answer was cut off inside Action Input ({error})"
    elif "input" in parts and inside and inside.strip():
        error = "arguments stand both after the function's name and in Action Input; write them once"
    return Said(thought, action, None if error else arguments, text[:end], tuple(repairs + mended), error)


def _without_action(
    text: str, visible: str, parts: dict[str, str], thought: str, repairs: list[str], end: int, cut: bool
) -> Said:
    """A turn without an Action line: a tool call in tags, a final answer, or nothing."""
    tagged = _TOOL_CALL.search(visible)
    if tagged:
        action, arguments, mended, error = tool_call(tagged["call"])
        error = f"the answer was cut off inside <tool_call> ({error})" if cut and error else error
        thought = " ".join(visible[: tagged.start()].split())
        return Said(thought, action, arguments, text[: tagged.end()], (*repairs, "tool_call", *mended), error)
    answer = parts.get("answer", "").strip()
    if answer and not cut:
        return Said(
            thought, FINISH, {"return_type": "give_answer", ANSWER: answer}, text[:end], (*repairs, "final_answer"), ""
        )
    error = "the answer was cut off before an Action" if cut else NO_ACTION
    return Said(thought, "", None, text[:end], tuple(repairs), error)


def tool_call(text: str) -> tuple[str, Any, list[str], str]:
    """(name, arguments, repairs, error) of `{"name": …, "arguments": {…}}`, as in a `<tool_call>`."""
    call, mended, error = parse_arguments(text)
    if error or not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return "", None, mended, error or 'a tool call is {"name": …, "arguments": {…}}'
    key = next((key for key in ("arguments", "parameters", "input") if key in call), None)
    if key is None:
        return call["name"], None, mended, 'the tool call has no "arguments"; write {} for none'
    arguments = call[key]
    if isinstance(arguments, str):
        arguments, more, error = parse_arguments(arguments)
        mended = [*mended, *more]
    return call["name"], arguments, mended, error


def _parts(text: str) -> tuple[dict[str, str], list[str], int]:
    """The labelled parts of the first step, the repairs so far, and where the step ends."""
    parts: dict[str, str] = {}
    repairs: list[str] = []
    labels = [found for found in _LABEL.finditer(text) if not _inside_value(text, found.start(), parts)]
    parts["thought"] = text[: labels[0].start()] if labels else text
    end = len(text)
    for index, found in enumerate(labels):
        label = found["label"].lower()
        name = "answer" if label.startswith("final") else _PARTS.get(label, "input")
        over = (
            name == "observation" or (name in parts and name != "thought") or (name == "thought" and "action" in parts)
        )
        if over or (
            name in ("action", "answer")
            and ("input" in parts or "answer" in parts or (name == "answer" and "action" in parts))
        ):
            repairs.append("own_observation" if name == "observation" else "extra_step")
            end = found.start()
            break
        if name == "input" and "action" not in parts:  # a word of the thought that happens to begin a line
            parts["thought"] += text[found.start() : _next(labels, index, len(text))]
            continue
        if found["mark"] or found[0].lstrip(" \t")[:1] in "*_`>#-":
            repairs.append("markdown")
        if label not in ("thought", "action", "action input", "observation"):
            repairs.append("label")
        value = text[found.end() : _next(labels, index, len(text))]
        parts[name] = f"{parts[name]} {value}" if name == "thought" else value
    return parts, list(dict.fromkeys(repairs)), len(text[:end].rstrip()) if end < len(text) else end


def _inside_value(text: str, place: int, parts: dict[str, str]) -> bool:
    """True if a label stands inside a JSON string or object that the input began: it is a value's text."""
    begun = text.rfind("{", 0, place)
    before = (
        re.search(r"(?:Input|Arguments?|Parameters?)[*_`]*[ \t]*[:：][*_` \t\n]*\Z", text[:begun], re.IGNORECASE)
        if begun >= 0
        else None
    )
    if not before:
        return False
    depth, quoted, escaped = 0, False, False
    for char in text[begun:place]:
        if quoted:
            quoted, escaped = escaped or char != '"', char == "\\" and not escaped
        elif char == '"':
            quoted = True
        else:
            depth += (char == "{") - (char == "}")
    return depth > 0 and quoted


def _next(labels: list[re.Match[str]], index: int, end: int) -> int:
    return labels[index + 1].start() if index + 1 < len(labels) else end


def _action(text: str, repairs: list[str]) -> tuple[str, str | None]:
    """(name, what stands in brackets after it; None without brackets). Quotes, fences and marks around a name are taken off."""
    if "```" in text:
        repairs.append("fence")
        text = re.sub(r"```\w*", "", text)
    text = text.strip()
    called = _CALL.fullmatch(text.strip("*` \t'\"\n"))
    if called:
        inside = called["inside"].strip()
        if inside or "markdown" not in repairs:
            repairs.append("call_syntax")
        return called["name"][:200], _as_json(inside)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    name = lines[0] if lines else ""
    bare = name.strip("*` \t'\"")
    if bare != name and "markdown" not in repairs:
        repairs.append("quotes")
    return bare[:200], _rest(lines)


def _as_json(inside: str) -> str:
    """`a=1, b="x"` between brackets as the object it means; anything else as it is."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        if isinstance(call, ast.Call) and call.keywords and not call.args and all(word.arg for word in call.keywords):
            return json.dumps({str(word.arg): ast.literal_eval(word.value) for word in call.keywords})
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    return inside


def _rest(lines: list[str]) -> str | None:
    """An object that stands under the name without a label of its own."""
    rest = "\n".join(lines[1:])
    return rest if rest.startswith("{") else None
