"""A chat backend's `load` with some of its options settled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..api import ChatModel

    Load = Callable[..., ChatModel]


def settled(load: Load, **options: Any) -> Load:
    """`load` that is always given `options`, and says of itself what `load` says."""
    chosen = functools.partial(load, **options)
    chosen.local = getattr(load, "local", True)  # type: ignore[attr-defined]  # it has attributes as functions have
    return chosen


def check_model(load: Any, model: str, template: Path | None = None) -> None:
    """Raise what loading the model would raise before it starts, as far as its backend can tell (`load.check`)."""
    while isinstance(load, functools.partial):
        load = load.func
    check = getattr(load, "check", None)
    if check is not None:
        check(Path(model), template)
