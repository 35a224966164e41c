"""`past runs report`: any set of runs as one page for people."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__, lookups, output, runs
from ..errors import UsageError
from ..files import writable, write_text
from ..words import counted
from ._options import Force, Json, close, complete_run, told

EXAMPLE = "Example: `past runs report @rl @eval @agent~1 @agent -o report.html`"

RUNS = typer.Argument(
    metavar="RUN...",
    help="Runs of any stage (id, path, @STAGE), and folders or results.json of studies; of a kind, the first is the reference.",
    autocompletion=complete_run,
)
OUT = typer.Option(
    "-o",
    "--output",
    metavar="FILE",
    help="The page, HTML [default: report.html, or with a number where that is taken].",
)
QUERIES = typer.Option(
    "--queries", min=0, metavar="N", help="Hold the episodes of at most N queries; 0 holds none (default: all)."
)


def command(
    names: Annotated[list[str], RUNS],
    out: Annotated[Path | None, OUT] = None,
    queries: Annotated[int | None, QUERIES] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write one self-contained page: scores with intervals, paired differences, plots, lineage, settings, and every
    episode of agents step by step.

    The page needs no network and runs no script; what models and tools said is shown as text, in the middle shortened
    where it is very long.
    """
    from ..report.gather import gather
    from ..report.page import page

    place = _place(out or _untaken(force), force)
    studies = [name for name in names if _study(name) is not None]
    records = [runs.find(name) for name in dict.fromkeys(names) if name not in studies]
    found = gather(records, [path for name in studies if (path := _study(name))], queries)
    stages = ", ".join(dict.fromkeys([record.stage for record in records] + ["study"] * bool(studies)))
    subtitle = f"{counted(len(records) + len(studies), 'runs')} ({stages}), by past {__version__}"
    writable(place.parent)
    write_text(place, "".join(page(found.title, subtitle, found.sections)))
    document: dict[str, Any] = {"report": str(place), "bytes": place.stat().st_size, "runs": [r.id for r in records]}
    document |= {"studies": studies, "episodes": found.episodes, "queries_left_out": found.left_out}
    document |= {"comparable": not found.reasons, "reasons": found.reasons}
    for reason in found.reasons:
        output.warn(f"not comparable: {reason}")
    holds = counted(len(records) + len(studies), "runs")
    holds += f", {counted(found.episodes, 'episodes')}" if found.episodes else ""
    end = lookups.page(place.name, [(record.id, record.stage) for record in records])
    size = f"{document['bytes'] / 1e6:.1f} MB"
    output.emit({**document, **told(end)}, as_json, lambda: output.line(f"{place}: {holds}, {size}"))
    close(end, as_json)


def _study(name: str) -> Path | None:
    """The results.json of a study, if `name` is one or the folder of one."""
    path = Path(name)
    path = path / "results.json" if path.is_dir() and not (path / "manifest.json").exists() else path
    return path if path.suffix == ".json" and path.is_file() else None


def _untaken(force: bool) -> Path:
    """report.html, or what nobody has yet: the command that the end of an evaluation suggests can be typed after each of them."""
    names = itertools.chain(["report.html"], (f"report-{number}.html" for number in itertools.count(2)))
    return next(Path(name) for name in names if force or not os.path.lexists(name))


def _place(out: Path, force: bool) -> Path:
    """Where the page goes. Of what exists only another report is replaced, and that with `--force`."""
    from ..report.page import MARK

    place = Path(os.path.abspath(out))
    if place.is_file() and not place.is_symlink():
        with open(place, "rb") as file:
            if MARK.encode() in file.read(1000):
                if not force:
                    raise UsageError(f"{place} already exists", "choose another name, or add --force to replace it")
                return place
    return runs.allowed(out, folder=False, force=False)
