"""Pictures in HTML and inline SVG: they follow the page's width and its colours, light or dark, and need no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from .blocks import Curve, Dots, Score, Shares
from .text import attribute, line

VERDICTS = {"Solved": "solved", "Partially Solved": "partly", "Unsolved": "unsolved", "Ungraded": "ungraded"}
"""The classes of the verdicts' colours. What is none of them counts as ungraded."""

MOST_POINTS = 400
"""Points of a curve; of longer ones neighbours are averaged."""


def figure(value: float | None, sign: str = "") -> str:
    """A number as tables and labels show it."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int):
        return f"{value:{sign},d}"
    return f"{value:{sign}.3f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:{sign}.3g}"


def interval(score: Score, sign: str = "") -> str:
    if score.low is None or score.high is None:
        return figure(score.mean, sign)
    return f"{figure(score.mean, sign)} [{figure(score.low, sign)}, {figure(score.high, sign)}]"


def dots(block: Dots) -> str:
    """Means with intervals, one below the other on a common scale that includes 0."""
    low, high = _range(block.scores)
    sign = "+" if block.zero else ""

    def place(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    rows = []
    for score in block.scores:
        bars = f'<line class=axis x1="{place(0)}" x2="{place(0)}" y1="0" y2="22"/>' if low <= 0 <= high else ""
        if _finite(score.low) and _finite(score.high):
            bars += f'<line class=bar x1="{place(score.low)}" x2="{place(score.high)}" y1="11" y2="11"/>'
        bars += f'<circle cx="{place(score.mean)}" cy="11" r="5"/>' if _finite(score.mean) else ""
        said = f"{score.label}: {interval(score, sign)}"
        rows.append(
            f"<div class=dot><span class=name>{line(score.label)}</span>"
            f'<svg role=img aria-label="{attribute(said)}" height="22">{bars}</svg><span class=num>{interval(score, sign)}</span></div>'
        )
    ends = f"<span></span><span class=ends><i>{figure(low, sign)}</i><i>{figure(high, sign)}</i></span><span></span>"
    return f"<figure><figcaption>{line(block.title)}</figcaption>{''.join(rows)}<div class=dot>{ends}</div></figure>"


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _range(scores: Sequence[Score]) -> tuple[float, float]:
    found = [v for s in scores for v in (s.mean, s.low, s.high) if _finite(v)]
    low, high = min([0.0, *found]), max([0.0, *found])
    return (low, high) if high > low else (low, low + 1.0)


def shares(block: Shares) -> str:
    """How often each verdict was given, as parts of a bar."""
    rows = []
    for label, counts in block.rows:
        total, done, bars = sum(counts.values()), 0.0, ""
        for name, kind in VERDICTS.items():
            width = 100 * counts.get(name, 0) / total if total else 0.0
            bars += f'<rect class={kind} x="{done:.2f}%" y="3" width="{width:.2f}%" height="16"/>' if width else ""
            done += width
        said = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts.get(name)) or "none"
        rows.append(
            f"<div class=dot><span class=name>{line(label)}</span>"
            f'<svg role=img aria-label="{attribute(f"{label}: {said}")}" height="22">{bars}</svg><span class=num>{line(said)}</span></div>'
        )
    keys = " ".join(f"<span><b class={kind}></b>{name}</span>" for name, kind in VERDICTS.items())
    return f"<figure><figcaption>{line(block.title)}</figcaption>{''.join(rows)}<p class=keys>{keys}</p></figure>"


def curve(block: Curve) -> str:
    """One quantity over steps, scaled to its own range."""
    points = _thinned([(x, y) for x, y in block.points if math.isfinite(x) and math.isfinite(y)])
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    wide, tall = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    path = " ".join(f"{100 * (x - min(xs)) / wide:.2f},{96 - 92 * (y - min(ys)) / tall:.2f}" for x, y in points)
    said = f"{block.title} from {ys[0]:.4g} to {ys[-1]:.4g}, between {min(ys):.4g} and {max(ys):.4g}"
    return (
        f"<figure class=curve><figcaption>{line(block.title)}</figcaption>"
        f'<svg role=img aria-label="{attribute(said)}" viewBox="0 0 100 100" preserveAspectRatio="none"><polyline points="{path}"/></svg>'
        f"<p class=ends><i>step {min(xs):g}</i><i>{min(ys):.4g} … {max(ys):.4g}, last {ys[-1]:.4g}</i><i>{max(xs):g}</i></p></figure>"
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[n : n + size] for n in range(0, len(points), size)] if size > 1 else [[one] for one in points]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
