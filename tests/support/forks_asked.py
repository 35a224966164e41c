"""How a process is asked for from the server of `forks`, and which may be. Imports little: each step of a study begins here."""

from __future__ import annotations

import json
import socket
from pathlib import Path

HARMLESS = (
    "PAST_",
    "PYTEST_",
    "COLUMNS",
    "LINES",
    "PYTHONPATH",
    "TENSORBOARD_",
    "TORCHINDUCTOR_CACHE_DIR",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "COVERAGE_",
    "DYING",
    "INTERRUPTING",
    "HOLDING",
    "STILLS",
    "LEFT_BY",
    # what accelerate and torch tell the workers of a training, who read it when they join each other
    "ACCELERATE_",
    "TORCHELASTIC_",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_",
    "WORLD_SIZE",
    "MASTER_",
    "_",
)
"""Variables that no library reads while it is imported: with any other difference a process starts from nothing."""

PROGRAMS = ("pastcli", "accelerate.commands.launch", "past_hf.training.worker", "dying")
"""Modules that the server runs as `python -m` does: a command, and what starts the workers of one and is one of them."""

SOCKET, VARIABLES, PYTHON = "socket", "variables.json", "python"
"""In the server's folder: where it listens, what it was started and loaded with, and what stands for the interpreter."""


def unlike(variables: list[dict[str, str]], environment: dict[str, str]) -> set[str]:
    """The variables by which the libraries might have been imported otherwise, or by which whoever asks wants a cold start; none if it fits.

    Some libraries set variables themselves when they are imported (torch names a cache): whoever asks may have come by these as well.
    """
    before, loaded = variables
    return {"PYTEST_COLD"} & environment.keys() | {
        name
        for name in before.keys() | environment.keys()
        if not name.startswith(HARMLESS) and environment.get(name) not in (before.get(name), loaded.get(name))
    }


def program_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The module and its words of `python [-u] -m MODULE WORDS`, if it is one that the server runs."""
    option, module, *rest = [*words[words[:1] == ["-u"] :], "", ""]
    return (module, rest[:-2]) if option == "-m" and module in PROGRAMS else None


class Asked:
    """A process that the server was asked for, `python WORDS`: `pid`, and `code()` once it has ended. To hang up kills it."""

    def __init__(self, folder: Path, words: list[str], environment, cwd, streams: list[int]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(folder / SOCKET))
        socket.send_fds(self.socket, [b"!"], streams)
        asked = {"words": words, "environment": environment, "cwd": cwd}
        self.socket.sendall(json.dumps(asked).encode() + b"\n")
        self.answers = self.socket.makefile()
        self.pid = int(self.answers.readline())

    def code(self, timeout: float | None = None) -> int:
        self.socket.settimeout(timeout)
        return int(self.answers.readline())

    def close(self) -> None:
        self.answers.close()
        self.socket.close()
