"""A training's log as text: a curve in one line, and where the time of a step goes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import read_lines

BARS = 48
"""Columns of a curve where there is room."""

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


def table(drawn: Mapping[str, Sequence[float]], width: int) -> list[str]:
    """Each curve in one line of at most `width` columns: its name, its first value, bars, its last value. What is cut
    where there is no room is bars down to eight, then names."""
    ends = {name: (f"{values[0]:.4g}", f"{values[-1]:.4g}") for name, values in drawn.items() if values}
    if not ends:
        return []
    first, last = (max(len("first"), *(len(pair[side]) for pair in ends.values())) for side in (0, 1))
    names = max(map(len, ends))
    bars = max(8, min(BARS, width - names - first - last - 6))
    names = max(4, min(names, width - bars - first - last - 6))
    lines = [f"{'':{names}}  {'first':>{first}}  {'':{bars}}  {'last':>{last}}"]
    for name, (begun, now) in ends.items():
        shown = name if len(name) <= names else f"{name[: names - 1]}…"
        lines.append(f"{shown:{names}}  {begun:>{first}}  {curve(drawn[name], bars):{bars}}  {now:>{last}}")
    return lines


def curve(values: Sequence[float], width: int = BARS) -> str:
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
