"""A file where it lies in the page cache: nothing copied, and nothing kept resident once it is passed."""

from __future__ import annotations

import mmap
import threading

import numpy as np

AROUND = 1 << 21
"""Bytes before and after a view that are let go of with it: the kernel maps neighbouring pages along, by windows of 64 KiB or
whole folios, and what is left of them at each view's edge would add up with the size of the file."""

WINDOW = 1 << 22
"""Bytes that a thread may look at, piece by piece, before any are let go of."""


class Mapped:
    """Read-only views of an open file; safe for several threads. The descriptor stays the caller's.

    Mapped pages count as resident memory until they are let go of: a thread's views do that to its last ones when they
    leave the WINDOW that these began (they may still be used, and are then mapped again). A file that somebody cuts short meanwhile ends the process
    with SIGBUS, so this is for work that a kill at any moment leaves nothing of.
    """

    def __init__(self, fd: int):
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._lock, self._mine = threading.Lock(), threading.local()

    def view(self, offset: int, nbytes: int) -> np.ndarray:
        """Bytes [offset, offset + nbytes), as a 1-D uint8 array."""
        with self._lock:
            if self._map is None:
                self._map = mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)
        begin, end = getattr(self._mine, "window", (0, 0))
        if not begin <= offset <= offset + nbytes <= end:
            if end and hasattr(mmap, "MADV_DONTNEED"):
                first = max(0, begin - AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
                self._map.madvise(mmap.MADV_DONTNEED, first, min(end + AROUND, len(self._map)) - first)
            self._mine.window = (offset, offset + max(nbytes, WINDOW))
        return np.frombuffer(self._map, np.uint8, nbytes, offset)

    def close(self) -> None:
        """The file is unmapped when the last view is gone."""
        self._map = None
