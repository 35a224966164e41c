"""StableToolBench's protocol without HTTP: the body of a request in, the body of its answer out. Nothing raises.

A request is `{category, tool_name, api_name, tool_input, strip, toolbench_key}`, an answer always has the two keys
`error` and `response` and no others: the client reads the first unguarded and shows both to the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ...api import Observation, ToolEnv, ToolSpec
from ...errors import CRASHES, PASSING, PastError
from .directory import Directory

UNREADABLE = "Tool input parse error...\n"
"""The words of StableToolBench's server, which its client passes on to models."""

MAX_DEPTH = 64
"""Of a tool's input: far above any real call, far below what a parser could be made to suffer from."""

_NAMES = ("category", "tool_name", "api_name")


@dataclass(frozen=True)
class Call:
    """A request that could be read: the API meant and its arguments, any JSON value."""

    spec: ToolSpec
    arguments: Any


class BadRequest(Exception):
    """A request that cannot be answered by any tool; the text goes into `error`."""


def read_body(body: bytes, directory: Directory) -> Call:
    """The call a request's body stands for. Raises `BadRequest`."""
    try:
        content = _parse(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequest("the request is not JSON in UTF-8") from error
    if not isinstance(content, dict):
        raise BadRequest("the request must be a JSON object")
    wrong = [name for name in _NAMES if not isinstance(content.get(name), str)]
    if wrong:
        raise BadRequest(f"the request needs {', '.join(wrong)} as text")
    category, tool, api = (content[name] for name in _NAMES)
    spec = directory.find(category, tool, api)
    if spec is None:
        raise BadRequest(f"unknown API {_short(category)} / {_short(tool)} / {_short(api)}")
    return Call(spec, _input(content.get("tool_input", "")))


def answer(env: ToolEnv, call: Call) -> dict[str, Any]:
    """The tool's answer as the body of a response. Whatever happens in the environment is its own affair."""
    try:
        return plain(env.call(call.spec, call.arguments))
    except PastError as error:
        return refusal(error.message)
    except PASSING:
        raise
    except CRASHES as error:  # a stranger's environment may raise anything; the client must get its two keys
        return refusal(f"the tool failed: {type(error).__name__}")


def refusal(error: str) -> dict[str, Any]:
    return {"error": error, "response": ""}


def plain(observation: Observation) -> dict[str, Any]:
    """Two keys, in JSON's own types."""
    return {"error": str(observation.error), "response": observation.response}


def encode(document: Any) -> bytes:
    """JSON in ASCII: what no UTF-8 can say, a lone surrogate in a model's text, is an escape like any other."""
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return json.dumps(refusal("the tool's answer cannot be written as JSON")).encode("ascii")


def _input(value: Any) -> Any:
    """The model's own text read as JSON; an object that needs no reading is taken as it is."""
    if not isinstance(value, str):
        return value
    if value == "":
        return {}
    try:
        return _parse(value)
    except (ValueError, RecursionError) as error:
        raise BadRequest(UNREADABLE) from error


def _parse(text: str) -> Any:
    value = _decoder.decode(text)
    if _is_deeper(value, MAX_DEPTH):
        raise ValueError("nested too deep")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested deeper than this; level by level, since recursion is what is to be avoided."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


def _short(name: str) -> str:
    return name if len(name) <= 80 else name[:77] + "..."
