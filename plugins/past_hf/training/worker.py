"""One of several processes of a training: `accelerate launch --module past_hf.training.worker FOLDER PARENT`."""

from __future__ import annotations

import atexit
import dataclasses
import faulthandler
import hashlib
import json
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pastcli import leaving, tested
from pastcli.api import TrainJob
from pastcli.diskspace import full, is_full
from pastcli.errors import FullDisk, PastError, UsageError
from pastcli.runs import write_json

JOB, JOINED = "job.pickle", "joined.json"
_KEY = "past/job"
_WAIT = timedelta(minutes=10)
"""For machine 0's word of the job, once its store is there."""


def main(folder: Path, parent: int) -> None:
    """Run the pickled job of `folder`, or of machine 0's; leave result.json (rank 0) or errorRANK.json beside it."""
    rank = int(os.environ.get("RANK", "0"))
    places = [folder]
    _log_to(folder, rank)
    faulthandler.enable()  # whoever dies by a signal leaves word of where in its log
    try:
        threading.Thread(target=_leave_with, args=(parent, os.getppid()), daemon=True).start()
        shared, (stage, job) = _job(folder, rank)
        if shared != folder:
            places.append(shared)
            _log_to(shared, rank)
        _work(stage, job, shared, rank)
    except BaseException as error:
        try:
            for place in places:
                tell(place, rank, error)
            traceback.print_exc()
            sys.stderr.flush()
        finally:  # where the disk is full, no word of it can be left (see `launch`)
            os._exit(1)  # an orderly exit would wait for the others at the process group
    _leave()


def _leave() -> None:
    """End with what libraries asked to be done at the end (wandb sends its last lines then), and nothing beyond.

    What torch's and gloo's threads still hold must not meet an interpreter that is being taken apart (pytorch/pytorch 179291,
    190489: an abort after all was written).
    """
    if leaving.waits():
        atexit._run_exitfuncs()
    leaving.leave(0)


def tell(folder: Path, rank: int, error: BaseException) -> None:
    """Leave the error where `launch` looks; `lost` is one that says no more than that another worker is gone."""
    if is_full(error) and not isinstance(error, FullDisk):
        error = full(error, [folder])
    kind = type(error).__name__
    if isinstance(error, PastError):
        said = {"type": kind, "message": error.message, "hint": error.hint}
    elif isinstance(error, KeyboardInterrupt):
        said = {"type": "Interrupted", "message": "stopped after a step, as asked", "hint": None}
    else:
        said = {"type": "PastError", "message": f"{kind}: {error}"[:500], "hint": tested.suspects(error) or None}
    write_json(folder / f"error{rank}.json", {"rank": rank, **said, "lost": _lost(error)})


def _lost(error: BaseException | None) -> bool:
    """Whether a lost connection is behind it: gloo has no type for that, and who met it may have wrapped it."""
    from torch.distributed import DistError

    while error is not None:
        if isinstance(error, DistError) or "gloo/transport" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _log_to(folder: Path, rank: int) -> None:
    with open(folder / f"rank{rank}.log", "ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)


def _job(folder: Path, rank: int) -> tuple[Path, Any]:
    """The job and the folder it lies in: `folder`, or on a further machine the one that rank 0 names to all.

    Only the path travels, with the hash of what lies there: a file system that is not shared, or shows an older state,
    must not train something else here than there.
    """
    file = folder / JOB
    several = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) < int(os.environ.get("WORLD_SIZE", "1"))
    if several:
        store = _store()
        if rank == 0:
            store.set(_KEY, json.dumps([str(file.absolute()), _digest(file)]))
        name, wanted = json.loads(store.get(_KEY))
        file = Path(name)
        if not file.is_file() or _digest(file) != wanted:
            raise UsageError(
                f"this machine does not see what machine 0 has at {file.parent}",
                "several machines need the workspace on a file system they share, at the same path",
            )
        if file.parent != folder:
            write_json(folder / JOINED, {"folder": str(file.parent)})
    return file.parent, pickle.loads(file.read_bytes())


def _store() -> Any:
    """The store of the launchers, by which torch's processes find each other."""
    from torch.distributed import TCPStore

    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=_WAIT)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _work(stage: str, job: TrainJob, folder: Path, rank: int) -> None:
    from ..quiet import quiet

    quiet()
    import torch

    from .layout import layout_of
    from .run import run

    if rank == 0:
        progress = open(folder / "progress.jsonl", "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open till the end

        def tell(done: int, total: int, metrics: Mapping[str, float]) -> None:
            progress.write(json.dumps([done, total, dict(metrics)]) + "\n")

        job = dataclasses.replace(job, progress=tell)
    processes, wanted = int(os.environ.get("WORLD_SIZE", "1")), layout_of(job.config).processes
    if processes != wanted:
        raise UsageError(
            f"the launcher began {processes} of {wanted} processes",
            f"{job.config.launch or 'accelerate'}: on processors, distributed_type MULTI_GPU with use_cpu true begins them by gloo",
        )
    result = run(stage, job, processes)
    if rank == 0:
        last = str(result.last) if result.last else ""
        write_json(folder / "result.json", {**dataclasses.asdict(result), "path": str(result.path), "last": last})
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _leave_with(parent: int, launcher: int) -> None:
    """End when `past` or the launcher is gone: a worker left behind would go on writing into the run."""
    while True:
        if os.getppid() != launcher or not _alive(parent):
            os._exit(1)
        time.sleep(0.5)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
