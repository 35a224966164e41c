"""The one way out: data on stdout, everything else on stderr.

With `--json` a command prints exactly one JSON document on stdout; tables and notes never mix with it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from . import streams

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


@cache
def _new_console(stderr: bool) -> Console:
    from rich.console import Console

    # Text is shown as it is: file names and model answers may hold [brackets] and :colons:.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def _console(stderr: bool = False) -> Console:
    """rich's console for data, or the one for notes, bound to the stream of the moment: test runners swap them."""
    found = _new_console(stderr)
    found.file = sys.stderr if stderr else sys.stdout
    return found


def terminal() -> Console:
    """rich's console for notes: what is drawn there for a while, and notes, must know of each other."""
    return _console(stderr=True)


def styled(stderr: bool = False) -> bool:
    """Whether somebody looks at the stream. A pipe or a file gets plain lines, and rich is not even imported."""
    stream = sys.stderr if stderr else sys.stdout
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def drawable(stderr: bool = False) -> bool:
    """Whether what is drawn on the stream can be drawn over: a terminal that moves its cursor. A log that is to have colours
    (FORCE_COLOR) is none, nor is the shell of an editor (TERM=dumb): those get lines."""
    return (sys.stderr if stderr else sys.stdout).isatty() and os.environ.get("TERM", "").lower() not in (
        "dumb",
        "unknown",
    )


EDGE = 2
"""Columns left free at the right of what is drawn over: the `^C` that a terminal writes behind it would break its last
line, and the drawing be one line higher than is taken away again."""


def width() -> int | None:
    """Columns to write in on stdout; None where nobody looks, and lines are as long as they are."""
    return _console().width - EDGE if styled() else None


def line(text: str, style: str = "", *, label: str = "", stderr: bool = False) -> None:
    """One line of text, in a style of rich's where there is a terminal, after a label in bold."""
    if not styled(stderr):
        print(label + text, file=sys.stderr if stderr else sys.stdout)
        return
    from rich.text import Text

    _console(stderr).print(Text.assemble((label, "bold"), (text, style)))


_documents = 0


def emitted() -> bool:
    """Whether the one JSON document of this command is out already."""
    return _documents > 0


def emit(data: Any, as_json: bool, human: Callable[[], None] | None = None) -> None:
    """The result of a command: one JSON document, or what `human` prints (default: the key-value pairs)."""
    global _documents
    if as_json:
        _documents += 1
        streams.write_out(json.dumps(_plain(data), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    elif human is not None:
        human()
    else:
        pairs(data)


def flush() -> None:
    """Send stdout on its way now: a command that goes on running has said something that others wait for."""
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """`value` in JSON's own types: numbers of numpy and torch unwrapped, NaN and infinity (not JSON) as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return _plain(value.item()) if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str | None = None,
    style: Callable[[str], str] | None = None,
    boxed: bool = True,
) -> None:
    """A table on stdout; columns whose cells are all numbers (or '-') are right-aligned.

    `style` gives the style of a cell by its text. Where nobody looks, columns are padded with blanks and lines are
    never broken.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(cells) and all(_numeric(row[index]) for row in cells) for index in range(len(columns))]
    if not styled():
        _plain_table(title, [list(columns), *cells], right, caption)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    lines = box.HEAVY_HEAD if boxed else None
    view = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=lines)
    for column, numeric in zip(columns, right, strict=True):
        view.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        view.add_row(*(Text(text, style(text) if style else "") for text in row))
    _console().print(view)


def _plain_table(title: str, lines: list[list[str]], right: list[bool], caption: str | None) -> None:
    lines = [[" ".join(text.split("\n")) for text in cells] for cells in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if title:
        print(title)
    for cells in lines:
        padded = (
            text.rjust(width) if numeric else text.ljust(width) for text, width, numeric in zip(cells, widths, right)
        )
        print("  ".join(padded).rstrip())
    if caption:
        print(caption)


def pairs(data: Mapping[str, Any]) -> None:
    """`key  value` lines on stdout."""
    width = max((len(str(key)) for key in data), default=0)
    for key, value in data.items():
        line(f"{key!s:<{width}}  {_cell(value)}")


def note(text: str) -> None:
    """One line about what is going on, on stderr."""
    line(text, "dim", stderr=True)


def warn(text: str, hint: str | None = None) -> None:
    line(f"warning: {text}", "yellow", stderr=True)
    if hint:
        line(f"  hint: {hint}", "dim", stderr=True)


def error(text: str, hint: str | None = None) -> None:
    line(f"error: {text}", "bold red", stderr=True)
    if hint:
        line(f"  hint: {hint}", stderr=True)


def lines(rows: Sequence[str]) -> None:
    """Lines on stdout, each cut where the terminal ends."""
    room = width()
    for row in rows:
        if room is None:
            print(row)
        else:
            _console().print(_cut(row, room))


@contextmanager
def drawing() -> Iterator[Callable[[Sequence[str]], None]]:
    """`draw(rows)` on a terminal's stdout, each time over what was drawn before, which is gone after the block. Of more rows
    than the terminal has the first are shown."""
    from rich.console import Group
    from rich.live import Live

    with Live(console=_console(), auto_refresh=False, transient=True, vertical_overflow="crop") as live:

        def draw(rows: Sequence[str]) -> None:
            room = width() or 80
            live.update(Group(*(_cut(row, room) for row in rows)), refresh=True)

        yield draw


def _cut(row: str, room: int) -> Text:
    from rich.text import Text

    text = Text(row, no_wrap=True)
    text.truncate(room, overflow="ellipsis")
    return text


@contextmanager
def progress(label: str, unit: str = "it") -> Iterator[Callable[..., None]]:
    """A bar with rate and time left on stderr: `update(done, total, {"loss": 1.2})`.

    Quiet where nothing can be drawn over, except for one line about every 30 seconds so that a log shows life.
    """
    if drawable(stderr=True):
        yield from _bar(label, unit)
    else:
        yield _log_lines(label, unit)


def _bar(label: str, unit: str) -> Iterator[Callable[..., None]]:
    from rich.progress import Progress, TextColumn

    from .progress import clock, line_of

    console = _console(stderr=True)
    read = clock()
    with Progress(TextColumn("{task.fields[shown]}"), console=console, transient=True) as bar:
        task = bar.add_task(label, total=None, shown=label[: console.width])

        def update(done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
            room = console.width - EDGE - 1
            shown = line_of(label, unit, done, total, *read(done, total), _metrics(metrics), room, bar=True)
            bar.update(task, shown=shown)

        yield update


def _log_lines(label: str, unit: str) -> Callable[..., None]:
    from .progress import clock, line_of

    last, read = 0.0, clock()

    def update(done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        nonlocal last
        elapsed, rate, left = read(done, total)
        if elapsed - last < 30:
            return
        last = elapsed
        note(line_of(label, unit, done, total, elapsed, rate, left, _metrics(metrics), 200))

    return update


def _metrics(metrics: Mapping[str, float] | None) -> str:
    return " ".join(f"{key} {value:.4g}" for key, value in (metrics or {}).items())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def _numeric(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return cell == "-"
    return True
