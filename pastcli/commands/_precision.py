"""In which type the models of an evaluation compute, and what a cast keeps of what is to be measured (METHOD 5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import output, registry
from ..errors import UsageError
from ._loading import settled

if TYPE_CHECKING:
    from ._loading import Load


def loader(config: Any) -> Load:
    """The backend's `load`, computing in `config.precision`; raises `UsageError` if the backend has no such choice."""
    load = registry.load("chat", config.backend)
    if config.precision == "stored":
        return load
    if config.precision not in getattr(load, "precisions", ()):
        hint = "leave --precision at stored"
        raise UsageError(f"the {config.backend} backend cannot compute in {config.precision}", hint)
    return settled(load, precision=config.precision)


def cast(config: Any, paths: Mapping[str, Path], reference: str | None) -> dict[str, float]:
    """With a --precision other than the stored one: what each model keeps of its difference to the reference (METHOD 5)."""
    if config.precision == "stored" or reference is None:
        return {}
    from ..vectors.checks.cast import cast_survival
    from ..vectors.checks.survival import FAITHFUL

    kept: dict[str, float] = {}
    for label, path in paths.items():
        cosine = cast_survival(path, paths[reference], config.precision) if label != reference else None
        if cosine is not None:
            kept[label] = cosine
        if cosine is not None and cosine < FAITHFUL:
            output.warn(
                f"computed in {config.precision}, {label} keeps only cosine {cosine:.2f} of its difference to {reference}: "
                "this is another comparison than that of the stored models"
            )
    return kept


def tell_apart(computed: Mapping[str, str]) -> None:
    """Warn when models that are compared computed in different types."""
    if len(set(computed.values())) > 1:
        shown = ", ".join(f"{label} in {precision}" for label, precision in computed.items())
        output.warn(f"the models computed in different types: {shown}; --precision fp32 makes them alike")
