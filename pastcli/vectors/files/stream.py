"""Blocks through threads: constant memory for any model, results in a fixed order.

A tensor is cut into spans, the unit handed to a thread, and a span into blocks that fit the second-level
cache. Cuts depend on shapes alone, so sums come out the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...api import TensorSpec
from ...environment import cores, keep_freed_memory

Result = TypeVar("Result")

BLOCK = 1 << 17
"""Elements a block has at most, unless one row is longer: 512 KiB of float32."""

SPAN = 1 << 21
"""Elements a span has at most: long enough that handing it over costs nothing, short enough to balance threads."""

REGIONS = 4
"""Stretches of a model that are worked on at once. The same on every machine, so that sums are taken in one order."""

MOST_HELD = 1 << 31
"""Elements that threads keep in memory together, where each holds whole tensors: 8 GiB of float32."""


@dataclass(frozen=True)
class Span:
    """Elements [start, stop) of one tensor."""

    spec: TensorSpec
    start: int
    stop: int

    def blocks(self, limit: int = BLOCK) -> Iterator[tuple[int, int]]:
        """(start, stop) of each block of at most `limit` elements: whole rows, or pieces of longer ones."""
        return cut(self.start, self.stop, self.spec.columns, limit)


def cut(start: int, stop: int, columns: int, limit: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in pieces of at most `limit` elements, at row boundaries if a row fits."""
    if columns <= limit:
        step = limit // max(columns, 1) * max(columns, 1)
        for begin in range(start, stop, step):
            yield begin, min(begin + step, stop)
        return
    while start < stop:
        end = min(start + limit, (start // columns + 1) * columns, stop)
        yield start, end
        start = end


def spans(specs: Iterable[TensorSpec]) -> list[Span]:
    """Every span of the given tensors, in order."""
    return [Span(spec, start, stop) for spec in specs for start, stop in cut(0, spec.numel, spec.columns, SPAN)]


def interleaved(tasks: Sequence[Span]) -> list[Span]:
    """The same tasks, drawn in turn from REGIONS stretches of the model: neighbours then belong to different files where
    the model has several, and threads that write to one do not wait for each other's turn."""
    length = -(-len(tasks) // REGIONS)
    return [tasks[place] for first in range(length) for place in range(first, len(tasks), length)]


def threads() -> int:
    """Threads for streaming: as many as there are cores for this process."""
    return cores()


def run(
    tasks: Sequence[Span],
    work: Callable[[Span], Result],
    progress: Callable[[int, int], None] | None = None,
    held: int = 0,
) -> Iterator[tuple[Span, Result]]:
    """`work(span)` on several threads; yields results in the order of `tasks`. The first error stops all.

    `held` is the number of elements that work on one span keeps in memory: fewer threads run where all of them would
    keep more than MOST_HELD.
    """
    total, done = sum(task.stop - task.start for task in tasks), 0
    count = min(threads(), max(1, MOST_HELD // max(held, 1)))
    keep_freed_memory(64 << 20, 256 << 20)  # without it, mapping took four fifths of the time of an injection
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[tuple[Span, Future[Result]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, pool.submit(_quietly, work, task)))
                if len(waiting) >= 4 * count:
                    first, future = waiting.popleft()
                    yield first, future.result()
                    done = _tell(progress, done, first, total)
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
                done = _tell(progress, done, first, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _quietly(work: Callable[[Span], Result], task: Span) -> Result:
    """NaN, infinity and overflow are looked for in the sums; numpy need not warn of them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return work(task)


def _tell(progress: Callable[[int, int], None] | None, done: int, task: Span, total: int) -> int:
    done += task.stop - task.start
    if progress is not None:
        progress(done, total)
    return done
