"""An upstream error in a valid call's clothes."""

from __future__ import annotations

import json
from typing import Any

from .facts import META_STEMS
from .text import plain, stem


def failed(response: Any) -> bool:
    """True if a response is an upstream error in a valid call's clothes: {"message": "You are not subscribed …"}."""
    if (
        not isinstance(response, dict)
        or not response
        or any(isinstance(v, (dict, list)) and v for v in response.values())
    ):
        return False
    keys = {stem(plain(str(key))) for key in response}
    telling = {"message", "msg", "error", "detail", "info", "errors"}
    if not keys & {stem(word) for word in telling} or not keys <= META_STEMS | {
        "info",
        "detail",
        "typ",
        "titl",
        "reason",
        "succes",
        "success",
    }:
        return False
    said = plain(json.dumps(response))
    return any(
        word in said
        for word in (
            "not subscribed",
            "error",
            "invalid",
            "not found",
            "denied",
            "unauthori",
            "forbidden",
            "exceeded",
            "unavailable",
            "failed",
            "missing",
            "does not exist",
            "blocked",
            "timeout",
            "timed out",
        )
    )
