"""Numbers of things as one says them."""

from __future__ import annotations

SINGULARS = {"queries": "query", "studies": "study", "entries": "entry", "categories": "category"}


def counted(count: int, things: str) -> str:
    """`1 question`, `2 questions`, `1,000 questions`: the last word of `things`, a plural, is cut down to its singular
    for one."""
    if count == 1:
        before, gap, last = things.rpartition(" ")
        things = before + gap + SINGULARS.get(last, last.removesuffix("s"))
    return f"{count:,} {things}"
