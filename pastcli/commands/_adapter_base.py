"""`--base` for adapters whose own base is not at hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from .. import models, runs
from ..standing_in import standing_in
from ._options import complete_model

AdapterBase = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="MODEL",
        autocompletion=complete_model,
        help="The base of an adapter whose own is not at hand; what does not prove to be the right one is said and recorded.",
    ),
]

Command = Callable[..., None]


def as_typed(given: Mapping[str, Any]) -> str | None:
    """What a command that has an option `--base` got by it."""
    return given["base"]


def standing_in_as(which: Callable[[Mapping[str, Any]], str | None]) -> Callable[[Command], Command]:
    """Let a model that a command was given stand in for the bases of adapters, as long as it runs. `which` finds its name
    among the command's arguments; None for none."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def within(**given: Any) -> None:
            name = which(given)
            with standing_in(models.resolve(name).path if name else None):
                command(**given)

        return within

    return decorate


def listed(base: str | None) -> dict[str, str]:
    """What tells this work from that with another base."""
    return {"base": str(models.resolve(base).path)} if base else {}


def add_input(run: runs.Run, base: str | None) -> None:
    """Record it with its hash."""
    if base:
        run.add_input("base", models.resolve(base).path)
