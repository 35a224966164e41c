"""The simulated API server, in this process: find the documentation, validate, answer. No model, no network.

The same call gets the same answer, in every run and on every machine. After StableToolBench (2403.07714),
without its faults: an unknown API or a bad argument is an error found by code, never invented data, and the
order of arguments changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from ..api import Observation, ToolSpec
from . import invent
from .validate import canonical, check

VERSION = "schema/1"
"""Simulator and version of its way to answer; part of every cache key."""


def cache_key(spec: ToolSpec, arguments: dict[str, Any], simulator: str = VERSION) -> str:
    """sha256 of the canonical JSON of (category, tool, api, sorted arguments, simulator)."""
    content = [*spec.key, canonical(arguments), simulator]
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class SchemaSimulator:
    """A `ToolEnv`: answers from the response template, seeded by the cache key, echoing arguments by name."""

    version = VERSION
    deterministic = True

    def __init__(self, specs: Iterable[ToolSpec]):
        self._known = {spec.key for spec in specs}

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        """Answer one call; whatever is wrong with it is an `Observation` with `error`, never an exception."""
        if spec.key not in self._known:
            return Observation(f"unknown API {spec.tool} / {spec.api}", "")
        error, given = check(spec, arguments)
        if error:
            return Observation(error, "")
        try:
            key = cache_key(spec, given)
        except (TypeError, ValueError, RecursionError):
            return Observation("the input cannot be written as JSON", "")
        return Observation("", invent.response(spec, given, key))

    def close(self) -> None:
        """Nothing to let go of."""
