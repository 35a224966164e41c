"""`past runs`: what a workspace has made, from what, and what was left unfinished."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from .. import lookups, output, runs
from ..ancestry import ancestry, label_of, status_of
from ..errors import UsageError
from . import _runs_compare, _runs_diff, _runs_report, _runs_rm, _runs_watch
from ._ends import end_of
from ._options import DryRun, Json, close, complete_run, told

app = typer.Typer(
    no_args_is_help=True, help="List, show and trace the runs of a workspace; clear unfinished ones away."
)

app.command("compare", epilog=_runs_compare.EXAMPLE)(_runs_compare.command)
app.command("diff", epilog=_runs_diff.EXAMPLE)(_runs_diff.command)
app.command("report", epilog=_runs_report.EXAMPLE)(_runs_report.command)
app.command("rm", epilog=_runs_rm.EXAMPLE)(_runs_rm.command)
app.command("watch", epilog=_runs_watch.EXAMPLE)(_runs_watch.command)

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run id, its beginning, a path, or @STAGE for the newest.", autocompletion=complete_run
    ),
]


@app.command("list", epilog="Example: `past runs list --stage sft`")
def list_runs(
    stage: Annotated[str, typer.Option("--stage", help="Only runs of this stage (sft, rl, inject, ...).")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Only the newest N; 0 shows all.")] = 0,
    long: Annotated[bool, typer.Option("--long", "-l", help="Parents, outputs, and when each began.")] = False,
    as_json: Json = False,
) -> None:
    """Every run, newest last, unfinished ones included."""
    found = sorted(_all(), key=lambda record: str(record.manifest.get("started", "")))
    found = [record for record in found if not stage or record.stage == stage]
    rows = [_summary(record) for record in found[-limit:]]

    def human() -> None:
        if not rows:
            return
        if not long:
            cells = [[row["id"], row["stage"], _ago(row["started"]), _mark(row["status"])] for row in rows]
            output.table("", ["run", "stage", "begun", ""], cells, boxed=False)
            return
        columns = ["id", "stage", "status", "started", "seconds", "parents", "outputs"]
        cells = [[", ".join(row[c]) or "-" if isinstance(row[c], list) else row[c] for c in columns] for row in rows]
        output.table("", columns, cells)

    output.emit(rows, as_json, human)
    close(lookups.listed(rows, str(runs.runs_dir()), len(found), stage), as_json)


@app.command(epilog="Example: `past runs show sft-2026` or `past runs show @rl`")
def show(run: RunName, as_json: Json = False) -> None:
    """One run in full: settings, inputs and outputs with their hashes, measurements, versions."""
    record = runs.find_begun(run)
    end = end_of(record)
    document: dict[str, Any] = {**record.whole(), "status": status_of(record), "path": str(record.path), **told(end)}

    def human() -> None:
        top = {key: document.get(key) for key in ("id", "path", "status", "started", "seconds")}
        output.pairs({**top, "command": shlex.join(["past", *document.get("argv", [""])[1:]])})
        for title in ("inputs", "outputs"):
            rows = [
                [name, entry.get("path"), entry.get("run"), entry.get("hash")]
                for name, entry in document.get(title, {}).items()
            ]
            if rows:
                output.table(title, ["name", "path", "run", "hash"], rows)
        for title in ("config", "metrics", "versions"):
            values = record.manifest.get(title, {})
            if values:
                output.table(title, ["name", "value"], [[key, value] for key, value in values.items()])

    output.emit(document, as_json, human)
    close(end, as_json)


@app.command(epilog="Example: `past runs lineage @inject`")
def lineage(run: RunName = "", as_json: Json = False) -> None:
    """What a run (default: the newest) was made from, back to the documents and the base model."""
    known = {record.id: record for record in runs.records()}
    if not run and not known:
        raise UsageError(f"no runs in {runs.runs_dir()}", "make one, for example with `past ingest DOCS`")
    record = runs.find_begun(run) if run else list(known.values())[-1]
    tree = ancestry(record.id, {**known, record.id: record}, ())
    end = lookups.traced(tree)
    output.emit({**tree, **told(end)}, as_json, lambda: _show_tree(tree))
    close(end, as_json)


def _show_tree(node: dict[str, Any], depth: int = 0) -> None:
    """A run, what went into it, and the runs that this came from, each a step further in."""
    output.line("  " * depth + label_of(node))
    for name, path in node["inputs"].items():
        output.line("  " * (depth + 1) + f"{name}: {path}")
    for parent in node["parents"]:
        _show_tree(parent, depth + 1)


@app.command(epilog="Example: `past runs clean --dry-run`")
def clean(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Only these unfinished runs.", autocompletion=complete_run),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove unfinished runs that no living process holds, with the half-written outputs they left.

    What is removed can no longer be resumed. Finished runs are never touched.
    """
    whole = {record.path for record in runs.killed_at_publishing()} if dry_run else set()  # finished first, not removed
    found = [folder for folder in runs.unfinished() if folder not in whole]
    for name in names or []:
        if not any(folder.name.startswith(name) for folder in found):
            raise UsageError(
                f"no unfinished run {name!r} that could be removed", "`past runs list` shows each run's status"
            )
    chosen = [folder for folder in found if not names or any(folder.name.startswith(name) for name in names)]
    rows: list[dict[str, Any]] = [{"id": folder.name, "bytes": runs.size_of(folder)} for folder in chosen]
    for folder in [] if dry_run else chosen:
        runs.discard(folder)

    _runs_rm.show_removed(rows, dry_run, as_json)


def _all() -> list[runs.Record]:
    return runs.records() + runs.records(partial=True)


def _mark(status: str) -> str:
    return "" if status == "complete" else status


def _ago(started: str) -> str:
    """How long ago, in the largest unit of which there is more than one."""
    try:
        passed = (datetime.now(UTC) - datetime.fromisoformat(started).replace(tzinfo=UTC)).total_seconds()
    except ValueError:
        return "?"
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= 2 * seconds or (unit == "min" and passed >= seconds):
            return f"{passed / seconds:.0f} {unit} ago"
    return "just now"


def _summary(record: runs.Record) -> dict[str, Any]:
    manifest = record.manifest
    return {
        "id": record.id,
        "stage": record.stage,
        "status": status_of(record),
        "started": str(manifest.get("started", ""))[:19],
        "seconds": manifest.get("seconds"),
        "parents": record.parents,
        "outputs": list(manifest.get("outputs", {})),
        "path": str(record.path),
    }
