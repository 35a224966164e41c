"""What a run notes about where it was made: versions, machine, command line."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import sys
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


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results; reads metadata, imports none of them."""
    from importlib.metadata import PackageNotFoundError, distribution

    found = {"past": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = metadata_field(distribution(package), "Version")
    return found


def metadata_field(package: Distribution, field: str) -> str:
    """One header (`Name`, `Version`) of a package's metadata, '?' if it has none. `importlib.metadata` parses the whole
    file as an email for that, readme and all: a sixth of the start-up time of a command.
    """
    text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    found = re.search(rf"^{field}: *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else "?"


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}


def same_command() -> str:
    """The command line of this process with --resume, fit to be pasted into a shell."""
    words = ["past", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])
