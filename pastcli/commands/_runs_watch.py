"""`past runs watch`: the curves of a training, while it runs or afterwards."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from .. import curves, output, runs
from ..errors import UsageError
from ._options import Json, complete_run, is_finite

EXAMPLE = "Example: `past runs watch` or `past runs watch @rl --once`"

RUN = typer.Argument(
    metavar="[RUN]",
    help="Run id, its beginning, a path, or @STAGE for the newest (default: the newest that trains or trained).",
    autocompletion=complete_run,
)


def command(
    run: Annotated[str, RUN] = "",
    once: Annotated[bool, typer.Option("--once", help="Show what there is, and do not wait for more.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, callback=is_finite, help="Seconds between looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Curves of loss and rewards, where a step's time goes, and sampled answers with what they earned.

    Of a run that is going on the view is renewed until it ends; into a pipe only the last one is written.
    """
    record = _find(run)
    alive = sys.stdout.isatty() and not once and not as_json
    while alive and runs.is_locked(record.path):
        sys.stdout.write("\x1b[2J\x1b[H")
        _show(summary(record))
        time.sleep(every)
    record = runs.read(record.path if record.path.is_dir() else runs.runs_dir() / record.id)
    document = summary(record)
    output.emit(document, as_json, lambda: _show(document))


def summary(record: runs.Record) -> dict[str, Any]:
    """What the log says so far: steps, the values of each curve, shares of time, and the newest sampled answers."""
    log = curves.read_log(record.path / "log.jsonl")
    return {
        "run": record.id,
        "status": "running" if runs.is_locked(record.path) else record.status,
        "step": log[-1]["step"] if log else 0,
        "tokens_per_second": log[-1].get("tokens_per_second") if log else None,
        "curves": {name: [entry[name] for entry in log if name in entry] for name in curves.drawn(log)},
        "time": curves.times(log),
        "rollouts": curves.read_log(record.path / "rollouts.jsonl")[-4:],
    }


def _show(document: dict[str, Any]) -> None:
    rate = document["tokens_per_second"]
    speed = f", {rate:.0f} tokens/s" if rate else ""
    output.line(f"{document['run']} ({document['status']}): step {document['step']}{speed}")
    rows = [[name, values[0], curves.curve(values), values[-1]] for name, values in document["curves"].items()]
    if rows:
        output.table("", ["", "first", "", "last"], rows, boxed=False)
    if document["time"]:
        output.line("time: " + ", ".join(f"{name} {share:.0%}" for name, share in document["time"].items()))
    for row in document["rollouts"]:
        earned = "-" if row["reward"] is None else f"{row['reward']:.3g}"
        output.line(f"{earned:>6}  {row['prompt'].splitlines()[0][:60]!r} -> {row['completion'][:80]!r}")


def _find(name: str) -> runs.Record:
    if name:
        return runs.find_begun(name, unfinished_first=True)
    records = [*runs.records(), *runs.records(partial=True)]
    trained = [record for record in records if (record.path / "log.jsonl").is_file()]
    if not trained:
        raise UsageError("no run here has a log of training", "`past sft` and `past rl` write one")
    return max(trained, key=lambda record: (runs.is_locked(record.path), str(record.manifest.get("started", ""))))
