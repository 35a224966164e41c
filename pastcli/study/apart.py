"""What source and target may not share: the same documents, whatever they are called. Practice on what is tested shows no transfer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..api import Passage
from ..errors import UsageError
from ..ingest.questions import text_of
from ..words import counted

NAMED = 3
"""Documents that a refusal names."""


def plain(text: str) -> str:
    """A text without its layout and capitals."""
    return " ".join(text.split()).casefold()


def keys(record: Mapping[str, Any]) -> set[str]:
    """What a record is known by again: its title as it stands, and its text."""
    return {str(record.get("title") or ""), plain(text_of(record) or "")} - {""}


def check(passages: Sequence[Passage], asked: Collection[str], taken: frozenset[str], shown: str) -> None:
    """Raises `UsageError` where a document of the source that is `asked` about is, passage by passage, one of the target:
    of records such a one was left out before, files and folders cannot be taken apart."""
    own = {passage.doc for passage in passages if passage.kind == "passage" and plain(passage.text) not in taken}
    both = sorted({passage.doc for passage in passages if passage.doc in asked} - own)
    if both:
        named = ", ".join(both[:NAMED]) + (", ..." if len(both) > NAMED else "")
        raise UsageError(
            f"{counted(len(both), 'documents')} of the source {shown} are learnt as the target too: {named}"
            if len(both) > 1
            else f"a document of the source {shown} is learnt as the target too: {named}",
            "what RL practised on cannot tell whether its skill transfers: take it out of one of the two, or say apart = false in [source]",
        )
