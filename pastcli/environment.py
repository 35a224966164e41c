"""What a run notes about where it was made: versions, machine, command line."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from . import __version__, limits, sources
from .installed import versions_of

PACKAGES = ("torch", "transformers", "trl", "peft", "llama-cpp-python", "gguf", "numpy", "safetensors")


def cores() -> int:
    """The processor cores that this process may use: those it is bound to, and no more than its container's share of time."""
    share = limits.processors()
    return bound_to() if share >= bound_to() else max(1, math.ceil(share))


def bound_to() -> int:
    """How many processors the kernel may run this process on, whatever time it has there."""
    return len(processors())


def processors() -> Collection[int]:
    """Their numbers."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)  # macOS does not bind processes to cores


def memory() -> tuple[float, float]:
    """(bytes there are, bytes that are free) for this process: of the machine, and no more than its container may take."""
    import psutil

    machine, (most, left) = psutil.virtual_memory(), limits.memory()
    return min(float(machine.total), most), min(float(machine.available), left)


def has_card() -> bool:
    """Whether an NVIDIA card is there that a training would use, told without importing torch."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))


SPINS = "1000"
"""Turns of the busy loop in which a thread of OpenMP waits before it sleeps; libgomp's own are 300,000."""


def let_threads_sleep() -> None:
    """Have the threads of libgomp, loaded after this, give up their processor soon when they wait for each other.

    A thread that waits in a busy loop can keep something else, and so the very thread that it waits for, from the processor
    (tests/bench/bench_waiting.py). What the user set stays.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def keep_freed_memory(blocks: int, heap: int) -> None:
    """Tell glibc to keep freed blocks of up to `blocks` bytes, and as many as `heap` bytes of them, instead of giving each back to
    the kernel, which maps and zeroes it again for the next one; elsewhere nothing happens. At most 2^31 - 1, ints of C.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, blocks)
        mallopt(m_trim_threshold, heap)


def give_back_freed_memory() -> None:
    """Tell glibc to give every freed page back to the kernel, also between blocks in use; elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Memory of this process that is in the machine's now; 0 where the kernel does not tell (other than Linux)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results, and the state of our own code; imports none of them."""
    return {"past": __version__, sources.KEY: sources.state(), **versions_of(PACKAGES)}


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}


def workspace_words(words: Sequence[str]) -> list[str]:
    """`-C DIR` as the command line `words` (program left out) begins with it; [] where it names no workspace."""
    for number, word in enumerate(words):
        if word in ("-C", "--workspace"):
            return ["-C", *words[number + 1 : number + 2]]
        if word.startswith("--workspace="):
            return ["-C", word.partition("=")[2]]
        if word.startswith("-C"):
            return ["-C", word[2:]]
        if not word.startswith("-"):
            break
    return []


def from_here(command: str) -> str:
    """A command that a closing line suggests, as it has to be typed where this process was: with its -C DIR."""
    first, _, rest = command.partition(" ")
    words = workspace_words(sys.argv[1:])
    if first != "past" or not words or workspace_words(shlex.split(rest)):
        return command
    return f"{shlex.join([first, *words])} {rest}"


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as what may hold options, and the rest from a bare `--` on: names, however they begin."""
    end = list(words).index("--") if "--" in words else len(words)
    return list(words[:end]), list(words[end:])


def resumed(words: Sequence[str]) -> list[str]:
    """The command line `words` (program left out) with --resume."""
    options, others = parted(words)
    return [*options, *([] if "--resume" in options else ["--resume"]), *others]


def undry_command() -> str:
    """The command line of this process without --dry-run and --json, to be pasted into a shell."""
    options, others = parted(sys.argv[1:])
    return shlex.join(["past", *(word for word in options if word not in ("--dry-run", "--json")), *others])


def same_command() -> str:
    """The command line of this process with --resume, fit to be pasted into a shell."""
    return shlex.join(["past", *resumed(sys.argv[1:])])
