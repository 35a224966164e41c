"""A conversation in a model's own chat template, and nothing of what the user says left out of it.

Templates of models with towers (SmolVLM, LLaVA) want what is said in parts, `[{"type": "text", "text": ...}]`. Given a plain text they
raise nothing: they walk over its letters, find no part among them, and leave the question out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import UsageError


def rendered(apply: Callable[[list[dict[str, Any]]], str], turns: Sequence[Mapping[str, Any]]) -> str:
    """`apply`'s text for `turns`, given as plain texts or, where the template wants that, in parts.

    Raises `UsageError` for a template that leaves out what the user says either way, and what the template raises of plain texts.
    """
    plain = [dict(turn) for turn in turns]
    try:
        text, refused = apply(plain), None
    except Exception as error:  # the template's own complaint, of any type
        text, refused = "", error
    if refused is None and _holds(text, plain):
        return text
    try:
        text = apply([_in_parts(turn) for turn in plain])
    except Exception as error:
        raise refused or _leaves_out() from error
    if not _holds(text, plain):
        raise refused or _leaves_out()
    return text


def _leaves_out() -> UsageError:
    return UsageError(
        "the model's chat template leaves out what the user says",
        "look at chat_template.jinja, or tokenizer_config.json, of the model",
    )


def _in_parts(turn: Mapping[str, Any]) -> dict[str, Any]:
    said = turn.get("content")
    return {**turn, "content": [{"type": "text", "text": said}]} if isinstance(said, str) else dict(turn)


def _holds(text: str, turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last thing that the user says stands in `text`; spaces may be others."""
    said = [turn["content"] for turn in turns if turn.get("role") == "user" and isinstance(turn.get("content"), str)]
    return not said or "".join(said[-1].split()) in "".join(text.split())
