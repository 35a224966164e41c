"""Episodes as they are played, at a terminal: what each is thinking and calling, how many are solved, how fast, how long yet."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from ..api import Step, Verdict
from ..words import counted
from .show import STYLES, VERDICTS, seen
from .told import told
from .watch import Key, Tally

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.text import Text

PER_SECOND = 4
MOST_LANES = 8
"""Episodes shown at once; of more the oldest."""

SIGHT = 300
"""Characters of a step's text that are looked at: what one line can show."""


@dataclass
class Lane:
    """One episode under way: its query, how many steps it made, when the last was, and what that said."""

    query: str
    steps: int = 0
    since: float = field(default_factory=time.monotonic)
    last: Step | None = None


class Live(Tally):
    """A `Watch` that draws. Episodes that end are written above, and stay; the view itself goes when the run is over."""

    def __init__(self, console: Console):
        from rich.live import Live as Drawing

        super().__init__()
        self._console = console
        self._lanes: dict[Key, Lane] = {}
        self._drawing = Drawing(
            console=console,
            get_renderable=self.view,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Live:
        self._drawing.start(refresh=True)  # what lanes print at once finds a view to step over
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.__exit__(kind, value, trace)

    def begun(self, key: Key, query: str) -> None:
        super().begun(key, query)
        with self.lock:
            self._lanes[key] = Lane(query)

    def stepped(self, key: Key, step: Step, recorded: bool) -> None:
        super().stepped(key, step, recorded)
        with self.lock:
            lane = self._lanes[key]
            lane.steps, lane.last, lane.since = lane.steps + 1, step, time.monotonic()

    def ended(self, key: Key, verdict: Verdict) -> None:
        super().ended(key, verdict)
        with self.lock:
            lane = self._lanes.pop(key)
        label = f"{_name(key)} {verdict.label}, {counted(lane.steps, 'steps')}: "
        row = _row((label, VERDICTS.get(verdict.label, "bold red")), (verdict.reason, ""))
        self._console.print(row, soft_wrap=False, no_wrap=True, overflow="ellipsis")

    def view(self) -> Group:
        """The figures, and a few lines for each episode under way."""
        from rich.console import Group

        with self.lock:
            lanes = list(self._lanes.items())[:MOST_LANES]
            rows = [self._figures(len(self._lanes))]
            for key, lane in lanes:
                rows += _lane(key, lane)
        return Group(*rows)

    def _figures(self, live: int) -> Text:
        left = self.left()
        said = [f"{self.done}/{counted(self.episodes, 'episodes')}", f"{self.solved} solved"]
        said += [f"about {_clock(left)} left"] if left is not None else []  # a narrow terminal cuts what comes last
        said += [f"{self.rate():.0f} tokens/s"] if self.tokens else []
        said += [f"{live} under way", counted(self.turns, "turns")]
        return _row((f"agent {_clock(self.seconds())}  ", "bold"), (", ".join(said), ""))


def _lane(key: Key, lane: Lane) -> list[Text]:
    """The query and for how long its next turn has been thought about; then what the last turn said and what it got."""
    waited = time.monotonic() - lane.since
    rows = [_row((f"{_name(key)}  ", "bold"), (f"turn {lane.steps + 1}, {waited:.0f} s  ", "dim"), (lane.query, ""))]
    if lane.last is not None:
        for part in told(lane.last, SIGHT):
            if part.text.strip() and part.label != "Repaired":
                style = "red" if part.kind == "error" else STYLES[part.label]
                rows.append(_row((f"  {part.label}: ", "dim"), (part.text, style)))
    return rows


def _row(*pieces: tuple[str, str]) -> Text:
    """One line, cut where the terminal ends; what others said can neither steer the terminal nor begin a line."""
    from rich.text import Text

    return Text.assemble(*((_flat(text), style) for text, style in pieces), no_wrap=True, overflow="ellipsis")


def _flat(text: str) -> str:
    """A text without line breaks and control characters; the blanks at its ends, which are ours, stay (two at most)."""
    text = text[: 2 * SIGHT]
    inner = " ".join(seen(text).split())
    before, after = (min(2, len(text) - len(cut)) for cut in (text.lstrip(" "), text.rstrip(" ")))
    return " " * before + inner + " " * after


def _name(key: Key) -> str:
    task, attempt = key
    return f"{task[:40]}#{attempt + 1}" if attempt else task[:40]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
