"""What several threads working on neighbouring tensors need again and again: made once, and forgotten in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from .stream import REGIONS, threads

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """`make(key)`, called once for each key while it is among the last used, of which more are kept than threads work on.
    Different keys are made at the same time by different threads; who asks for one that is being made waits for it."""

    def __init__(self, make: Callable[[str], Value]):
        self._make, self._count = make, 2 * (REGIONS + threads())
        self._cells: OrderedDict[str, tuple[Lock, list[Any]]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, key: str) -> Value:
        with self._lock:
            lock, held = self._cells.setdefault(key, (Lock(), []))
            self._cells.move_to_end(key)
            while len(self._cells) > self._count:
                self._cells.popitem(last=False)
        with lock:
            if not held:
                held.append(self._make(key))
            return held[0]
