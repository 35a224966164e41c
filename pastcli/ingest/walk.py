"""From what was named to files that can be opened: folders, files, standard input. What cannot be opened is named."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import runs
from ..errors import UsageError
from ..regular import oddity
from .readers import ACCEPTED

STDIN = Path("-")


@dataclass(frozen=True)
class Found:
    """A file, its path relative to the root it was found under, and why it cannot be read, if so."""

    path: Path
    relative: str
    problem: str = ""


def walk(paths: Sequence[Path]) -> Iterator[Found]:
    """Every file below `paths`, sorted, each once.

    Hidden files, the workspace's own runs and links back to a folder already seen are left out. A folder that cannot
    be listed, a pipe or device (which would block for ever) and a name that is no UTF-8 come with their `problem`.
    """
    visited: set[str] = set()
    for root in map(Path, paths):
        if not os.path.lexists(root):
            raise UsageError(f"no file or folder {root}", ACCEPTED)
        for file, problem in sorted(_below(root, visited)):
            real = os.path.realpath(file)
            if real not in visited:
                visited.add(real)
                relative = (file.relative_to(root) if file != root and root.is_dir() else Path(file.name)).as_posix()
                yield Found(file, relative, problem or _problem(file, relative))


def _below(folder: Path, visited: set[str]) -> Iterator[tuple[Path, str]]:
    try:
        is_folder = folder.is_dir()
    except OSError as error:  # in a folder that may be listed and not entered
        yield folder, str(error.strerror)
        return
    if not is_folder:
        yield folder, ""
        return
    real = os.path.realpath(folder)
    if real in visited or real == os.path.realpath(runs.runs_dir()):
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        yield folder, f"folder cannot be listed: {error.strerror}"
        return
    visited.add(real)
    for entry in entries:
        if not entry.name.startswith("."):
            yield from _below(entry, visited)


def made_of(roots: Sequence[Path]) -> dict[str, str]:
    """What runs of this workspace made of documents below `roots` and wrote among them: real path -> run. Not what is a
    root itself, and so was named."""
    named = {os.path.realpath(root) for root in roots}
    found: dict[str, str] = {}
    for record in runs.records():
        inputs = (record.input(name) or "" for name in record.manifest.get("inputs", {}))
        if any(_below_any(os.path.realpath(place), named) for place in inputs if place):
            places = (os.path.realpath(place) for place in record.outputs().values())
            found |= {place: record.id for place in places if place not in named and _below_any(place, named)}
    return found


def _below_any(place: str, roots: set[str]) -> bool:
    return any(place == root or place.startswith(os.path.join(root, "")) for root in roots)


def _problem(file: Path, relative: str) -> str:
    """Why this is no file to open; '' if it is one. Found out without opening it."""
    try:
        relative.encode("utf-8")
        kind = oddity(file)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except OSError as error:
        return str(error.strerror)
    return f"{kind}, not a file" if kind else ""


def from_stdin(path: Path) -> Path:
    """`path`, or for `-` a file in the workspace with all of standard input, named by what it looks like.

    It is kept under its content's hash, so that the run can name what it read and the command can be resumed.
    """
    if path != STDIN:
        return path
    data = sys.stdin.buffer.read()
    if not data.strip():
        raise UsageError("nothing came on standard input", "pipe something in: cat notes.txt | past ingest -")
    folder = runs.runs_dir() / ".stdin" / hashlib.sha256(data).hexdigest()[:16]
    file = folder / f"stdin{_suffix(data)}"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f".{os.getpid()}"
        half.write_bytes(data)
        os.replace(half, file)
    return file


def _suffix(data: bytes) -> str:
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith(b"%pdf-"):
        return ".pdf"
    if start.startswith((b"<!doctype html", b"<html")):
        return ".html"
    if start.startswith((b"{", b"[")):
        first = data.split(b"\n", 1)[0].rstrip()
        return ".jsonl" if first.startswith(b"{") and first.endswith(b"}") else ".json"
    return ".txt"
