"""Progress over the weights of a model, in millions: models have too many of them to count one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import output


@contextmanager
def weights_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """`update(done, total)` in weights."""
    with output.progress(label, "M weights") as update:
        yield lambda done, total: update(done // 10**6, max(total // 10**6, 1))
