"""Large files brought to the disk while they are being written, so that the sync before publishing has little left to wait for.

It promises nothing: what is durable is what was synced, as before. Where the system has no such call (macOS) nothing happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

EVERY = 0.1
"""Seconds between two calls: seldom enough that pages are written whole, and once."""

_SYNC_FILE_RANGE_WRITE = 2  # begin to write what is dirty, and wait for nothing

_files: set[int] = set()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def start(fd: int) -> None:
    """From now on what is written to the open file `fd` goes to the disk beside the work, by a thread of its own."""
    global _thread
    if _sync_file_range() is None:
        return
    with _lock:
        _files.add(fd)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_work, name="write-back", daemon=True)
            _thread.start()


def stop(fd: int) -> None:
    """Send the rest on its way; to be called before `fd` is closed."""
    with _lock:
        if fd in _files:
            _files.remove(fd)
            _send(fd)


def _work() -> None:
    global _thread
    while True:
        time.sleep(EVERY)
        for fd in tuple(_files):
            with _lock:  # a file is not closed in the middle of a call
                if fd in _files:
                    _send(fd)
        with _lock:
            if not _files:
                _thread = None
                return


def _send(fd: int) -> None:
    """Errors are left to the sync: a file system without such a call says so here, a full disk there."""
    call = _sync_file_range()
    if call is not None:
        call(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes, call.restype = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint], ctypes.c_int
    return call
