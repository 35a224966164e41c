"""The simulated API server, in this process: find the documentation, validate, answer. No model, no network.

The same call gets the same answer, in every run and on every machine. After StableToolBench (2403.07714),
without its faults: an unknown API or a bad argument is an error found by code, never invented data, and the
order of arguments changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...api import Observation, Task, ToolSpec, ToolWarnings
from ..validate import canonical, check
from . import invent
from .known import Known

NAME = "simulator"

VERSION = "schema/2"
"""Simulator and version of its way to answer; part of every cache key."""


def claims(path: Path) -> bool:
    """Nothing: it answers for whatever is documented."""
    return False


def tools(path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
    return []


def open(
    path: Path, tools: Sequence[ToolSpec], tasks: Sequence[Task], asked: Sequence[str] = (), **_: Any
) -> SchemaSimulator:
    """A simulator of these tools; `asked` are queries that did not come with them."""
    return SchemaSimulator(tools, tasks, asked)


def cache_key(spec: ToolSpec, arguments: dict[str, Any], simulator: str = VERSION) -> str:
    """sha256 of the canonical JSON of (category, tool, api, sorted arguments, simulator)."""
    content = [*spec.key, canonical(arguments), simulator]
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Checked:
    """What every simulator does before it answers: the API must be known, the call valid, and what it names must exist."""

    def __init__(self, specs: Iterable[ToolSpec], tasks: Sequence[Task] = (), asked: Sequence[str] = ()):
        self._specs = {spec.key: spec for spec in specs}
        self._existing = Known(self._specs.values(), tasks, asked)

    def refuse(self, spec: ToolSpec, arguments: Any) -> tuple[Observation | None, dict[str, Any]]:
        """(what is wrong, None if nothing; the arguments by their shown names)."""
        if spec.key not in self._specs:
            return Observation(f"unknown API {spec.tool} / {spec.api}", ""), {}
        error, given = check(spec, arguments)
        error = error or self._existing.fault(spec, given)
        return (Observation(error, ""), {}) if error else (None, given)


class SchemaSimulator:
    """A `ToolEnv`: answers from the documentation, seeded by the cache key, repeating arguments by name."""

    version = VERSION
    name = "simulator"
    deterministic = True

    def __init__(self, specs: Iterable[ToolSpec], tasks: Sequence[Task] = (), asked: Sequence[str] = ()):
        self._checked = Checked(specs, tasks, asked)

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        """Answer one call; whatever is wrong with it is an `Observation` with `error`, never an exception."""
        refused, given = self._checked.refuse(spec, arguments)
        if refused is not None:
            return refused
        try:
            key = cache_key(spec, given)
        except (TypeError, ValueError, RecursionError):
            return Observation("the input cannot be written as JSON", "")
        return Observation("", invent.response(spec, given, key))

    def close(self) -> None:
        """Nothing to let go of."""


def simulated(task: Task) -> SchemaSimulator:
    """The simulator of one query's functions, as it is where the query is asked."""
    return SchemaSimulator(task.tools, [task])
