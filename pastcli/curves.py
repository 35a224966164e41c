"""A training's log as text: a curve in one line, and where the time of a step goes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .files import read_lines

_BARS = "▁▂▃▄▅▆▇█"
SHOWN = ("loss", "reward", "dev", "dead_groups", "entropy", "completion_length", "kl", "grad_norm", "lr")
"""The curves that are worth a look, as far as a training has them."""


def read_log(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a log.jsonl; one that is being written is left for the next look."""
    return read_lines(file) if file.is_file() else []


def drawn(log: Sequence[dict[str, Any]]) -> list[str]:
    """The quantities of a log that are shown as curves: `SHOWN`, then each reward and what describes episodes of calls."""
    names = [name for name in SHOWN if any(name in entry for entry in log)]
    parts = ("rewards/", "episodes/", "rollout_")
    return names + sorted({name for entry in log for name in entry if name.startswith(parts)})


def curve(values: Sequence[float], width: int = 48) -> str:
    """The values as bars between their smallest and largest, `width` characters at most; each bar is a mean."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    columns = min(width, len(finite))
    edges = [len(finite) * column // columns for column in range(columns + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[round((mean - low) / span * 7) if span else 3] for mean in means)


def times(log: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of the wall time of each part of a step, the rest as `other`; {} for a log without times."""
    wall = sum(entry.get("seconds", 0.0) for entry in log)
    if not wall:
        return {}
    parts: dict[str, float] = {}
    for entry in log:
        for name, value in entry.items():
            if name.startswith("seconds_"):
                parts[name.removeprefix("seconds_")] = parts.get(name.removeprefix("seconds_"), 0.0) + value
    shares = {name: round(spent / wall, 4) for name, spent in sorted(parts.items(), key=lambda pair: -pair[1])}
    return {**shares, "other": round(max(0.0, 1 - sum(parts.values()) / wall), 4)}
