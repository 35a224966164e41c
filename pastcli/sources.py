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

DECISIVE = {
    "pastcli": (
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
    ),
    "past_hf": ("",),
    "past_llamacpp": ("",),
    "past_openai": ("",),
}
"""What of each package decides what is learnt, added or answered; the rest opens, shows and counts."""

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


def _files() -> Iterator[tuple[str, str]]:
    """(name within the packages, path) of every source that decides, in the same order everywhere."""
    for package, parts in DECISIVE.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for part in parts:
                here = os.path.join(folder, part) if part else folder
                for path in sorted(_under(here)) if os.path.isdir(here) else [here]:
                    yield f"{package}{path[len(folder) :]}".replace(os.sep, "/"), path


def _under(folder: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _under(entry.path)
        elif entry.name.endswith(SUFFIXES):
            yield entry.path
