"""Plugins by entry point: list them without importing anything, load one by name.

A plugin that fails to import spoils only itself: it is reported when asked for by name, and listed as
broken by `past plugins`, while every other plugin goes on working.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

from .errors import CRASHES, PASSING, PastError, UsageError, said
from .installed import EntryPoint, entry_points

GROUPS = {
    "trainer": "past.trainers",
    "checkpoint": "past.checkpoints",
    "chat": "past.chat",
    "reward": "past.rewards",
    "judge": "past.judges",
    "tool_format": "past.tool_formats",
    "environment": "past.environments",
}


@cache
def _all() -> tuple[EntryPoint, ...]:
    # The same distribution can be seen twice on sys.path (an editable install beside its checkout).
    return tuple(dict.fromkeys(entry_points(list(GROUPS.values()))))


def names(role: str) -> list[EntryPoint]:
    """Every plugin of a role, sorted by name; imports none of them."""
    return sorted((p for p in _all() if p.group == GROUPS[role]), key=lambda p: (p.name, p.distribution))


def modules(distribution: str) -> list[str]:
    """The top-level modules that a distribution registers plugins from, sorted; imports none of them."""
    return sorted(
        {plugin.value.partition(":")[0].partition(".")[0] for plugin in _all() if plugin.distribution == distribution}
    )


def load(role: str, name: str) -> Any:
    """The object behind one name.

    Raises `UsageError` for an unknown or doubly registered name, `PastError` if its import fails.
    """
    found = [plugin for plugin in names(role) if plugin.name == name]
    if not found:
        known = [plugin.name for plugin in names(role)]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"installed: {', '.join(known) or 'none'}"
        raise UsageError(f"no {role} plugin named {name!r}", hint)
    if len(found) > 1:
        owners = " and ".join(plugin.distribution for plugin in found)
        raise UsageError(f"two {role} plugins are named {name!r}, from {owners}", "uninstall one of the packages")
    return _import(role, found[0])


def _import(role: str, plugin: EntryPoint) -> Any:
    from importlib import import_module

    module, _, attribute = plugin.value.partition(":")
    try:
        target: Any = import_module(module)
        for part in filter(None, attribute.split(".")):
            target = getattr(target, part)
        return target
    except (PastError, *PASSING):
        raise
    except CRASHES as error:  # a stranger's module may fail in any way; only this name is affected
        mend = f"reinstall or remove the package {plugin.distribution}; the other plugins still work"
        if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] != module.split(".")[0]:
            missing = error.name.split(".")[0]
            mend = f"it needs the Python module {missing}, which is not installed: pip install {missing}"
        raise PastError(
            f"the {role} plugin {plugin.name!r} of {plugin.distribution} cannot be imported: {said(error)}", mend
        ) from error


def served(backend: str, load: Any, model: str) -> str:
    """Which model this is, of a backend whose models are behind a server: its name, and by the backend's `identity(model)` the
    server too. What was asked of one is never taken for another's answer."""
    named = getattr(load, "identity", None)
    return f"{backend}:{named(model) if named is not None else model}"
