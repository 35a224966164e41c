"""`past runs watch`: the curves of a training, while it runs or afterwards."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from .. import curves, output, runs
from ..ancestry import status_of
from ..errors import Interrupted, UsageError
from ._ends import end_of
from ._options import Json, close, complete_run, is_finite, told

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
    if output.drawable() and not once and not as_json:
        _follow(record, every)
    record = runs.read(record.path if record.path.is_dir() else runs.runs_dir() / record.id)
    document, end = summary(record), end_of(record)
    output.emit({**document, **told(end)}, as_json, lambda: output.lines(_lines(document)))
    close(end, as_json)


def _follow(record: runs.Record, every: float) -> None:
    """Draw the run until it ends. On an interrupt, by which everybody leaves who is not interested in the end, the view stays."""
    with output.drawing() as draw:
        try:
            while runs.is_locked(record.path):
                draw(_lines(summary(record)))
                time.sleep(every)
        except KeyboardInterrupt:
            last = _lines(summary(record))
        else:
            return
    output.lines(last)
    output.note("the run goes on; only the watching has ended")
    raise typer.Exit(Interrupted.exit_code)


def summary(record: runs.Record) -> dict[str, Any]:
    """What the log says so far: steps, the values of each curve, shares of time, and the newest sampled answers."""
    log = curves.read_log(record.path / "log.jsonl")
    return {
        "run": record.id,
        "status": "running" if record.status != "complete" and runs.is_locked(record.path) else status_of(record),
        "step": log[-1]["step"] if log else 0,
        "tokens_per_second": log[-1].get("tokens_per_second") if log else None,
        "curves": {name: [entry[name] for entry in log if name in entry] for name in curves.drawn(log)},
        "time": curves.times(log),
        "rollouts": curves.read_log(record.path / "rollouts.jsonl")[-4:],
    }


def _lines(document: dict[str, Any]) -> list[str]:
    """The view in lines; curves in the room that there is."""
    rate, shares, room = document["tokens_per_second"], document["time"], output.width()
    speed = f", {rate:.0f} tokens/s" if rate else ""
    lines = [f"{document['run']} ({document['status']}): step {document['step']}{speed}"]
    lines += curves.table(document["curves"], room or 200)
    if shares:
        lines.append("time: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    for row in document["rollouts"]:
        earned = "-" if row["reward"] is None else f"{row['reward']:.3g}"
        asked = next(iter(row["prompt"].splitlines()), "")[: 60 if room is None else max(10, min(60, room // 2 - 8))]
        lines.append(f"{earned:>6}  {asked!r} -> {row['completion'][:80]!r}")
    return lines


def _find(name: str) -> runs.Record:
    if name:
        return runs.find_begun(name, unfinished_first=True)
    records = [*runs.records(), *runs.records(partial=True)]
    trained = [record for record in records if (record.path / "log.jsonl").is_file()]
    if not trained:
        raise UsageError("no run here has a log of training", "`past sft` and `past rl` write one")
    return max(trained, key=lambda record: (runs.is_locked(record.path), str(record.manifest.get("started", ""))))
