"""Episodes as they are played, at a terminal: what each is thinking and calling, how many are solved, how fast, how long yet."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from .. import output
from ..api import Step, Verdict
from ..words import counted
from .show import STYLES, VERDICTS, seen
from .told import Told, told
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
        label = f"{_name(key, self._width)} {verdict.label}, {counted(lane.steps, 'steps')}: "
        row = _row((label, VERDICTS.get(verdict.label, "bold red")), (verdict.reason, ""))
        self._drawing.refresh()  # what is printed moves the view as it was drawn last: this episode would still be in it
        self._console.print(row, soft_wrap=False, no_wrap=True, overflow="ellipsis")

    @property
    def _width(self) -> int:
        return self._console.width - output.EDGE

    def view(self) -> Group:
        """The figures, and as many lines for each episode under way as the terminal has room for."""
        from rich.console import Group

        with self.lock:
            lanes = list(self._lanes.items())[:MOST_LANES]
            height = self._console.height
            rows = self._figures(len(self._lanes), 2 if height - 2 >= 2 * len(lanes) else 1)
            room = height - len(rows)
            lanes = lanes[: max(room, 1)]
            for key, lane in lanes:
                rows += _lane(key, lane, self._width, room // len(lanes))
        for row in rows:
            row.truncate(self._width, overflow="ellipsis")
        return Group(*rows)

    def _figures(self, live: int, most: int) -> list[Text]:
        """As many of the figures as there is room for in so many lines, each of them whole: half a number is another number."""
        left = self.left()
        clock = f"{_clock(self.seconds())}  "
        said = [f"{self.done}/{counted(self.episodes, 'episodes')}", f"{self.solved} solved"]
        said += [f"{_clock(left)} left"] if left is not None else []
        said += [f"{self.rate():.0f} tokens/s"] if self.tokens else []
        said += [f"{live} under way", counted(self.turns, "turns")]
        lines = [said[:1]]
        for one in said[1:]:
            before = len(clock) if len(lines) == 1 else 2
            if before + len(", ".join([*lines[-1], one])) <= self._width:
                lines[-1].append(one)
            elif len(lines) < most:
                lines.append([one])
            else:
                break
        return [
            _row((clock, "bold"), (", ".join(lines[0]), "")),
            *(_row((f"  {', '.join(more)}", "")) for more in lines[1:]),
        ]


def _lane(key: Key, lane: Lane, width: int, room: int) -> list[Text]:
    """The query and for how long its next turn has been thought about; then what the last turn said and what it got, in at most
    `room` lines: where all of it does not fit, the call is one line, and goes before the thought, and this before the answer."""
    waited = f"turn {lane.steps + 1}, {time.monotonic() - lane.since:.0f} s  "
    head = _row((f"{_name(key, width)}  ", "bold"), (waited, "dim"), (lane.query, ""))
    parts = (
        [part for part in told(lane.last, SIGHT) if part.text.strip() and part.kind != "repaired"] if lane.last else []
    )
    if len(parts) < room:
        return [head, *(_told_row(part.label, part.text, part) for part in parts)]
    call = [part for part in parts if part.kind in ("call", "said")]
    rows = {"call": _told_row(call[0].label, " ".join(part.text for part in call), call[0])} if call else {}
    rows |= {part.kind: _told_row(part.label, part.text, part) for part in parts if part not in call}
    chosen = sorted(rows, key=lambda kind: _FIRST.get(kind, len(_FIRST)))[: max(room - 1, 0)]
    return [head, *(rows[kind] for kind in ("thought", "call", "observation", "error") if kind in chosen)]


_FIRST = {"call": 0, "thought": 1}


def _told_row(label: str, text: str, part: Told) -> Text:
    style = "red" if part.kind == "error" else STYLES[part.label]
    return _row((f"  {label}: ", "dim"), (text, style))


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


def _name(key: Key, width: int) -> str:
    """A query's own name, in at most a third of the line."""
    task, attempt = key
    room = min(40, max(8, width // 3))
    task = task if len(task) <= room else f"{task[: room - 1]}…"
    return f"{task}#{attempt + 1}" if attempt else task


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
