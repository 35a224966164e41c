"""What a line of progress says, in whatever width there is."""

from __future__ import annotations

import time
from collections.abc import Callable


def line_of(
    label: str,
    unit: str,
    done: int,
    total: int,
    elapsed: float,
    rate: float,
    left: float | None,
    more: str,
    width: int,
    bar: bool = False,
) -> str:
    """One line of progress, never wider than `width` characters: how far, how long already and how long still come before
    the name of the work, a bar, the rate and what else is measured, which appear as far as there is room.

    `elapsed` and `left` are in seconds (None: not known yet), `rate` in units a second.
    """
    spent, still = _hours(elapsed), _hours(left) if left is not None else "?"
    far = f"{done}/{total}" if total else str(done)
    core = f"{far} {spent} left {still}"
    line = core if len(core) <= width else f"{far} {spent}"
    if (room := width - len(line) - 2) >= 4:
        line = f"{label if len(label) <= room else label[: room - 1] + '…'}: {line}"
    if bar and total and width - len(line) >= 60:
        filled = round(20 * min(done, total) / total)
        line = line.replace(far, f"{'━' * filled}{'─' * (20 - filled)} {far}", 1)
    for extra in (f"{rate:.2f} {unit}/s" if rate else "", more):
        if extra and len(line) + 2 + len(extra) <= width:
            line = f"{line}  {extra}"
    return line[:width]


def _hours(seconds: float) -> str:
    """H:MM:SS"""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def clock() -> Callable[[int, int], tuple[float, float, float | None]]:
    """(done, total) -> seconds since now, units a second, seconds left: all of this process, also where it goes on with
    what another had done."""
    began, rate_of = time.monotonic(), _rate()

    def read(done: int, total: int) -> tuple[float, float, float | None]:
        now = time.monotonic()
        rate = rate_of(done, now)
        left = max(0, total - done) / rate if rate > 0 and total else None
        return now - began, rate, left

    return read


def _rate() -> Callable[[int, float], float]:
    """(done, now) -> items a second since the first call: a resumed run does not begin at zero."""
    first: tuple[int, float] | None = None

    def rate(done: int, now: float) -> float:
        nonlocal first
        first = first or (done, now)
        return (done - first[0]) / (now - first[1]) if now > first[1] else 0.0

    return rate
