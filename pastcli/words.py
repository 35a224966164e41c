"""Numbers of things, and times, as one says them."""

from __future__ import annotations

SINGULARS = {"queries": "query", "studies": "study", "entries": "entry", "categories": "category"}


def counted(count: int, things: str) -> str:
    """`1 question`, `2 questions`, `1,000 questions`: the last word of `things`, a plural, is cut down to its singular
    for one."""
    if count == 1:
        before, gap, last = things.rpartition(" ")
        things = before + gap + SINGULARS.get(last, last.removesuffix("s"))
    return f"{count:,} {things}"


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
