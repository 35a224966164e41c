"""Ctrl-C or SIGTERM in a training: the step in hand is finished and kept in a checkpoint, in one process or in several.

A launcher is told of it and its workers are not: it leaves a note where rank 0 looks after every step, which decides for all.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from pastcli import output
from pastcli.errors import Terminated

WORKERS = "workers"
"""Folder of a training's state where launcher and workers leave word for each other."""
_BEGUN, _STOP = "begun", "stop"


SIGNALS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""What asks a training to end, and who handles it where nobody has chosen to. A scheduler that takes a machine back sends the second,
and some time later kills."""


@contextlib.contextmanager
def finishing(ask: Callable[[], object], begun: Callable[[], bool], kept: Callable[[], bool]) -> Iterator[list[int]]:
    """Within the block the first signal to end calls `ask` and goes on, if steps have `begun`. It is given to the caller, who ends then
    by `stopped`. Ctrl-C where a checkpoint is `kept` already, from which they can be made again, is an ordinary one, and so is the
    second signal. Outside the main thread, and where somebody else handles a signal, nothing is changed."""
    heard: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if heard or not begun() or (number == signal.SIGINT and kept()):
            raise stopped([number])
        heard.append(number)
        ask()
        again = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        output.note(f"stopping after this step, which is kept in a checkpoint; {again} again stops at once")

    ours = [number for number, default in SIGNALS.items() if signal.getsignal(number) is default]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    before = {number: signal.signal(number, handler) for number in ours}
    try:
        yield heard
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def stopped(heard: Sequence[int]) -> KeyboardInterrupt:
    """What a training ends by that was asked to."""
    return Terminated() if signal.SIGTERM in heard else KeyboardInterrupt()


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
