"""The Typer app, and the one place where an error becomes text and an exit code.

A command's module is imported when the command is typed; `past --help` makes do with the lines below, so that
it stays fast however many commands there are.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from . import output, streams
from .errors import Interrupted, PastError, UsageError, said

_CommandLineError: Any = typer.BadParameter.__mro__[2]
"""What Typer raises for a command line it cannot read. Its own copy of Click has no public name for the class."""

COMMANDS = {
    "ingest": "Documents of any common kind to passages with their provenance.",
    "generate": "More texts and questions out of passages, by a chat model or by rule.",
    "sft": "Fine-tune a model on documents or a corpus.",
    "rl": "Reinforce question answering by GRPO, starting from an SFT run.",
    "distill": "K rounds of SFT and RL on disjoint parts of the source, as one resumable command.",
    "extract": "Lift the skill vector: RL minus SFT.",
    "inject": "Add a skill vector to a model.",
    "inspect": "Show what a skill file holds, and where it belongs.",
    "sweep": "Find the scale: inject and evaluate over a grid of λ.",
    "probe-orthogonality": "Measure how orthogonal SFT and RL changes are, against chance.",
    "eval": "Closed-book question answering, with intervals and paired tests.",
    "study": "Run an experiment from one file: arms, seeds, controls; the table and what it carries.",
    "ask": "Ask a model something, or talk with it.",
    "export": "Write a model for other programs: Hugging Face, llama.cpp, Ollama.",
    "agent": "Run a ReAct agent over a file of tools.",
    "serve": "Serve tools to other programs: StableToolBench's protocol, MCP, and a page to try them.",
    "runs": "List, show and trace the runs of a workspace; clear unfinished ones away.",
    "doctor": "Check that everything needed is here, and say how to get what is not.",
    "plugins": "List the installed backends, rewards and judges.",
}
"""In the order of the path; `pastcli.commands` has a module for each, with `command` or `app` (a group)."""

GROUPS = {
    "The path": ("ingest", "generate", "sft", "rl", "distill", "extract", "inject"),
    "Measure": ("eval", "sweep", "probe-orthogonality", "study"),
    "Use": ("ask", "agent", "serve", "export"),
    "Manage": ("inspect", "runs", "doctor", "plugins"),
}
"""How `past --help` shows them."""


def _load(title: str) -> Any:
    """The real command behind a name."""
    module = import_module(f"pastcli.commands.{_module(title)}")
    one = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    if hasattr(module, "app"):
        one.add_typer(module.app, name=title)
    else:
        one.command(title, epilog=module.EXAMPLE)(module.command)
    return get_group(one).commands[title]


def _module(title: str) -> str:
    return title.replace("-", "_")


class LazyGroup(TyperGroup):
    """Knows the name and one line of each command; the command itself when it is called."""

    def __init__(self, *words: Any, **named: Any):
        super().__init__(*words, **named)
        self.commands = {
            title: TyperCommand(title, help=COMMANDS[title], rich_help_panel=panel)
            for panel, titles in GROUPS.items()
            for title in titles
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if command is not None and name else None, rest

    def invoke(self, ctx: Any) -> Any:
        """Nothing of ours leaves a command by `sys.exit`: a plugin that does would end it as if all had been done."""
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # rich's way to end where nobody reads on
                raise error.__context__ from None
            raise PastError(
                f"code that is not past's own ended the command: SystemExit: {error}",
                "a plugin, a reward or a tool called sys.exit; --debug shows where",
            ) from error


app = typer.Typer(
    name="past",
    cls=LazyGroup,
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
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
    workspace: str = typer.Option(
        "", "--workspace", "-C", metavar="DIR", help="Keep runs here instead of the current directory."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error; anywhere on the line."),
) -> None:
    """Parametric Skill Transfer: teach a model documents, lift the skill of using them, add it anywhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("the current folder was removed", "change to one that is there") from None
    if workspace := workspace or os.environ.get("PAST_WORKSPACE", ""):
        if os.path.lexists(workspace) and not os.path.isdir(workspace):
            raise UsageError(
                f"{workspace} is no folder: no workspace can be there", "-C DIR names a folder, there or to be made"
            )
        os.environ["PAST_WORKSPACE"] = workspace
    runs = Path(workspace or ".", "runs")
    if any((runs / ".partial").glob("[!.]*")) or (runs / ".old").exists():
        _finish_published(dry_run="--dry-run" in sys.argv[1:])


def _finish_published(dry_run: bool) -> None:
    """What was killed while it was published is whole: finished before anything asks what there is, or may be replaced; a dry run
    changes nothing and says so."""
    from .publish import killed_at_publishing, recover

    if not dry_run:
        recover()
        return
    for record in killed_at_publishing():
        output.note(f"{record.id} was killed while being published: what is no dry run finishes that first")


