"""The commands that a study has under way, and how they end with it.

They are in process groups of their own: Ctrl-C in a terminal reaches the study alone, which passes each on once. So a training
can finish its step and keep it, and hears of a second Ctrl-C by a second one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from .. import output
from ..errors import Interrupted

AGAIN = "run the same command again to continue"


class Children:
    """Those of one study, started from any of its threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @contextlib.contextmanager
    def started(
        self, command: Sequence[str], environment: Mapping[str, str], errors: IO[str]
    ) -> Iterator[subprocess.Popen[str]]:
        """A command under way. Raises `Interrupted` once they were told to end: nothing more is begun then."""
        with self._lock:
            if self._stopped:
                raise Interrupted("interrupted", AGAIN)
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env=environment,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C within the block goes to all that are under way, and again while they come to their end; the third kills them."""
        try:
            yield
        except KeyboardInterrupt:
            self._end()
            raise

    def _end(self) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            under_way = self._send(number)
            if under_way and number == signal.SIGINT:
                output.note(
                    f"stopping: waiting for {len(under_way)} under way to keep what they have; Ctrl-C again stops at once"
                )
            try:
                for process in under_way:
                    _await(process)
                return
            except KeyboardInterrupt:
                continue

    def _send(self, number: int) -> list[subprocess.Popen[str]]:
        with self._lock:
            self._stopped = True
            under_way = [process for process in self._running if process.returncode is None]
            for process in under_way:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        return under_way


def _await(process: subprocess.Popen[str]) -> None:
    """Until the thread that started it has seen it end: its pipe is read there, and two may not wait for one child."""
    while process.returncode is None:
        threading.Event().wait(0.05)


def _die_with_parent() -> None:
    """A stage must not outlive a study that is killed: the next one would find its run taken (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
