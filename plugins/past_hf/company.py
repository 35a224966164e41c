"""Who else is at work on this machine while something is measured, and how much that stretches: a time becomes a range."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from pastcli.environment import bound_to, cores, processors

ERROR = 1.3
"""Factor by which a training was slower or faster than its plan on an idle machine (tests/training/test_train_plan.py holds 2)."""


@dataclass
class Company:
    """Within the block: the processor time of this process and of all others, and how calls of the same work differ.

    `stretch` is how much longer the repeated calls took in all than if each had been as fast as its fastest.
    """

    best: float = 0.0
    taken: float = 0.0
    own: float = 0.0
    others: float = 0.0
    """Of the cores that this process may use, 0 to 1."""
    threads: int = 1
    """Cores that this process computes on where they are free."""
    _began: list[float] = field(default_factory=list)

    def __enter__(self) -> Company:
        self._began = [time.perf_counter(), time.process_time(), _busy()]
        return self

    def __exit__(self, *_: object) -> None:
        ended = [time.perf_counter(), time.process_time(), _busy()]
        wall, own, busy = (end - start for end, start in zip(ended, self._began, strict=True))
        wall = max(wall, 1e-9)
        # Of the machine's processors, those that a container's share of time leaves to others.
        spare = bound_to() - cores()
        self.own = min(1.0, own / wall / cores())
        self.others = min(1.0, max(0.0, (busy - own) / wall - spare) / cores())

    def repeated(self, seconds: list[float]) -> None:
        self.best += min(seconds) * len(seconds)
        self.taken += sum(seconds)

    @property
    def stretch(self) -> float:
        return self.taken / self.best if self.best else 1.0

    def between(self, seconds: float) -> tuple[float, float]:
        """(least, most) that work takes which the probe puts at `seconds`: alone on the machine if the others go; if they stay, as
        slow as all calls were beside the fastest, and waiting for a processor as this process did."""
        could = min(self.threads / cores(), self.own + self.others)
        alone = max(1 / self.threads, min(1.0, self.own / could)) if self.own else 1.0
        waited = max(1.0, 1 / (self.own * cores())) if self.own else 1.0
        return seconds * alone / ERROR, seconds * self.stretch * waited * ERROR


def _busy() -> float:
    """Seconds that the processors which this process may use spent at work since the machine began."""
    mine = processors()
    return sum(_at_work(times) for number, times in enumerate(psutil.cpu_times(percpu=True)) if number in mine)


def _at_work(times: Any) -> float:
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
