"""Where tool calls are answered: plugins behind the entry points of `past.environments` (see `Environment` in the api).

A path that an environment claims (an MCP configuration, a Python module) brings its tools with it; what tools files
describe is simulated unless another environment is asked for by name.
"""

from __future__ import annotations

from pathlib import Path

from ... import registry
from ...api import Environment
from ...errors import PastError

DEFAULT = "simulator"


def load(name: str) -> Environment:
    """The plugin of this name; raises `UsageError` if there is none."""
    return registry.load("environment", name)


def claiming(path: Path) -> tuple[str, Environment] | None:
    """(name, plugin) of the environment that calls this path its own. A broken plugin claims nothing."""
    for plugin in registry.names("environment"):
        try:
            found = load(plugin.name)
        except PastError:
            continue
        if found.claims(path):
            return plugin.name, found
    return None
