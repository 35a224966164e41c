"""Several processes for one training, started by accelerate; the first that fails ends all, with its own error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pastcli import api, errors, output
from pastcli.diskspace import full, is_full
from pastcli.errors import Interrupted, PastError, Terminated, UsageError

from .checkpoints import GOING_ON, found
from .layout import Layout, command, environment
from .stopping import WORKERS, Notes, finishing, stopped
from .worker import JOB, JOINED, tell

LOG = "launcher.log"
_PATIENCE = 15.0
"""Seconds the workers have to end after they were told to, and another machine to say what happened there."""


def launch(stage: str, job: api.TrainJob, layout: Layout) -> api.TrainResult:
    """Run `job` in the workers of `layout`. Raises what the first worker that failed raised, or `PastError` if it was killed.

    SIGTERM, and Ctrl-C before the first checkpoint, let the workers finish their step and keep it in one, as in a training of one
    process.
    """
    folder, notes = job.state / WORKERS, Notes(job.state)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    try:
        (folder / JOB).write_bytes(pickle.dumps((stage, dataclasses.replace(job, progress=None))))
    except Exception as error:  # pickle has many types for what it cannot take
        raise UsageError(f"a reward cannot be handed to other processes: {error}", "use --processes 1") from error
    launcher = _started(folder, layout)
    with _ended(launcher), finishing(notes.stop, notes.has_begun, lambda: bool(found(job.state))) as heard:
        _follow(launcher, folder, job)
    stopping = notes.is_stopping()
    notes.forget()
    result = folder / "result.json"
    if launcher.returncode or not result.is_file():
        failure = _failure(folder, launcher.returncode, _PATIENCE if layout.machines > 1 else 0.0)
        if stopping and isinstance(failure, Interrupted):
            raise stopped(heard) from failure
        raise failure
    fields = json.loads(result.read_text(encoding="utf-8"))
    last = Path(fields["last"]) if fields["last"] else None
    return api.TrainResult(**{**fields, "path": Path(fields["path"]), "last": last})


def join(layout: Layout) -> Path:
    """Run this machine's workers in the training that machine 0 makes, until it ends; gives the run directory there.

    They get the job from machine 0's, through the store by which all find each other. Raises what `launch` does, and
    then tells machine 0, whose workers know no more than that a connection broke.
    """
    folder = Path(tempfile.mkdtemp(prefix="past-machine-"))
    launcher = _started(folder, layout)
    with _ended(launcher):
        launcher.wait()
    note = folder / JOINED
    shared = Path(json.loads(note.read_text(encoding="utf-8"))["folder"]) if note.is_file() else None
    if launcher.returncode or shared is None:
        error, killed = _failure(folder, launcher.returncode), _killed(folder)
        if killed and shared and shared.is_dir():
            said = f"killed by {killed[1]} on machine {layout.rank}"
            tell(shared, killed[0], PastError(said, error.hint))
        raise error
    shutil.rmtree(folder, ignore_errors=True)
    return shared.parent.parent


def _started(folder: Path, layout: Layout) -> subprocess.Popen:
    """The launcher of this machine's workers, whose word goes to its log in `folder`."""
    with open(folder / LOG, "wb") as log:
        return subprocess.Popen(
            command(folder, layout),
            env=environment(layout),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


@contextlib.contextmanager
def _ended(launcher: subprocess.Popen) -> Iterator[None]:
    """No worker outlives the block."""
    try:
        yield
    finally:
        if launcher.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                launcher.send_signal(signal.SIGTERM)  # the launcher passes it on to its workers
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(_PATIENCE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()


def _follow(launcher: subprocess.Popen, folder: Path, job: api.TrainJob) -> None:
    """Until the workers end: pass on rank 0's progress, its warnings with what mends them, and where it goes on from."""
    progress, notes = _Tail(folder / "progress.jsonl"), _Tail(folder / "rank0.log")
    while True:
        ended = launcher.poll() is not None
        for line in progress.lines():
            _pass_on(job, line)
        for line in notes.lines():
            if line.startswith("warning: "):
                output.warn(line.removeprefix("warning: "))
            elif line.startswith(("  hint: ", GOING_ON)):
                output.note(line)
        if ended:
            return
        time.sleep(0.1)


def _pass_on(job: api.TrainJob, line: str) -> None:
    """A line of rank 0's progress."""
    if job.progress:
        job.progress(*json.loads(line))


class _Tail:
    """The whole lines a file has grown by."""

    def __init__(self, file: Path):
        self.file, self.at = file, 0

    def lines(self) -> list[str]:
        if not self.file.is_file():
            return []
        with open(self.file, "rb") as handle:
            handle.seek(self.at)
            grown = handle.read()
        whole = grown[: grown.rfind(b"\n") + 1]
        self.at += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


def _failure(folder: Path, code: int, wait: float = 0.0) -> PastError:
    """The error of the worker that failed first: one that a signal killed, else the first that told an error of its own.

    What the others say about a lost connection follows from it. The launcher's own word of a root cause is that which it
    noticed first, which may be the wrong one. For a worker of another machine to be named there are `wait` seconds.
    """
    kept = f"logs of all workers: {folder}"
    if killed := _killed(folder):
        rank, name = killed
        hint = "out of memory? Give each process less: --batch-tokens; then --resume continues"
        return PastError(f"worker {rank} was killed by {name}; the others were stopped", f"{hint}; {kept}")
    end = time.monotonic() + wait
    while (told := _told(folder)) and told[0]["lost"] and time.monotonic() < end:
        time.sleep(0.2)
    if not told and (no_room := _full(folder)):
        return no_room
    if not told and code < 0:
        said = f"the launcher of the workers was killed by {signal.Signals(-code).name}; they were stopped"
        return PastError(said, f"--resume continues where there is a checkpoint; {kept}")
    if not told and f"got signal: {signal.SIGTERM:d}" in (folder / LOG).read_text(encoding="utf-8", errors="replace"):
        return Interrupted.by(Terminated())  # who takes a machine back tells every process of a job
    if not told:
        log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
        tail = " ".join(log.strip().splitlines()[-1:])[:300]
        return PastError(f"the workers ended with exit code {code}: {tail}", kept)
    kind = getattr(errors, told[0]["type"], PastError)
    return kind(f"worker {told[0]['rank']}: {told[0]['message']}", told[0]["hint"] or kept)


def _full(folder: Path) -> PastError | None:
    """What workers died of who found no room even for a word of it: their logs are empty then, and so is the launcher's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        if is_full(error):
            return full(error, [folder])
    return None


def _killed(folder: Path) -> tuple[int, str] | None:
    """The worker that a signal killed, and the signal's name; not one that the launcher stopped."""
    log = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    ends = re.findall(r"rank *: *(\d+).*\n *exitcode *: *-(\d+)", log)
    ends_by_signal = [(int(rank), signal.Signals(int(end)).name) for rank, end in ends if int(end) != signal.SIGTERM]
    return ends_by_signal[0] if ends_by_signal else None


def _told(folder: Path) -> list[dict[str, Any]]:
    """What the workers told: errors of their own before lost connections, the oldest first."""
    files = sorted(folder.glob("error*.json"), key=lambda file: file.stat().st_mtime_ns)
    return sorted((json.loads(file.read_text(encoding="utf-8")) for file in files), key=lambda said: said["lost"])
