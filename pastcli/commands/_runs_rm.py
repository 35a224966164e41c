"""`past runs rm RUN...`: finished runs that are wanted no longer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import lookups, output, runs
from ..environment import undry_command
from ..errors import UsageError
from ._options import DryRun, Force, Json, close, complete_run, told

EXAMPLE = "Example: `past runs rm sft-first-try --dry-run`"

Names = Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to remove.", autocompletion=complete_run)]


def command(names: Names, dry_run: DryRun = False, force: Force = False, as_json: Json = False) -> None:
    """Remove finished runs with what lies in their folders; outputs written elsewhere with -o stay.

    A run that others were made from is kept unless these go too, or --force says that their lineage may end there.
    """
    unfinished = {record.id for record in runs.records(partial=True)} - {record.id for record in runs.records()}
    for name in names:
        if name in unfinished:
            raise UsageError(f"{name} is unfinished", f"`past runs clean {name}` removes it")
    chosen = {record.id: record for record in map(runs.find, names)}
    held = {
        parent: record.id
        for record in runs.records() + runs.records(partial=True)
        for parent in record.parents
        if record.id not in chosen and parent in chosen
    }
    for parent, child in held.items():
        if not force:
            raise UsageError(f"{child} was made from {parent}", "remove both, or add --force")
    rows: list[dict[str, Any]] = [{"id": one.id, "bytes": runs.size_of(one.path)} for one in chosen.values()]
    for record in () if dry_run else chosen.values():
        runs.remove_finished(record)

    show_removed(rows, dry_run, as_json)


def show_removed(rows: list[dict[str, Any]], dry_run: bool, as_json: bool) -> None:
    """What `rm` or `clean` removed, or in a dry run would: `rows` of id and bytes."""

    def human() -> None:
        verb = "would be removed" if dry_run else "removed"
        if rows:
            output.table("", ["id", "MB", ""], [[row["id"], row["bytes"] / 1e6, verb] for row in rows])

    end = lookups.removed(rows, dry_run, undry_command())
    output.emit({"removed": [] if dry_run else rows, "found": rows, **told(end)}, as_json, human)
    close(end, as_json)
