"""What a model sees as the name of an API or of a parameter. The rules are ToolBench's (2307.16789)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from ..api.tools import Key

MAX_NAME = 64
"""Longest function name; OpenAI's limit, which ToolBench kept."""

TAKEN = ("Finish", "")
"""Names no API may have: the call that ends an episode, and none at all."""

RESERVED = frozenset("from class return false true id and".split())


def standardize(text: str) -> str:
    """Letters, digits, `_` and CJK only, lower case, no `_` at the ends, `get_` before a leading digit.

    >>> standardize("2. List Artist-Concerts!")
    'get_2_list_artist_concerts'
    """
    return _remembered(text) if len(text) <= 4 * MAX_NAME else _standardize(text)


def _standardize(text: str) -> str:
    text = _OTHERS.sub("_", text)
    text = _RUNS.sub("_", text).lower().strip("_")
    return f"get_{text}" if text[:1].isdigit() else text


_OTHERS = re.compile(r"[^a-zA-Z0-9_\u4e00-\u9fff]+")
_RUNS = re.compile(r"_{2,}")
_remembered = lru_cache(maxsize=65_536)(_standardize)
"""A simulator asks for the same names over and over; long ones are nobody's names, and are not kept."""


def exposed_parameter(text: str) -> str:
    """A parameter's name as shown to the model: standardised, and `is_` before a reserved word."""
    name = standardize(text)
    return f"is_{name}" if name in RESERVED else name


def exposed_api(tool: str, api: str) -> str:
    """`{api}_for_{tool}`, at most the last 64 characters. Two APIs can get the same one: see `distinct`."""
    return f"{exposed_parameter(api)}_for_{standardize(tool)}"[-MAX_NAME:]


def distinct(names: Sequence[str], keys: Sequence[Key]) -> list[str]:
    """The names, made different where two agree: `_<hash4>` of the API's own key is added within the 64.

    All parties of a collision get one, so a name does not depend on the order of the list.
    """
    counts = Counter([*names, *TAKEN])
    result: list[str] = []
    for name, key in zip(names, keys, strict=True):
        if counts[name] > 1:
            digest = hashlib.sha256("\0".join(key).encode("utf-8", "replace")).hexdigest()
            name = next(
                candidate
                for size in range(4, len(digest))
                if (candidate := f"{name[: MAX_NAME - size - 1]}_{digest[:size]}".lstrip("_")) not in {*counts, *result}
            )
        result.append(name)
    return result
