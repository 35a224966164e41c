"""What a model holds beside its language model: towers for images or sound, layers that predict further tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TypeVar

from ...errors import MismatchError

Value = TypeVar("Value")

_LANGUAGE = ("model.", "lm_head.")


def towers(names: Iterable[str]) -> frozenset[str]:
    """The names that are no part of the language model; none of a model whose own layers go by other names (GPT-2)."""
    names = frozenset(names)
    if not any(name.startswith("model.") for name in names):
        return frozenset()
    return frozenset(name for name in names if not name.startswith(_LANGUAGE))


def without(beside: Set[str], table: Mapping[str, Value]) -> dict[str, Value]:
    """`table` without the names `beside`."""
    return {name: value for name, value in table.items() if name not in beside}


def refuse_change(what: str, changed: Iterable[str], other: str) -> None:
    """Raise `MismatchError` if `what` changes a tower, which `other`, a language model alone, has no place for."""
    name = min(towers(changed), default=None)
    if name is not None:
        raise MismatchError(
            f"{what} changes {name}, which lies beside the language model, and {other} is a language model alone",
            f"leave it out with --scales {name.split('.')[0]}=0, or take the whole model as target",
        )
