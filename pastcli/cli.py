"""The Typer app, and the one place where an error becomes text and an exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec

import typer

from . import output
from .errors import PastError

COMMANDS = (
    "ingest", "sft", "rl", "distill", "extract", "inject", "probe_orthogonality",
    "eval", "agent", "runs", "doctor", "plugins",
)  # fmt: skip
"""Modules of `pastcli.commands`, in the order of the path through them. Each has `app` (a group) or `command`."""

app = typer.Typer(
    name="past",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `past doctor`; every command has an example under `--help`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(f"past {__version__}")
        raise typer.Exit()


@app.callback()
def past(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit."),
    workspace: str = typer.Option("", "--workspace", "-C", metavar="DIR", help="Keep runs here instead of the current directory."),
) -> None:
    """Parametric Skill Transfer: teach a model documents, lift the skill of using them, add it anywhere."""
    if workspace:
        os.environ["PAST_WORKSPACE"] = workspace


def _register() -> None:
    for name in COMMANDS:
        if find_spec(f"pastcli.commands.{name}") is None:
            continue
        module = import_module(f"pastcli.commands.{name}")
        title = name.replace("_", "-")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=title)
        else:
            app.command(title, epilog=getattr(module, "EXAMPLE", None))(module.command)


_register()


def main() -> None:
    """Console entry point. `--debug` anywhere on the line (or PAST_DEBUG=1) shows tracebacks."""
    debug = "--debug" in sys.argv[1:] or os.environ.get("PAST_DEBUG") == "1"
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app()
    except PastError as error:
        if debug:
            raise
        output.error(error.message, error.hint)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our stdout went away (`past runs list | head`); keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        output.error(f"{type(error).__name__}: {error}", "this is unexpected; run again with --debug to see where")
        sys.exit(1)
