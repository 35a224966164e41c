"""Outputs that outlive their runs: a run that is removed or replaced leaves word of what it wrote elsewhere with -o.

Without it `--force` could no longer tell the user's files from those that `past` wrote.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import Record, located, runs_dir, stored

LEDGER = ".written.jsonl"


def remember(record: Record) -> None:
    """Write down the outputs that lie outside the run's own folder; to be called before that folder goes."""
    home = _home()
    for name, entry in record.manifest.get("outputs", {}).items():
        place = record.output(name)
        if place is None or place.is_relative_to(record.path) or "hash" not in entry:
            continue
        kept = {key: entry[key] for key in ("hash", "files") if key in entry}
        line = json.dumps({"run": record.id, "path": stored(place, home), **kept})
        with open(runs_dir() / LEDGER, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def _home() -> Path:
    """What the paths of the ledger are relative to: where a run would be."""
    return runs_dir() / "written"


def outliving(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(run, what is known of the output) of every output of a run that is gone, at this place. A torn line is no entry."""
    home = _home()
    with contextlib.suppress(OSError):
        for line in (runs_dir() / LEDGER).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                if located(entry["path"], home) == place:
                    yield entry["run"], entry
