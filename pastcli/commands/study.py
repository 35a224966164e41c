"""`past study`: an experiment from one file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import lookups, output, runs, verdict
from ..config.study import reference
from ..config.study_tools import reference as of_tools
from ..environment import undry_command
from ..errors import UsageError
from ..words import counted
from . import _study_init
from ._options import DryRun, Json, close, told

if TYPE_CHECKING:
    from ..study.node import Given

EXAMPLE = "Example: `past study run squad.toml`"

app = typer.Typer(
    help=f"Run an experiment from one file: arms, seeds, controls.\n\n{reference()}\n\n{of_tools()}",
    epilog=EXAMPLE,
    no_args_is_help=True,
)

FILE = typer.Argument(metavar="FILE", help="The study file (TOML; default: what the newest `past study init` made).")
OUT = typer.Option(
    "-o", "--output", metavar="DIR", help="Where results.json, table.md and the plots go (default: studies/NAME)."
)
COLLECT = typer.Option(
    "--collect", help="Make nothing: only the tables of what is there, also while a study is running."
)
LEAN = typer.Option(
    "--lean", help="Remove models as soon as no arm of this study needs them; other studies train anew."
)
ANEW = typer.Option(
    "--anew",
    help="Make again what another state of past's code made (before a git pull, say); it is told and kept otherwise.",
)
INTO = typer.Option("--into", metavar="FILE", help="Put the tables between the two marks for studies in this file.")
SEED = typer.Option(
    "--seed", metavar="N", help="Make only this seed of the study now; may repeat. The table is of all that is there."
)
JOBS = typer.Option("--jobs", min=1, help="Stages run side by side; each takes the memory of a training.")


app.command("init", epilog=_study_init.EXAMPLE)(_study_init.command)


@app.command("run", epilog=f"{reference()}\n\n{of_tools()}\n\n{EXAMPLE}")
def run(
    file: Annotated[Path | None, FILE] = None,
    out: Annotated[Path | None, OUT] = None,
    seed: Annotated[list[int] | None, SEED] = None,
    jobs: Annotated[int, JOBS] = 1,
    collect: Annotated[bool, COLLECT] = False,
    lean: Annotated[bool, LEAN] = False,
    anew: Annotated[bool, ANEW] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Make what the study needs and is not there yet, then its table. Stopped anywhere, it goes on when run again.

    Each step is an ordinary command, which it prints.

    Every result is found by its content, also across the studies of a workspace: nothing is trained twice.
    """
    file = file or _newest()
    load, plan, run = _kind_of(file)
    study = load(file)
    folder = out or Path("studies") / file.stem
    if unknown := set(seed or ()) - set(study.seeds):
        raise UsageError(f"the study has no seed {unknown.pop()}", f"its seeds: {', '.join(map(str, study.seeds))}")
    if dry_run:
        planned, dry = plan(study, runs.workspace(), seed or (), jobs, _check, anew), lookups.dry(undry_command())
        output.emit({**planned, **told(dry)}, as_json)
        close(dry, as_json)
        return
    document = run(study, runs.workspace(), folder, jobs, collect, lean, seed or (), _check, anew)
    end = verdict.experimented(document, shlex.quote(str(file)), **_commands_for(folder))
    shown = {**document["summary"], **told(end)}
    output.emit(shown, as_json, lambda: print((folder / "table.md").read_text(encoding="utf-8")))
    close(end, as_json)


def _commands_for(folder: Path) -> dict[str, str]:
    """How the model that a study tested is asked, and what makes a file of it: injected models are removed once they were asked."""
    from ..measured import tested

    found = tested(folder)
    if found is None:
        return {}
    name, vectors, scale = found
    skills = [word for vector in vectors for word in ("--vector", vector)]
    skills += ["--scale", f"{scale:g}"] if scale != 1.0 else []
    here = [] if runs.workspace().resolve() == Path.cwd() else ["-C", os.path.relpath(runs.workspace())]
    ask = shlex.join(["past", *here, "ask", "--model", name, *skills])
    made = f"{shlex.join(['past', *here, 'inject', '--target', name, *skills])}, then " if skills else ""
    export = ["export", "--to", "gguf", *([] if skills else ["--model", name])]
    return {"ask": ask, "take": f"{made}{shlex.join(['past', *here, *export])}"}


def _check(given: Given) -> None:
    """Look at the weights that the study begins with, and whether its skills fit them, before anything is trained."""
    from ..vectors.checks import finite
    from ..vectors.inject import check_fit

    for model in given.models:
        finite.model(model)
    for base in given.bases if given.skills else ():
        check_fit(given.skills, base)


def _kind_of(file: Path) -> tuple[Any, Any, Any]:
    """(load, plan, run) of a study of documents, or of one of tools."""
    from ..study.tools import spec

    if spec.is_of_tools(file):
        from ..study.tools import run as of_tools

        return spec.load, of_tools.plan, of_tools.run
    from ..study import load
    from ..study import run as of_documents

    return load, of_documents.plan, of_documents.run


def _newest() -> Path:
    record = runs.newest("study", output_name="study")
    folder = record.output("study") if record else None
    if record is None or folder is None or not folder.is_dir():
        raise UsageError("no study file given, and none made in this workspace", "past study init FOLDER makes one")
    file = folder / record.manifest["metrics"]["file"]
    output.note(f"study: {file} (run {record.id})")
    return file


@app.command("report", epilog="Example: `past study report docs/results/*/results.json --into docs/RESULTS.md`")
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="results.json files of studies.")],
    into: Annotated[Path | None, INTO] = None,
    as_json: Json = False,
) -> None:
    """Make the tables anew from the items of finished studies, and print them or put them into a Markdown file."""
    from ..files import write_text
    from ..study import report as reports

    found = [(path, reports.refreshed(path)) for path in results]
    if into is not None:
        links = [(os.path.relpath(path, into.parent), document) for path, document in found]
        write_text(into, reports.into(into.read_text(encoding="utf-8"), links))
        output.note(f"{counted(len(found), 'studies')} into {into}")
    summaries = {str(path): document["summary"] for path, document in found}

    def human() -> None:
        if into is None:
            print("\n".join(reports.markdown(document) for _, document in found), end="")

    output.emit(summaries, as_json, human)
    close(lookups.tables(len(found), [str(path) for path in results]), as_json)


@app.command("arms", epilog="Example: `past study arms > my-study.toml`")
def arms(tools: Annotated[bool, typer.Option("--tools", help="Those of a study of tools.")] = False) -> None:
    """Print the arms of a study that declares none, as TOML to start from."""
    from ..study import spec
    from ..study.tools import spec as spec_of_tools

    print((spec_of_tools if tools else spec).default_arms(), end="")
