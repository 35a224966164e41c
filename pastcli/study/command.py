"""One stage of a study as an ordinary `past` command in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config as configs
from .. import output
from ..errors import Interrupted, PastError
from ..runs import read, remove_finished
from .children import AGAIN
from .node import Node

if TYPE_CHECKING:
    from .store import Store

EVERY = 60.0
"""Seconds between two lines of a stage's progress."""

TRAINS = ("generate", "sft", "rl", "distill")
"""Stages whose judgement is passed on: a study whose RL learnt from nothing looks like any other in its table."""

PROGRESS = re.compile(r"^[^:]+: \d+(/\d+)? \d+:\d\d:\d\d left ")
"""As `progress.line_of` writes it."""


def run_past(node: Node, store: Store, *words: str) -> dict[str, Any]:
    """One command with the node's settings, and nobody else's; its JSON document. What it says goes to the store's `logs/`."""
    store.logs.mkdir(parents=True, exist_ok=True)
    settings = store.logs / f"{node.name}.toml"
    stage = next(name for name, cls in configs.STAGES.items() if isinstance(node.config, cls))
    tables = configs.to_toml(stage, node.config)
    for name in ("ingest", "lessons", "sft", "rl", "eval"):  # the stages that a run takes settings of beside its own
        if name in node.extra:
            tables += configs.to_toml(name, node.extra[name])
    settings.write_text(tables, encoding="utf-8")
    # A name says all that decides a result: what lies there unfinished and cannot be resumed is of another version of `past`.
    words = (*words, "--config", str(settings), "--resume", "--force")
    output.note(f"$ {typed(words, store.workspace)}")
    command = [sys.executable, "-m", "pastcli", *words, "--json"]
    log = store.logs / f"{node.name}.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PAST_") or k == "PAST_HOME"}
    environment["PAST_WORKSPACE"] = str(store.workspace)
    with open(log, "a", encoding="utf-8") as errors:
        before = errors.tell()
        with store.children.started(command, environment, errors) as process:
            printed = watched(process, log, before, node.label)
    if process.returncode == 130:
        raise Interrupted("interrupted", AGAIN)
    if process.returncode:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise PastError(f"{node.label} failed: {' '.join(said[-2:])[:400]}", f"everything it said is in {log}")
    result = json.loads(printed)
    if words[0] in TRAINS and result.get("judgement"):
        output.note(f"  {result['judgement']}")
    return result


def watched(process: subprocess.Popen[str], log: Path, before: int, label: str, every: float = EVERY) -> str:
    """What a stage prints until it ends. Meanwhile the last line of progress that it wrote into its log (behind byte
    `before`) is passed on `every` so many seconds: without it a training of an hour would look like one that hangs."""
    shown = ""
    while True:
        try:
            return process.communicate(timeout=every)[0]
        except subprocess.TimeoutExpired:
            line = _progress(log, before)
            if line not in ("", shown):
                shown = line
                output.note(f"  {label}: {line}")
        except BaseException:
            process.kill()
            raise


def _progress(log: Path, before: int) -> str:
    """The last line of progress in a log, without the name of the stage; '' if there is none."""
    with open(log, encoding="utf-8", errors="replace") as lines:
        lines.seek(before)
        found = [line for line in lines if PROGRESS.search(line)]
    return found[-1].partition(": ")[2].strip() if found else ""


@contextlib.contextmanager
def passing(node: Node, store: Store, *words: str) -> Iterator[dict[str, Any]]:
    """Like `run_past`, for a run that is of no more use after the block: it is removed. It is called after its node, so that one
    whose study was killed before is known (`Store.remove`)."""
    result = run_past(node, store, *words, "--name", f"{node.name}.{words[0]}")
    yield result
    remove_finished(read(store.workspace / "runs" / result["run"]))


def typed(words: Sequence[str], workspace: Path) -> str:
    """The command line that does the same from the current directory."""
    here = Path.cwd()
    short = [os.path.relpath(word) if word.startswith(f"{here}{os.sep}") else word for word in words]
    elsewhere = [] if workspace.resolve() == here else ["-C", os.path.relpath(workspace)]
    return shlex.join(["past", *elsewhere, *short])
