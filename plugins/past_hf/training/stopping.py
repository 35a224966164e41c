"""Ctrl-C in a training: the step in hand is finished and kept in a checkpoint, in one process or in several.

A launcher is told of it and its workers are not: it leaves a note where rank 0 looks after every step, which decides for all.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from pastcli import output

WORKERS = "workers"
"""Folder of a training's state where launcher and workers leave word for each other."""
_BEGUN, _STOP = "begun", "stop"


def finishing(ask: Callable[[], object], worth: Callable[[], bool]) -> contextlib.AbstractContextManager[None]:
    """Within the block the first Ctrl-C calls `ask` and goes on, if it is `worth` that: there are steps, and no checkpoint that
    they could be made again from. Otherwise, and the second time, it is an ordinary one. Outside the main thread, and where
    somebody else handles Ctrl-C, nothing is changed."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        return contextlib.nullcontext()
    return _handled(ask, worth)


@contextlib.contextmanager
def _handled(ask: Callable[[], object], worth: Callable[[], bool]) -> Iterator[None]:
    asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not worth():
            signal.default_int_handler(number, frame)
        asked = True
        ask()
        output.note("stopping after this step, which is kept in a checkpoint; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Notes:
    """What launcher and workers of one training tell each other about its end."""

    def __init__(self, state: Path):
        self.folder = state / WORKERS

    def begin(self) -> None:
        """Of rank 0: steps are being made from now on."""
        if self.folder.is_dir():
            (self.folder / _BEGUN).touch()

    def has_begun(self) -> bool:
        return (self.folder / _BEGUN).exists()

    def stop(self) -> None:
        """Of the launcher: end after the step in hand."""
        (self.folder / _STOP).touch()

    def is_stopping(self) -> bool:
        return (self.folder / _STOP).exists()

    def forget(self) -> None:
        for name in (_BEGUN, _STOP):
            (self.folder / name).unlink(missing_ok=True)
