"""Skills added to a model while it runs: no file is rewritten, and the scale can be another one the next time."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import runs
from ..errors import UsageError
from . import _adapter_base
from ._loading import settled
from ._options import is_finite

if TYPE_CHECKING:
    from ._loading import Load

Skills = list[tuple[Path, float]]

Vectors = Annotated[
    list[str] | None,
    typer.Option("--vector", metavar="FILE[:FACTOR]", help="Skill or adapter to add while the model runs; may repeat."),
]
Scale = Annotated[
    float, typer.Option("--scale", callback=is_finite, help="With --vector: multiple of every vector to add (lambda).")
]


def skills(texts: Sequence[str] | None, scale: float) -> Skills:
    """The vectors named on the command line with their whole scales."""
    from .inject import parse_vector

    found = [(path, factor * scale) for path, factor in map(parse_vector, texts or [])]
    if scale != 1.0 and not found:
        raise UsageError("--scale without --vector has nothing to act on", "name the skill: --vector FILE")
    return found


def named(name: str, vectors: Skills) -> str:
    """What a model with these skills in it is called: never what it is called without them."""
    return " + ".join(
        [name, *(_called(path) if scale == 1.0 else f"{scale:g} * {_called(path)}" for path, scale in vectors)]
    )


def _called(path: Path) -> str:
    """A skill by the run that made it: all of these have the same file name."""
    owner = runs.owner_of(path)
    return owner.id if owner else path.name


def adding(load: Load, backend: str, vectors: Skills) -> Load:
    """The backend's `load` with skills added to whatever it loads; raises `UsageError` if it cannot add any."""
    if not vectors:
        return load
    plain = load.func if isinstance(load, functools.partial) else load
    if "lora" not in inspect.signature(plain).parameters:
        raise UsageError(
            f"the {backend} backend cannot add a skill while a model runs",
            "use --backend llamacpp or hf, or put the skill into the model: past inject",
        )
    return settled(load, lora=vectors)


def check_vectors(vectors: Skills) -> None:
    """Raise `MismatchError` for a skill that holds NaN or infinity; an adapter in a backend's own format is left to it."""
    from ..vectors.checks import finite
    from ..vectors.files.destination import form_of_suffix

    for path, _ in vectors:
        if form_of_suffix(path) is None:
            finite.skill(path)


def listed(vectors: Skills, base: str | None = None) -> dict[str, Any]:
    """What tells this work from that without the skills, or with another base named for adapters."""
    found = {"vectors": [[str(path.resolve()), factor] for path, factor in vectors]} if vectors else {}
    return found | _adapter_base.listed(base)


def add_inputs(run: runs.Run, vectors: Skills, base: str | None = None) -> None:
    """Record every skill with its hash and its scale, and the base named for adapters."""
    _adapter_base.add_input(run, base)
    for number, (path, factor) in enumerate(vectors, 1):
        run.add_input("vector" if number == 1 else f"vector{number}", path, scale=factor)
