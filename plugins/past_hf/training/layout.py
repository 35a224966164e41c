"""How many processes a training has and on which machines, and the command by which accelerate starts this machine's."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pastcli.environment import cores
from pastcli.errors import UsageError

from . import launch_file

MODULE = "past_hf.training.worker"


@dataclass(frozen=True)
class Layout:
    """`processes` are those of all machines together; `rank` is this machine's number, and machine 0 makes the run."""

    processes: int = 1
    machines: int = 1
    rank: int = 0
    address: str = ""
    port: int = 0
    file: str = ""
    deepspeed: bool = False

    @property
    def here(self) -> int:
        """Processes on this machine."""
        return self.processes // self.machines


def layout_of(config: Any) -> Layout:
    """As set, as an accelerate file says, or one process for each card that is visible.

    `--machine-rank` goes before the file's, so that one file serves all machines. Raises `UsageError` for machines that
    could not find each other, or would not hold equally many processes, and for a file that says otherwise than the settings.
    """
    file = launch_file.read(Path(config.launch), config) if config.launch else launch_file.File()
    machines = file.num_machines or config.machines or 1
    found = Layout(
        processes=file.num_processes or config.processes or machines * _cards(),
        machines=machines,
        rank=config.machine_rank or file.machine_rank,
        address=file.main_process_ip or config.main_process_ip or "",
        port=file.main_process_port or config.main_process_port or 0,
        file=config.launch,
        deepspeed=file.kind == "DEEPSPEED",
    )
    _check(found)
    return found


def _cards() -> int:
    import torch

    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else 1


def _check(layout: Layout) -> None:
    if layout.rank >= layout.machines:
        raise UsageError(
            f"--machine-rank {layout.rank} of {layout.machines} machine{'s' if layout.machines > 1 else ''}",
            "machines are counted from 0: --machines N, and on each its --machine-rank, 0 to N-1",
        )
    if layout.machines == 1:
        return
    if not layout.address or not layout.port:
        raise UsageError(
            f"{layout.machines} machines need the address of the first: --main-process-ip and --main-process-port",
            "an address of machine 0 that all others reach, and a port that is free there",
        )
    if layout.processes % layout.machines:
        raise UsageError(
            f"{layout.processes} processes cannot be shared by {layout.machines} machines",
            "--processes counts those of all machines together",
        )


def command(folder: Path, layout: Layout) -> list[str]:
    """`accelerate launch` of this machine's workers, with a file of its own: a default file in the user's home must not
    decide silently. The workers get `folder`, and the process that they are not to outlive: this one.
    """
    file = Path(layout.file) if layout.file else folder / "accelerate.yaml"
    if not layout.file:
        settings = {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "MULTI_GPU",  # the launcher of torch; ACCELERATE_USE_CPU makes it gloo on processors
            "num_machines": layout.machines,
            "num_processes": layout.processes,
            "mixed_precision": "no",
            "use_cpu": False,
        }
        file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    words = ["--config_file", str(file), "--main_process_port", str(layout.port)]
    words += ["--num_processes", str(layout.processes), "--num_machines", str(layout.machines)]
    if layout.machines > 1:
        words += ["--machine_rank", str(layout.rank), "--main_process_ip", layout.address, "--same_network"]
    threads = max(1, cores() // layout.here)
    words += ["--num_cpu_threads_per_process", str(threads), "--module"]
    return [sys.executable, "-m", "accelerate.commands.launch", *words, MODULE, str(folder), str(os.getpid())]


def environment(layout: Layout) -> dict[str, str]:
    """What the launcher is started with. Raises `UsageError` for DeepSpeed without a card: accelerate leaves it out on processors, without
    a word, and the training would be one by DDP, a whole optimiser in each process."""
    import torch

    made = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if not torch.cuda.is_available():
        if layout.deepspeed:
            raise UsageError(
                f"{layout.file} asks for DeepSpeed, which accelerate starts on cards only, and there is none here",
                "--processes N trains by DDP, and with --sharding full by FSDP2; both work on processors",
            )
        made["ACCELERATE_USE_CPU"] = "true"
    return made
