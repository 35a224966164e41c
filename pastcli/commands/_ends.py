"""The words that a run ended with, made again from what it kept: for commands that look at a run."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from .. import lookups, runs, verdict
from ..ancestry import status_of
from ..narration import Closing
from ._options import end_of_stage


def end_of(record: runs.Record) -> Closing:
    """What a finished run came to and what is next; of one that is unfinished, how it goes on.

    A command made of the run's own line is led by `cd` where that was typed in another folder, beside other files.
    """
    status, argv = status_of(record), record.manifest.get("argv", [""])
    own = _own(record) if status == "complete" else None
    failure = record.manifest.get("failure", "") if status == "failed" else ""
    end = lookups.shown(status, argv[1:], record.id, own, failure)
    if record.typed_in == Path.cwd() or status == "running" or not end.next:
        return end
    if own is not None and own == _own(runs.Record(record.path, {**record.manifest, "argv": []})):
        return end  # nothing of its line is in there
    return Closing(end.judgement, f"cd {shlex.quote(os.path.relpath(record.typed_in))} && {end.next}")


def _own(record: runs.Record) -> Closing | None:
    """As the command of its stage said it; None for a run whose files are gone or were left by an older version."""
    try:
        if record.stage == "eval":
            return verdict.evaluated(_read(record.path / "results.json"), record.id)
        if record.stage == "agent":
            return verdict.attempted(_read(record.made("summary")), record.id)
        if record.stage == "probe":
            return verdict.probed(_read(record.path / "probe.json"), *probed_models(record))
        if record.stage == "study":
            folder = record.output("study")
            file = shlex.quote(str(folder / record.manifest["metrics"]["file"])) if folder else "FILE"
            return verdict.studied(record.manifest["metrics"], f"past study run {file}")
        return end_of_stage(record)
    except (OSError, KeyError, ValueError):
        return None


def probed_models(record: runs.Record) -> tuple[str, str]:
    """The SFT and the RL model of a probe: the runs that made them, or paths."""
    inputs = record.manifest["inputs"]
    sft, rl = (inputs[role].get("run") or str(record.input(role)) for role in ("sft", "rl"))
    return sft, rl


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
