"""The scale lambda as a choice with a price: score on a development set against the KL to the unchanged target.

METHOD 1 takes lambda = 1 and calls it worth a sweep. Every point is written down when it is measured, so a sweep
that was killed goes on where it stopped. Without answers lambda is chosen by two measures that need none, the
consistency of sampled answers and the perplexity of the questions (METHOD 6; 2605.00610).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..drawing import blank
from ..errors import UsageError

ALL = "all"


@dataclass(frozen=True, eq=False)
class Point:
    """One model tried: scores by metric (in [0, 1], and `perplexity`), `kl` in nats per token (None if not measured)."""

    group: str
    scale: float
    scores: dict[str, float]
    survival: float
    kl: float | None

    @property
    def label(self) -> str:
        return f"{self.group}:{self.scale:g}"


@dataclass(frozen=True)
class Measure:
    """What the caller provides: `make(rules, scale, folder)` injects and gives the survival, `ask(folder, label)`
    scores the model there, `price(folder)` gives its KL to the target, or None."""

    make: Callable[[list[str], float, Path], float]
    ask: Callable[[Path, str], dict[str, float]]
    price: Callable[[Path], float | None]


def parse_grid(texts: Sequence[str]) -> list[float]:
    """The scales, sorted, 0 left out (that is the target itself). Raises `UsageError` for what is no number."""
    try:
        values = {float(part) for text in texts for part in str(text).split(",")}
    except ValueError:
        raise UsageError(
            f"--grid {' '.join(map(str, texts))!r} is not a list of numbers", "for example --grid 0.5,1,1.5"
        ) from None
    if not all(map(math.isfinite, values)):
        raise UsageError("--grid holds a number that is not finite")
    return sorted(values - {0.0})


def sweep(
    target: Path,
    grid: Sequence[float],
    groups: Sequence[str],
    measure: Measure,
    folder: Path,
    progress: Callable[[int, int], None],
) -> list[Point]:
    """Measure the target, then every group at every scale; points already in `folder` are not measured again."""
    wanted = [(ALL, 0.0), *((group, scale) for group in (groups or [ALL]) for scale in grid)]
    points = []
    for number, (group, scale) in enumerate(wanted):
        progress(number, len(wanted))
        file = folder / f"point-{number:03d}.json"
        if file.exists():
            points.append(Point(**json.loads(file.read_text(encoding="utf-8"))))
            continue
        points.append(_measured(group, scale, target, measure, folder / "candidate"))
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(points[-1])), encoding="utf-8")
        temporary.replace(file)
    progress(len(wanted), len(wanted))
    return points


def _measured(group: str, scale: float, target: Path, measure: Measure, candidate: Path) -> Point:
    """One point; the model made for it is removed again."""
    import shutil

    label = f"{group}:{scale:g}"
    if scale == 0.0:
        return Point(group, scale, measure.ask(target, label), 1.0, 0.0 if measure.price(target) is not None else None)
    shutil.rmtree(candidate, ignore_errors=True)
    rules = [] if group == ALL else ["*=0", f"{group}=1"]
    survival = measure.make(rules, scale, candidate)
    try:
        return Point(group, scale, measure.ask(candidate, label), survival, measure.price(candidate))
    finally:
        shutil.rmtree(candidate, ignore_errors=True)


def best(points: Iterable[Point], metric: str) -> Point:
    """The highest score; among equals the smallest KL, then the smallest scale."""
    return max(points, key=lambda point: (point.scores[metric], -(point.kl or 0.0), -abs(point.scale)))


def front(points: Iterable[Point]) -> list[Point]:
    """Those that no other point beats: as consistent and as little perplexed, and better in one of the two (Pareto)."""
    points = list(points)
    goals = {point: (point.scores["consistency"], -point.scores["perplexity"]) for point in points}

    def beaten(one: Point) -> bool:
        return any(
            all(a >= b for a, b in zip(goals[other], goals[one])) and goals[other] != goals[one] for other in points
        )

    return [point for point in points if not beaten(point)]


def unlabelled_choice(points: Iterable[Point]) -> Point:
    """The point of the front nearest to the best of both, each measure (perplexity by its logarithm) taken from 0 to 1 over
    the front (compromise programming, Yu 1973); among equals the smallest scale."""
    found = front(points)
    consistency = [point.scores["consistency"] for point in found]
    loss = [math.log(point.scores["perplexity"]) for point in found]

    def spread(values: list[float]) -> float:
        return max(max(values) - min(values), 1e-12)

    def away(index: int) -> float:
        short = (max(consistency) - consistency[index]) / spread(consistency)
        return math.hypot(short, (loss[index] - min(loss)) / spread(loss))

    return found[min(range(len(found)), key=lambda index: (round(away(index), 9), abs(found[index].scale)))]


def plot_front(points: Sequence[Point], chosen: Point, path: Path) -> None:
    """Consistency against perplexity, each point with its lambda; the front is a line, the choice a ring."""
    figure = blank(5.2, 3.8)
    axes: Any = figure.subplots()

    def place(point: Point) -> tuple[float, float]:
        return point.scores["perplexity"], point.scores["consistency"]

    for group in dict.fromkeys(point.group for point in points):
        axes.plot(*zip(*(place(p) for p in points if p.group == group)), "o", markersize=5, label=group)
    axes.plot(*zip(*sorted(map(place, front(points)))), "-", color="grey", linewidth=1, zorder=0, label="Pareto front")
    axes.plot(*place(chosen), "o", markersize=12, markerfacecolor="none", color="black", label="chosen")
    for point in points:
        axes.annotate(f"{point.scale:g}", place(point), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="perplexity of the questions", ylabel="consistency of sampled answers")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=200)


def plot(points: Sequence[Point], metric: str, path: Path) -> None:
    """Score over lambda for each group, and the KL beside it when it was measured."""
    priced = any(point.kl for point in points)
    figure = blank(9 if priced else 5, 3.6)
    axes: Any = figure.subplots(1, 2 if priced else 1, squeeze=False)[0]
    zero = points[0]
    for group in dict.fromkeys(point.group for point in points[1:]):
        line = sorted([zero, *(p for p in points[1:] if p.group == group)], key=lambda p: p.scale)
        axes[0].plot([p.scale for p in line], [p.scores[metric] for p in line], marker="o", label=group)
        if priced:
            axes[1].plot([p.scale for p in line], [p.kl for p in line], marker="o", label=group)
    axes[0].set(xlabel="λ", ylabel=metric, title="score on the development questions")
    if priced:
        axes[1].set(xlabel="λ", ylabel="nats per token", title="KL to the target without the skill")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
