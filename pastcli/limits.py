"""What a container may take of its machine: the limits of this process's control groups (Linux, both versions).

Docker, Kubernetes and Slurm say so to the kernel alone. All processors and all memory of the machine can still be seen, so that a
program which counts those starts sixty threads on the time of two processors, or plans with memory for which it is killed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

HERE = Path("/")


def processors(root: Path = HERE) -> float:
    """How many processors' time this process may take; infinity without a limit."""
    two = (_quota(*_words(folder / "cpu.max")) for folder in _folders(root, ""))
    one = (
        _quota(*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us"))
        for folder in _folders(root, "cpu")
    )
    return min((*two, *one), default=math.inf)


def memory(root: Path = HERE) -> tuple[float, float]:
    """(bytes this process's groups may hold, bytes they may still take); infinity without a limit. What they hold of files can
    be dropped, and counts as free."""
    two = [_room(folder, "memory.max", "memory.current", "") for folder in _folders(root, "")]
    one = [
        _room(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_") for folder in _folders(root, "memory")
    ]
    return tuple(min(values) for values in zip((math.inf, math.inf), *two, *one, strict=True))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the group that this process is in and of all above it; '' is version 2.

    A container that sees its own part of the tree alone is told a path that is not there: then its root is the group.
    """
    mounted = root / "sys/fs/cgroup" / controller
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            inside = mounted / path.strip("/")
            yield from (
                place for place in (inside, *inside.parents) if place.is_relative_to(mounted) and place.is_dir()
            )


def _quota(quota: str = "", period: str = "") -> float:
    """Processors by a quota of so many microseconds in each period; `max` and -1 are no limit."""
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else math.inf


def _room(folder: Path, limit: str, held: str, prefix: str) -> tuple[float, float]:
    most, now = _words(folder / limit), _words(folder / held)
    if not (most and most[0].isdecimal() and now and now[0].isdecimal()):
        return math.inf, math.inf
    stat = dict(pair for line in _text(folder / "memory.stat").splitlines() if len(pair := line.split()) == 2)
    files = sum(int(stat.get(f"{prefix}{name}", "0")) for name in ("active_file", "inactive_file"))
    return float(most[0]), max(0.0, float(int(most[0]) - int(now[0]) + files))


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="ascii")
    return ""
