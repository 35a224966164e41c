"""What packages are installed and what they register, read from the folders that their metadata lie in.

`importlib.metadata` gives the same, but importing it takes 5 to 30 ms of each command, asking it for entry points as long again,
and its parsing a package's metadata, readme and all, as an email more than both.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

KINDS = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
"""How a package's folder of metadata ends, and the file in it that tells its name and version."""


@dataclass(frozen=True)
class EntryPoint:
    """One registered name. `value` is `module:attribute`; `distribution` the package that brought it."""

    group: str
    name: str
    value: str
    distribution: str


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """The versions of these packages, of those installed, in this order."""
    wanted = {_plain(package): package for package in packages}
    found: dict[str, str] = {}
    for name, folder in _folders():
        package = wanted.get(name)
        if package and package not in found and (file := folder / KINDS[folder.suffix]).is_file():
            with open(file, encoding="utf-8", errors="replace") as handle:
                found[package] = _field(handle.read(4096), "Version")
    return {package: found[package] for package in packages if package in found}


def entry_points(groups: Sequence[str]) -> list[EntryPoint]:
    """What installed packages register in these groups."""
    if not _all_in_folders():
        return _by_library(groups)
    found, seen = [], set()
    for name, folder in _folders():
        if name not in seen:
            seen.add(name)
            with contextlib.suppress(OSError):  # most packages register nothing
                text = (folder / "entry_points.txt").read_text(encoding="utf-8")
                points = [(group, point, value) for group, point, value in _registered(text) if group in groups]
                owner = _owner(folder) if points else ""
                found += [EntryPoint(*point, owner) for point in points]
    return found


def _folders() -> Iterator[tuple[str, Path]]:
    """Every folder of metadata with the name of its package, as the path is searched: who comes first is imported."""
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in sorted(name for name in os.listdir(folder or ".") if name.endswith(tuple(KINDS))):
                yield _plain(os.path.splitext(name)[0].partition("-")[0]), Path(folder, name)


def _plain(package: str) -> str:
    """A package's name without the differences that do not count (PEP 503)."""
    return re.sub(r"[-_.]+", "_", package).lower()


def _registered(text: str) -> Iterator[tuple[str, str, str]]:
    """(group, name, value) of each line of an `entry_points.txt`."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()


def _owner(folder: Path) -> str:
    try:
        return _field((folder / KINDS[folder.suffix]).read_text(encoding="utf-8", errors="replace"), "Name")
    except OSError:
        return "?"


def _field(text: str, field: str) -> str:
    """One header (`Name`, `Version`) of a package's metadata, '?' if it has none."""
    found = re.search(rf"^{field}: *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "?"


def _all_in_folders() -> bool:
    """Whether packages can lie in folders of the path alone: no archive stands there, and nobody else is asked for packages."""
    others = (finder for finder in sys.meta_path if hasattr(finder, "find_distributions") and finder is not PathFinder)
    return not any(others) and not any(place.endswith(".egg") or os.path.isfile(place) for place in sys.path)


def _by_library(groups: Sequence[str]) -> list[EntryPoint]:
    from importlib import metadata

    found = []
    for point in (point for group in groups for point in metadata.entry_points(group=group)):
        text = (point.dist.read_text("METADATA") or point.dist.read_text("PKG-INFO")) if point.dist is not None else ""
        found.append(EntryPoint(point.group, point.name, point.value, _field(text or "", "Name")))
    return found
