"""Model text to one ReAct turn. Total: any text gives a `Said`, and nothing is ever executed or evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .arguments import parse_arguments

_LABEL = re.compile(
    r"^[ \t>*_#`-]*(?P<label>Thought|Action[ _]?Input|Action|Observation)(?P<mark>[*_`]*)[ \t]*:\**[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*</think>", re.DOTALL)
NO_ACTION = "no Action line; write 'Action:' and one function name"
_CALL = re.compile(r"([\w.-]+)\s*\(\s*\)")


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
    may be bold, quoted or without a space; nothing inside <think> is a label.
    """
    visible = _THINK.sub(lambda found: " " * len(found[0]), text)
    parts, repairs, end = _parts(visible)
    thought = " ".join(parts["thought"].split())
    cut = cut and end == len(text)  # a limit hit in what is left out anyway has cut nothing off
    if "action" not in parts:
        error = "the answer was cut off before an Action" if cut else NO_ACTION
        return Said(thought, "", None, text[:end], tuple(repairs), error)
    action = _action_name(parts["action"], repairs)
    arguments, mended, error = parse_arguments(parts.get("input", ""))
    if not action:
        error = "Action is empty; write one function name after 'Action:'"
    elif cut and "empty_input" in mended:  # half a name may be the name of another function
        error = "the answer was cut off before Action Input"
    elif cut and error:
        error = f"the answer was cut off inside Action Input ({error})"
    return Said(thought, action, arguments, text[:end], tuple(repairs + mended), error)


def _parts(text: str) -> tuple[dict[str, str], list[str], int]:
    """The labelled parts of the first step, the repairs so far, and where the step ends."""
    parts: dict[str, str] = {}
    repairs: list[str] = []
    labels = list(_LABEL.finditer(text))
    parts["thought"] = text[: labels[0].start()] if labels else text
    end = len(text)
    for index, found in enumerate(labels):
        name = found["label"].lower()
        name = "input" if name.endswith("input") else name
        over = (
            name == "observation" or (name in parts and name != "thought") or (name == "thought" and "action" in parts)
        )
        if over or (name == "action" and "input" in parts):
            repairs.append("own_observation" if name == "observation" else "extra_step")
            end = found.start()
            break
        if found["mark"] or found[0].lstrip(" \t")[:1] in "*_`>#-":
            repairs.append("markdown")
        following = labels[index + 1].start() if index + 1 < len(labels) else len(text)
        value = text[found.end() : following]
        parts[name] = f"{parts[name]} {value}" if name == "thought" else value
    return parts, list(dict.fromkeys(repairs)), len(text[:end].rstrip()) if end < len(text) else end


def _action_name(text: str, repairs: list[str]) -> str:
    """The first line of the action, without the quotes, fences and brackets models put around a name."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip() and not line.strip().startswith("```")]
    if "```" in text:
        repairs.append("fence")
    name = lines[0] if lines else ""
    bare = name.strip("*` \t'\"")
    called = _CALL.fullmatch(bare)
    bare = called[1] if called else bare
    if bare != name and "markdown" not in repairs:
        repairs.append("call_syntax" if called else "quotes")
    return bare[:200]
