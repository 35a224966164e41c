"""What a run notes about where it was made: versions, machine, command line."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
from typing import Any

from . import __version__

PACKAGES = ("torch", "transformers", "trl", "peft", "llama-cpp-python", "gguf", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide results; reads metadata, imports none of them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"past": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}


def same_command() -> str:
    """The command line of this process with --resume, fit to be pasted into a shell."""
    words = ["past", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])
