"""`past runs compare`: agent or eval runs on the same queries, pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import lookups, output, runs
from ..config import finite
from ..errors import GateError, PastError, UsageError
from ._options import Json, close, complete_run, is_finite, told

if TYPE_CHECKING:
    from ..evals.paired import Pair, Table

EXAMPLE = "Example: `past runs compare agent-sft agent-skill --gate solved:0.05`"

RUNS = typer.Argument(
    metavar="RUN...", help="Two or more agent or eval runs; the first is the reference.", autocompletion=complete_run
)
GATE = typer.Option(
    "--gate",
    metavar="METRIC:X",
    help="Exit 4 unless every other run is at least X above the first on METRIC; may repeat.",
)
ALPHA = typer.Option(
    "--alpha", min=0.0, max=1.0, callback=is_finite, help="With --gate: also ask for a corrected p of at most this."
)
SOWR = typer.Option("--sowr", help="Two agent runs: let a judge model prefer one of each pair, in both orders.")
JUDGE_MODEL = typer.Option("--judge-model", metavar="NAME", help="Model of the judge for --sowr.")
JUDGE_BACKEND = typer.Option("--judge-backend", metavar="NAME", help="Chat plugin that runs the judge's model.")


def command(
    names: Annotated[list[str], RUNS],
    gate: Annotated[list[str] | None, GATE] = None,
    alpha: Annotated[float | None, ALPHA] = None,
    sowr: Annotated[bool, SOWR] = False,
    judge_model: Annotated[str, JUDGE_MODEL] = "",
    judge_backend: Annotated[str, JUDGE_BACKEND] = "openai",
    as_json: Json = False,
) -> None:
    """Compare runs on the same queries: paired differences with intervals, McNemar or sign flips, corrected by Holm.

    An eval run of several models stands for each of them, as RUN:LABEL.
    """
    from ..evals.paired import as_document, compare_tables
    from ..report.compared import not_comparable, tables_of

    if alpha is not None and not gate:
        raise UsageError("--alpha decides nothing by itself", "give --gate METRIC:X too")
    records = [runs.find(name) for name in names]
    tables, documents = tables_of(records)
    if len(tables) < 2:
        raise UsageError("one run cannot be compared", "name two or more runs")
    wanted = [_gate(text, tables) for text in gate or []]
    found = compare_tables(tables, documents or None)
    reasons = not_comparable(records, tables)
    for reason in reasons:
        output.warn(f"not comparable: {reason}")
    document: dict[str, Any] = {"reference": next(iter(tables)), "runs": list(tables), "comparable": not reasons}
    document |= {"reasons": reasons, "differences": as_document(found)}
    if sowr:
        document["sowr"] = _sowr(records, judge_model, judge_backend)
    end = lookups.compared(document, names)
    output.emit({**document, **told(end)}, as_json, lambda: _show(document, found))
    close(end, as_json)
    _gates(wanted, found, alpha, reasons)


def _sowr(records: list[runs.Record], model: str, backend: str) -> dict[str, Any]:
    """The win rate of the second run over the first."""
    from dataclasses import asdict

    from ..agent.reading import episodes
    from ..evals.paired import win_rate
    from ..report.compared import output_of
    from ..tools.judging.opening import open_preference

    if len(records) != 2 or any(record.stage != "agent" for record in records):
        raise UsageError("--sowr compares two agent runs", "name exactly two")
    judge = open_preference(backend, model)
    try:
        first, second = (
            {(r.episode.task.id, r.episode.attempt): r.episode for r in episodes(output_of(record, "transcript"))}
            for record in records
        )
        common = [key for key in first if key in second]
        with output.progress("judging pairs", "attempts") as progress:
            preferences: dict[str, list[tuple[str | None, str | None]]] = {}
            for done, key in enumerate(common, 1):
                both = judge.prefers(first[key], second[key]), judge.prefers(second[key], first[key])
                preferences.setdefault(key[0], []).append(both)
                progress(done, len(common), {})
    finally:
        judge.close()
    try:
        return asdict(win_rate(list(preferences.values())))
    except ValueError as error:
        why = f": {judge.failure}" if judge.failure else ""
        raise PastError(
            f"{error}{why}", "a judge of pairs has to answer with the JSON object it is asked for"
        ) from None


def _gate(text: str, tables: dict[str, Table]) -> tuple[str, float]:
    """(metric, least difference) of METRIC:X."""
    metric, _, bound = text.rpartition(":")
    known = list(next(iter(tables.values())))
    try:
        least = finite(bound)
    except ValueError:
        raise UsageError(f"--gate {text} names no number", "write METRIC:X, for example solved:0.05") from None
    if metric not in known:
        raise UsageError(f"--gate {text}: no metric {metric!r}", f"metrics: {', '.join(known)}")
    return metric, least


def _gates(
    wanted: list[tuple[str, float]], found: dict[str, dict[str, Pair]], alpha: float | None, reasons: list[str]
) -> None:
    for metric, least in wanted:
        for name, pairs in found.items():
            pair = pairs[metric]
            if pair.difference < least:
                raise GateError(
                    f"{metric} of {name} differs by {pair.difference:+.4f}, below --gate {metric}:{least:g}"
                )
            if alpha is not None and pair.p_holm > alpha:
                raise GateError(f"{metric} of {name}: p is {pair.p_holm:.3g}, above --alpha {alpha:g}")
    if wanted and reasons:
        raise GateError(f"the runs are not comparable: {reasons[0]}", "run them with the same settings")


def _show(document: dict[str, Any], found: dict[str, dict[str, Pair]]) -> None:
    rows = []
    for name, pairs in found.items():
        for metric, pair in pairs.items():
            low, high = (f"{bound:+.3f}" if bound is not None else "-" for bound in (pair.low, pair.high))
            cell = f"{pair.difference:+.3f} [{low}, {high}]"
            rows.append(
                (
                    name,
                    metric,
                    f"{pair.n} ({pair.ungraded} ungraded)" if pair.ungraded else pair.n,
                    f"{pair.mean:.3f}",
                    cell,
                    f"{pair.better}/{pair.worse}",
                    f"{pair.p:.3g}",
                    f"{pair.p_holm:.3g}",
                    pair.test,
                )
            )
    columns = ("run", "metric", "n", "mean", f"minus {document['reference']}", "better/worse", "p", "p Holm", "test")
    output.table("", columns, rows, "paired over queries; Holm over the runs")
    if "sowr" in document:
        sowr = document["sowr"]
        line = f"win rate of the second run {sowr['rate']:.3f} [{sowr['low']:.3f}, {sowr['high']:.3f}], "
        output.line(
            line
            + f"{sowr['wins']} won, {sowr['losses']} lost, {sowr['ties']} tied, {sowr['ungraded']} ungraded, p {sowr['p']:.3g}"
        )