def _leave_in_place() -> None:
    """At exit nothing loaded is taken apart object by object: after torch that took 1.7 s of processor time. But where nanobind has made
    types (triton 3.9, which builds of torch for CUDA load): it takes what is left for leaks, and says so in fifty lines."""
    if not any(kind.__module__ == "nanobind" for kind in type.__subclasses__(type)):
        gc.freeze()


def main() -> None:
    """Console entry point. `--debug` anywhere on the line (or PAST_DEBUG=1) shows tracebacks; the exit code stays the same."""
    # Imports make objects by the hundred thousand and hardly any garbage: looking for it took a tenth of a short command.
    gc.set_threshold(20_000)
    atexit.register(_leave_in_place)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`past runs list >&-`)
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the process
        getattr(sys, name).reconfigure(errors="backslashreplace")  # a file name may be no UTF-8, a terminal no Unicode
    # OpenBLAS's threads, there as soon as numpy is, wait for work in a busy loop: for 0.07 s of processor time when there is none.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")
    if not (sys.stderr and sys.stderr.isatty()):
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of libraries, into a log; read when they are imported
    if len(sys.argv) == 3 and sys.argv[1] in ("--show-completion", "--install-completion"):
        # Typer guesses the shell, and takes its name only if told not to; scripts have no shell to guess from.
        os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    debug = "--debug" in sys.argv[1:] or os.environ.get("PAST_DEBUG") == "1"
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    as_json = "--json" in sys.argv[1:]
    if as_json and not {"-h", "--help"} & set(sys.argv[1:]):
        streams.set_apart()
    try:
        _nothing_empty(sys.argv[1:])
        code = app(prog_name="past", standalone_mode=not as_json)
        sys.exit(code if isinstance(code, int) else 0)
    except BrokenPipeError:
        # The reader of our stdout went away (`past runs list | head`); keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except SystemExit:
        raise
    except BaseException as error:  # somebody else's code may end in one that is no Exception
        message, hint, code = _told(error)
        if debug:
            traceback.print_exc()
        _tell(sys.stderr, lambda: output.error(message, hint))
        if as_json and not output.emitted():
            _tell(sys.stdout, lambda: output.emit({"error": message, "hint": hint, "exit_code": code}, True))
        _tell(sys.stdout, lambda: None)
        sys.exit(code)


def _tell(stream: Any, say: Callable[[], None]) -> None:
    """Where a stream takes nothing (a full disk, a reader that went away), the exit code alone says what happened."""
    try:
        say()
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nothing_empty(words: list[str]) -> None:
    """`past ingest "$DOCS"` without that variable would read the current directory, as an empty path is taken for it."""
    if "" in words:
        before = words[words.index("") - 1] if words.index("") else "past"
        raise UsageError(f"an empty word on the command line, after {before!r}", "was a variable of the shell not set?")


def _told(error: BaseException) -> tuple[str, str | None, int]:
    """What is said of an error, what would mend it, and the exit code."""
    from .diskspace import full, is_full
    from .records import runs_dir

    if isinstance(error, PastError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        stopped = Interrupted.by(error)
        return stopped.message, None, stopped.exit_code
    if isinstance(error, _CommandLineError):
        where = getattr(error, "ctx", None)
        return error.format_message(), f"try: {where.command_path} --help" if where else None, error.exit_code
    if is_full(error):
        told = full(error, [runs_dir(), Path.cwd()])
        return told.message, told.hint, told.exit_code
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from"):
        return (
            f"{str(error).removeprefix('Symlink loop from ')} is a link that leads back to itself",
            "name the file",
            2,
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = Path(os.fsdecode(error.filename or "")).name
        return (
            f"too long for the name of a file or folder: {name[:60]}...",
            "choose a shorter one",
            UsageError.exit_code,
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        from . import cache
        from .files import unwritable

        refused = cache.refused(error)
        if refused is None and error.errno == errno.EROFS:
            refused = unwritable(Path(os.fsdecode(error.filename or "")).parent, error)
        if refused is not None:
            return refused.message, refused.hint, refused.exit_code
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror or error}{where}", "run again with --debug to see where", 1
    return said(error), _outside(error) or "this is unexpected; run again with --debug to see where", 1


def _outside(error: BaseException) -> str:
    """What of our requirements is installed in a version that we do not know, or else in a newer one than was tested: the likeliest
    cause of what nobody expected."""
    from .commands._packages import packages
    from .tested import suspects

    found = [finding for finding in packages() if finding.state == "fail"]
    return "; ".join(f"{finding.check} {finding.detail}: {finding.fix}" for finding in found[:3]) or suspects(error)
