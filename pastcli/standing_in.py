"""The base that the user names with `--base` for adapters whose own is not at hand, and what is taken on trust by it.

A command names it once; whatever opens an adapter in that command, a plugin too, finds it through `adapters.find_base`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import output

VARIABLE = "PASTCLI_ADAPTER_BASE"
"""How the workers of a training in several processes are told."""

_named: list[tuple[Path, list[str]]] = []
_inherited: list[str] = []
"""What was taken on trust where the base was named by the process that started this one."""


@contextmanager
def standing_in(base: Path | None) -> Iterator[None]:
    """While it lasts, `base` is taken for the base of every adapter that names one which is not here; None changes nothing.
    Within another one this one counts, and the other again afterwards."""
    if base is None:
        yield
        return
    before = os.environ.get(VARIABLE)
    _named.append((base, []))
    os.environ[VARIABLE] = str(base.resolve())
    try:
        yield
    finally:
        _named.pop()
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def named() -> Path | None:
    """The base that the user named for this command."""
    inherited = os.environ.get(VARIABLE)
    return _named[-1][0] if _named else Path(inherited) if inherited else None


def trust(sentence: str) -> None:
    """Say, once, and remember for the run's record what nothing but the user's word shows."""
    said = _said()
    if sentence not in said:
        said.append(sentence)
        output.warn(sentence)


def trusted() -> list[str]:
    """What was taken on trust so far."""
    return list(_said())


def _said() -> list[str]:
    if _named:
        return _named[-1][1]
    return _inherited if VARIABLE in os.environ else []
