"""One of several processes of a training: `accelerate launch --module past_hf.training.worker JOB`."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
import threading
import time
import traceback
from pathlib import Path

from pastcli.errors import PastError
from pastcli.runs import write_json


def main(file: Path) -> None:
    """Run the pickled job; leave result.json (rank 0) or errorRANK.json beside it."""
    folder, rank = file.parent, int(os.environ.get("RANK", "0"))
    with open(folder / f"rank{rank}.log", "ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        stage, job, parent = pickle.loads(file.read_bytes())
        threading.Thread(target=_leave_with, args=(parent, os.getppid()), daemon=True).start()
        _work(stage, job, folder, rank)
    except BaseException as error:
        traceback.print_exc()
        known = isinstance(error, PastError)
        said = {
            "rank": rank,
            "type": type(error).__name__ if known else "PastError",
            "message": error.message if known else f"{type(error).__name__}: {error}"[:500],
            "hint": error.hint if known else None,
        }
        write_json(folder / f"error{rank}.json", said)
        sys.stderr.flush()
        os._exit(1)  # an orderly exit would wait for the others at the process group


def _work(stage: str, job, folder: Path, rank: int) -> None:
    from ..quiet import quiet

    quiet()
    import torch

    from .run import run

    if rank == 0:
        progress = open(folder / "progress.jsonl", "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open till the end

        def tell(done: int, total: int, metrics) -> None:
            progress.write(json.dumps([done, total, dict(metrics)]) + "\n")

        job = dataclasses.replace(job, progress=tell)
    result = run(stage, job, int(os.environ.get("WORLD_SIZE", "1")))
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
    main(Path(sys.argv[1]))
