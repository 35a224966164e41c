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


def between(least: int, most: int, things: str) -> str:
    """`1 to 16 tokens`, and `1 token` where there is nothing between."""
    return counted(most, things) if least == most else f"{least:,} to {counted(most, things)}"


def durations(least: float, most: float) -> str:
    """`40 s to 3 min`, and `40 s` where both are told alike."""
    short, long = duration(least), duration(most)
    return short if short == long else f"{short} to {long}"


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
