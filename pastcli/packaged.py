"""Files that Python packages bring, named so that the name holds in another environment: `package:pastcli/ingest/qa_format.jsonl`."""

from __future__ import annotations

from pathlib import Path

MARK = "package:"
INSTALLED = ("site-packages", "dist-packages")


def named(path: Path) -> str:
    """The name of a file or folder that an installed package brings; '' for any other. Nothing is imported for it."""
    own = Path(__file__).resolve().parent
    installed = [folder for folder in path.parents if folder.parent.name in INSTALLED]
    top = own if path.is_relative_to(own) else installed[-1] if installed else None
    if top is None or top not in _folders(top.name):
        return ""
    return MARK + path.relative_to(top.parent).as_posix()


def located(name: str) -> Path | None:
    """Where the file of such a name is in this environment; the name itself if it is not here. None for any other text."""
    if not name.startswith(MARK):
        return None
    package, _, rest = name.removeprefix(MARK).partition("/")
    places = (folder / rest for folder in _folders(package))
    return next((place for place in places if place.exists()), Path(name))


def _folders(package: str) -> list[Path]:
    """Where a package lies. `past` itself is where this file is, however it was installed."""
    from importlib.util import find_spec

    own = Path(__file__).resolve().parent
    if package == own.name:
        return [own]
    if not package.isidentifier():
        return []
    found = find_spec(package)
    return [Path(place).resolve() for place in (found.submodule_search_locations or [])] if found else []
