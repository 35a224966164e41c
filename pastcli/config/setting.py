"""What one setting is: a dataclass field that knows its help text and the values it may take."""

from __future__ import annotations

import math
import operator
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, Field, field
from typing import Any

from ..errors import UsageError

TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    decides: bool = True,
    named: Any = None,
) -> Any:
    """A dataclass field with the text that `--help` and the docs show, and what its value may be.

    `choices` are the only texts it takes; `above` (exclusive), `at_least` and `at_most` (inclusive) bound a number.
    Numbers are finite, whatever their bounds. What `decides` nothing of the result is no part of a result's name.
    The default goes into such names as `named`, where it is one that was another value before and gives the same results.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices),
        "above": above,
        "at_least": at_least,
        "at_most": at_most,
        "decides": decides,
        "named": named,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


KINDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text", list: "a list of texts"}


def finite(text: Any) -> float:
    """The finite number that a text is; raises `ValueError` for any other: nothing is below a bound of "nan"."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def default_of(one: Field) -> Any:
    if one.default is not MISSING:
        return one.default
    assert one.default_factory is not MISSING, "every field of a stage has a default: see `setting`"
    return one.default_factory()


def checked(value: Any, one: Field, wanted: Any, where: str) -> Any:
    """`value` as the field's type `wanted`, and one that it may take; raises `UsageError` that says `where` it stands."""
    meta = one.metadata
    hint = f"{meta['help']}; default: {shown}" if (shown := str(default_of(one))) else meta["help"]
    found = _coerce(value, wanted, where, hint)
    if meta.get("choices") and found not in meta["choices"]:
        raise UsageError(f"{where} must be one of {', '.join(meta['choices'])}, not {found!r}", hint)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        if not math.isfinite(found):
            raise UsageError(f"{where} must be a finite number, not {found}", hint)
        for bound, fine, words in (
            (meta.get("above"), operator.gt, "above"),
            (meta.get("at_least"), operator.ge, "at least"),
            (meta.get("at_most"), operator.le, "at most"),
        ):
            if bound is not None and not fine(found, bound):
                raise UsageError(f"{where} must be {words} {bound:g}, not {found}", hint)
    return found


def _coerce(value: Any, wanted: Any, where: str, hint: str) -> Any:
    """`value` as type `wanted`; text from the environment is parsed, TOML integers may stand for floats."""
    if isinstance(wanted, types.UnionType):
        wanted = next(arg for arg in typing.get_args(wanted) if arg is not type(None))
    try:
        if wanted is list:
            if not isinstance(value, (list, tuple)):
                return [v for v in str(value).split(",") if v]
            if not all(isinstance(item, str) for item in value):
                raise ValueError
            return list(value)
        if wanted is bool:
            return value if isinstance(value, bool) else TRUTHS[str(value).lower()]
        if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
            raise ValueError
        if wanted is int and isinstance(value, float):
            raise ValueError
        return wanted(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise UsageError(f"{where} must be {KINDS[wanted]}, not {value!r}", hint) from None
