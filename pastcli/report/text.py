"""Foreign text as HTML: whatever a model, a tool or a file said is shown, and does nothing.

Three layers, each enough by itself: every text is escaped, the page's policy (`page.POLICY`) runs no script and fetches
nothing, and characters that act on a reader (controls, marks that reverse the direction, invisible ones) are spelled out.
"""

from __future__ import annotations

import html

import regex

LONGEST = 20_000
"""Characters of one text that a page shows: the first three quarters and the last."""

_ACTING = regex.compile(r"[[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]--[\n\t\u200c\u200d]]", regex.V1)
"""Joiners stay: scripts and emoji are written with them."""


def shown(text: str, most: int = LONGEST) -> str:
    """A text as HTML, in the middle shortened to about `most` characters, with a note of how much is missing."""
    if len(text) <= most:
        return _spelled(text)
    head, tail = most * 3 // 4, most // 4
    note = f"<b class=cut>… {len(text) - head - tail:,} of {len(text):,} characters left out …</b>"
    return f"{_spelled(text[:head])}\n{note}\n{_spelled(text[-tail:])}"


def line(text: str, most: int = 300) -> str:
    """A text as one line of HTML."""
    flat = " ".join(text[: 4 * most].split())
    return _spelled(flat if len(flat) <= most and len(text) <= 4 * most else flat[: most - 1] + "…")


def attribute(text: str) -> str:
    """A text inside the quotes of an attribute."""
    return html.escape(_ACTING.sub("\ufffd", text), quote=True)


def _spelled(text: str) -> str:
    return _ACTING.sub(lambda found: f"<b class=char>U+{ord(found[0]):04X}</b>", html.escape(text, quote=True))
