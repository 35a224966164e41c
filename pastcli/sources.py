"""Which state of the code made a result: a checkout moves on (`git pull`) while its version number stays.

A study finds what it made before by the content of what went in, and the code that made it is no file that went in. So every run
and every set of answers notes a digest of the sources that decide results, and whoever takes an old result up can tell.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import Any

from . import registry

DECISIVE = (
    "agent",
    "config",
    "conversation.py",
    "evals",
    "grading.py",
    "ingest",
    "qa.py",
    "rewards",
    "tools",
    "vectors",
)
"""What of this package decides what is learnt, added or answered; the rest opens, shows and counts."""

SUFFIXES = (".py", ".c", ".h", ".toml", ".txt", ".json", ".jsonl")
KEY = "code"
"""Under which it stands among a run's versions."""


@functools.lru_cache(maxsize=1)
def state() -> str:
    """Twelve hexadecimal digits of the sources that decide results, the same wherever they lie."""
    found = hashlib.blake2b(digest_size=6)
    for name, path in _files():
        with open(path, "rb", buffering=0) as file:
            data = file.read()
        found.update(b"%s\0%d\0" % (name.encode(), len(data)) + data)
    return found.hexdigest()


def made_by(versions: Mapping[str, Any] | None) -> str:
    """The state of the code that a manifest's versions name; '' if it was written before there was one."""
    return str((versions or {}).get(KEY, ""))


def is_ours(manifest: Mapping[str, Any]) -> bool:
    """Whether this state of the code made, or began, what a manifest tells of."""
    return made_by(manifest.get("versions")) == state()


def _files() -> Iterator[tuple[str, str]]:
    """(name within its package, path) of every source that decides, in the same order everywhere: what is listed of this
    package, and all of the plugins that came with it."""
    here = os.path.dirname(__file__)
    parts = [os.path.join(here, name) for name in DECISIVE]
    for folder, paths in [(here, parts), *((plugin, [plugin]) for plugin in _plugins())]:
        name = os.path.basename(folder)
        for part in paths:
            for path in sorted(_under(part)) if os.path.isdir(part) else [part]:
                yield f"{name}{path[len(folder) :]}".replace(os.sep, "/"), path


def _plugins() -> list[str]:
    """The folders of the plugin packages that came with this package."""
    package = __name__.partition(".")[0]
    specs = (importlib.util.find_spec(module) for module in registry.modules(package) if module != package)
    return [folder for spec in specs for folder in (spec and spec.submodule_search_locations) or ()]


def _under(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _under(entry.path)
        elif entry.name.endswith(SUFFIXES):
            yield entry.path
