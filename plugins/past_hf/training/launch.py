"""Several processes for one training, started by accelerate; the first that fails ends all, with its own error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pastcli import api, errors, output
from pastcli.errors import PastError, UsageError

MODULE = "past_hf.training.worker"
_PATIENCE = 15.0
"""Seconds the workers have to end after they were told to."""


def processes_of(config: Any) -> int:
    """How many processes: as set, as an accelerate file says, or one for each card that is visible."""
    if config.launch:
        return int(_launch_file(Path(config.launch)).get("num_processes") or 1)
    if config.processes:
        return config.processes
    import torch

    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else 1


def _launch_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", "make one with `accelerate config --config_file FILE`"
        ) from error
    if not isinstance(settings, dict) or "distributed_type" not in settings:
        raise UsageError(
            f"{path} is no accelerate configuration", "make one with `accelerate config --config_file FILE`"
        )
    if int(settings.get("num_machines") or 1) > 1:
        raise UsageError(
            f"{path} is for {settings['num_machines']} machines", "processes on one machine is what past starts"
        )
    return settings


def launch(stage: str, job: api.TrainJob, processes: int) -> api.TrainResult:
    """Run `job` in `processes` workers. Raises what the first worker that failed raised, or `PastError` if it was killed."""
    folder = job.state / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    try:
        (folder / "job.pickle").write_bytes(pickle.dumps((stage, dataclasses.replace(job, progress=None), os.getpid())))
    except Exception as error:  # pickle has many types for what it cannot take
        raise UsageError(f"a reward cannot be handed to other processes: {error}", "use --processes 1") from error
    command = _command(folder, job.config, processes)
    with open(folder / "launcher.log", "wb") as log:
        launcher = subprocess.Popen(
            command,
            env=_environment(processes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        with _ended(launcher):
            _follow(launcher, folder, job)
    result = folder / "result.json"
    if launcher.returncode or not result.is_file():
        raise _failure(folder, launcher.returncode)
    fields = json.loads(result.read_text(encoding="utf-8"))
    last = Path(fields["last"]) if fields["last"] else None
    return api.TrainResult(**{**fields, "path": Path(fields["path"]), "last": last})


def _command(folder: Path, config: Any, processes: int) -> list[str]:
    """`accelerate launch` with a file of its own: a default file in the user's home must not decide silently."""
    file = Path(config.launch) if config.launch else folder / "accelerate.yaml"
    if not config.launch:
        settings = {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "MULTI_GPU",  # the launcher of torch; ACCELERATE_USE_CPU makes it gloo on processors
            "num_machines": 1,
            "num_processes": processes,
            "mixed_precision": "no",
            "main_process_port": 0,
            "use_cpu": False,
        }
        file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    threads = max(1, (os.cpu_count() or 1) // processes)
    options = ["--config_file", str(file), "--num_cpu_threads_per_process", str(threads), "--module"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, MODULE, str(folder / "job.pickle")]


def _environment(processes: int) -> dict[str, str]:
    import torch

    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    return environment


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
    """Until the workers end: pass on rank 0's progress and its warnings."""
    progress, notes = _Tail(folder / "progress.jsonl"), _Tail(folder / "rank0.log")
    while True:
        ended = launcher.poll() is not None
        for line in progress.lines():
            if job.progress:
                job.progress(*json.loads(line))
        for line in notes.lines():
            if line.startswith("warning: "):
                output.warn(line.removeprefix("warning: "))
        if ended:
            return
        time.sleep(0.1)


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


def _failure(folder: Path, code: int) -> PastError:
    """The error of the worker that failed first; what the others say about a lost connection follows from it.

    The launcher calls that one the root cause which it noticed first. A worker killed by a signal leaves no time of its
    death, so one that failed for want of it may be named instead: a signal goes before any error.
    """
    log = (folder / "launcher.log").read_text(encoding="utf-8", errors="replace")
    ends = [(int(rank), int(end)) for rank, end in re.findall(r"rank *: *(\d+).*\n *exitcode *: *(-?\d+)", log)]
    killed = [(rank, end) for rank, end in ends if end < 0 and -end != signal.SIGTERM]
    cause = re.search(r"Root Cause.*?rank *: *(\d+).*?exitcode *: *(-?\d+)", log, re.DOTALL)
    rank, exitcode = killed[0] if killed else (int(cause[1]), int(cause[2])) if cause else (None, code)
    told = sorted(folder.glob("error*.json"), key=lambda file: file.stat().st_mtime_ns)
    kept = f"logs of all workers: {folder}"
    if rank is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = "out of memory? Give each process less: --batch-tokens; then --resume continues"
        return PastError(f"worker {rank} was killed by {name}; the others were stopped", f"{hint}; {kept}")
    own = [file for file in told if file.name == f"error{rank}.json"] or told
    if not own:
        tail = " ".join(log.strip().splitlines()[-1:])[:300]
        return PastError(f"the workers ended with exit code {exitcode}: {tail}", kept)
    said = json.loads(own[0].read_text(encoding="utf-8"))
    kind = getattr(errors, said["type"], PastError)
    return kind(f"worker {said['rank']}: {said['message']}", said["hint"] or kept)
