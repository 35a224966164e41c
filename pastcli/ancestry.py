"""Who descends from whom: a run with its parents inside it, back to what no run made."""

from __future__ import annotations

from typing import Any

from .files import is_locked
from .records import Record


def ancestry(name: str, known: dict[str, Record], above: tuple[str, ...]) -> dict[str, Any]:
    """The run and, inside it, its parents; inputs that no run made are the leaves."""
    record = known.get(name)
    if record is None or name in above:
        return {
            "id": name,
            "stage": "",
            "status": "missing" if record is None else "cycle",
            "inputs": {},
            "parents": [],
        }
    leaves = {key: entry["path"] for key, entry in record.whole()["inputs"].items() if "run" not in entry}
    parents = [ancestry(parent, known, (*above, name)) for parent in record.parents]
    return {"id": name, "stage": record.stage, "status": status_of(record), "inputs": leaves, "parents": parents}


def status_of(record: Record) -> str:
    """The status of the moment: a manifest that says running was left behind if nobody holds its lock."""
    if record.status == "running" and not is_locked(record.path):
        return "killed"
    return record.status


def label_of(node: dict[str, Any]) -> str:
    return node["id"] if node["status"] == "complete" else f"{node['id']} ({node['status']})"
