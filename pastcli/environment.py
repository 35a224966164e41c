"""What a run notes about where it was made: versions, machine, command line."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PACKAGES = ("torch", "transformers", "trl", "peft", "llama-cpp-python", "gguf", "numpy", "safetensors")


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS does not bind processes to cores


def has_card() -> bool:
    """Whether an NVIDIA card is there that a training would use, told without importing torch."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))


def keep_freed_memory(blocks: int, heap: int) -> None:
    """Tell glibc to keep freed blocks of up to `blocks` bytes, and as many as `heap` bytes of them, instead of giving each back to
    the kernel, which maps and zeroes it again for the next one; elsewhere nothing happens. At most 2^31 - 1, ints of C.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, blocks)
        mallopt(m_trim_threshold, heap)


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results; reads the heads of their metadata, imports none of them."""
    found = {"past": __version__}
    for package, file in _metadata(PACKAGES).items():
        with open(file, encoding="utf-8", errors="replace") as handle:
            found[package] = _field(handle.read(4096), "Version")
    return found


def _metadata(packages: Sequence[str]) -> dict[str, Path]:
    """Where the metadata of these packages lie, of those installed: in the first folder of `sys.path` that has them, as imports go.

    `importlib.metadata` gives the same, but importing it takes 5 to 30 ms of each command.
    """
    wanted = {re.sub(r"[-_.]+", "_", package).lower(): package for package in packages}
    found: dict[str, Path] = {}
    for folder in map(Path, sys.path):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder)):
                base, kind = os.path.splitext(name)
                package = wanted.get(re.sub(r"[-_.]+", "_", base.partition("-")[0]).lower())
                file = folder / name / {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}.get(kind, "")
                if package and package not in found and file.is_file():
                    found[package] = file
    return {package: found[package] for package in packages if package in found}


def metadata_field(package: Distribution, field: str) -> str:
    """One header (`Name`, `Version`) of a package's metadata, '?' if it has none. `importlib.metadata` parses the whole
    file as an email for that, readme and all: a sixth of the start-up time of a command.
    """
    return _field(package.read_text("METADATA") or package.read_text("PKG-INFO") or "", field)


def _field(text: str, field: str) -> str:
    found = re.search(rf"^{field}: *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "?"


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}


def same_command() -> str:
    """The command line of this process with --resume, fit to be pasted into a shell."""
    words = ["past", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])
