"""For `past doctor`: what this distribution requires, and its extras, against what is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from .. import tested
from . import _imports

COMPILER = "apt install build-essential cmake"

EXTRAS = {
    "serve": "past serve",
    "mcp": "tools of MCP servers, past serve --mcp",
    "readers": "documents in rst, tex and parquet",
    "track": "past sft|rl --report-to tensorboard",
}
"""What each extra is for; a plain install goes without."""


@dataclass(frozen=True)
class Finding:
    """`state` is ok, info, warn or fail (something essential is broken); `fix` the command that mends it."""

    check: str
    state: str
    detail: str
    fix: str = ""


def packages() -> Iterator[Finding]:
    """Each requirement of this distribution against what is installed."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("packaging", "fail", "not installed", "pip install packaging")
        return
    try:
        lines = requires("pastcli") or []
    except PackageNotFoundError:
        yield Finding("pastcli", "fail", "runs from a folder, but is not installed", "pip install -e .")
        return
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        fix = f"pip install '{wanted.name}{wanted.specifier}'"
        if wanted.name == "llama-cpp-python" and not (shutil.which("cmake") and shutil.which("cc")):
            fix = f"{COMPILER} && {fix}"
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            yield Finding(wanted.name, "fail", f"not installed, needs {wanted.specifier}", fix)
            continue
        fits = wanted.specifier.contains(have, prereleases=True)
        known = tested.said(wanted.name, have) if tested.newer([wanted.name]) else have
        detail = known if fits else f"{have}, needs {wanted.specifier}"
        yield Finding(wanted.name, "ok" if fits else "fail", detail, "" if fits else fix)


def extras() -> Iterator[Finding]:
    """Each extra: whether all it brings is installed, and else how to get it. None is essential."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("pastcli") or []]
    except PackageNotFoundError:
        return
    for extra, use in EXTRAS.items():
        missing = []
        for one in wanted:
            if one.marker is None or one.marker.evaluate() or not one.marker.evaluate({"extra": extra}):
                continue
            try:
                if not one.specifier.contains(version(one.name), prereleases=True):
                    missing.append(f"{one.name}{one.specifier}")
            except PackageNotFoundError:
                missing.append(one.name)
        state, detail = ("info", f"{use}: needs {', '.join(missing)}") if missing else ("ok", use)
        yield Finding(f"extra {extra}", state, detail, f"pip install 'pastcli[{extra}]'" if missing else "")


def broken_imports() -> Iterator[Finding]:
    """Installed is not importable: half an upgrade, a library of the system that is missing, a build for another machine."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("pastcli") or []]
    needed = [one.name for one in wanted if one.marker is None or one.marker.evaluate()]
    modules = {module: name for name, module in _imports.modules_of(needed).items()}
    for module, problem in _imports.failures(modules):
        fix = f"pip install --force-reinstall {modules[module]}"
        yield Finding(f"import {module}", "fail", problem.splitlines()[0][:200], fix)
