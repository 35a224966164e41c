"""Who looks on while episodes are played: nobody, a log, or a person at a terminal (`live`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .. import output
from ..api import Progress, Step, Verdict

Key = tuple[str, int]
"""(task id, attempt)"""


class Watch(Protocol):
    """Told of everything in the order it happens, perhaps from several threads."""

    def total(self, episodes: int) -> None:
        """How many episodes there will be."""

    def begun(self, key: Key, query: str) -> None:
        """An episode begins."""

    def stepped(self, key: Key, step: Step, recorded: bool) -> None:
        """A step was made, or taken from the record."""

    def ended(self, key: Key, verdict: Verdict) -> None:
        """An episode was judged."""


class Unwatched:
    """Nobody looks on."""

    def total(self, episodes: int) -> None: ...

    def begun(self, key: Key, query: str) -> None: ...

    def stepped(self, key: Key, step: Step, recorded: bool) -> None: ...

    def ended(self, key: Key, verdict: Verdict) -> None: ...


class Tally:
    """Counts over all episodes; what is recorded costs no time and counts for no rate."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.episodes = self.done = self.solved = self.turns = self.tokens = 0
        self.fresh = 0
        """Episodes that ended and were not all in the record."""
        self._played: set[Key] = set()
        self._began: float | None = None

    def total(self, episodes: int) -> None:
        self.episodes = episodes

    def begun(self, key: Key, query: str) -> None:
        with self.lock:
            self._began = self._began or time.monotonic()

    def stepped(self, key: Key, step: Step, recorded: bool) -> None:
        with self.lock:
            self.turns += 1
            self.tokens += 0 if recorded else step.completion.completion_tokens
            self._played |= set() if recorded else {key}

    def ended(self, key: Key, verdict: Verdict) -> None:
        with self.lock:
            self.done += 1
            self.solved += verdict.label == "Solved"
            self.fresh += key in self._played

    def seconds(self) -> float:
        return time.monotonic() - self._began if self._began else 0.0

    def rate(self) -> float:
        """Tokens that the model said a second."""
        return self.tokens / self.seconds() if self.tokens and self.seconds() > 0 else 0.0

    def left(self) -> float | None:
        """Seconds that the rest takes at the pace of the episodes played here; None before the first has ended."""
        return self.seconds() / self.fresh * (self.episodes - self.done) if self.fresh else None


class Log(Tally):
    """A line now and then, for whoever reads a log (`output.progress`)."""

    def __init__(self, progress: Progress):
        super().__init__()
        self._progress = progress

    def stepped(self, key: Key, step: Step, recorded: bool) -> None:
        super().stepped(key, step, recorded)
        self._tell()

    def ended(self, key: Key, verdict: Verdict) -> None:
        super().ended(key, verdict)
        self._tell()

    def _tell(self) -> None:
        with self.lock:
            figures: dict[str, float] = {"solved": self.solved, "turns": self.turns, "tokens/s": self.rate()}
            self._progress(self.done, self.episodes, figures)


@contextmanager
def watching() -> Iterator[Watch]:
    """What suits stderr: a live view of the episodes at a terminal, else a line every half minute. stdout is never touched."""
    if output.drawable(stderr=True):
        from .live import Live

        with Live(output.terminal()) as live:
            yield live
        return
    with output.progress("agent", "episodes") as progress:
        yield Log(progress)
