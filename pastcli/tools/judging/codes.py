"""Links, addresses, codes and long numbers: right to the last character, however they are grouped, or from nowhere."""

from __future__ import annotations

import re

from .dates import clocks, dates
from .facts import Facts
from .numbers import VERSION
from .text import plain

_GROUPED = re.compile(r"\+?\(?\d[\d]*(?:[ .\-/()]{1,2}\d+)+|\+?\d{7,}")
_FILE = re.compile(
    r"(?<![\w/.@-])[\w-]+\.(?:txt|docx?|pdf|xlsx?|csv|png|jpe?g|gif|zip|md|json|html?|mp[34]|pptx?|py|js)\b"
)
"""Names of files."""
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'`|)\]]+|[\w.+-]+@[\w-]+\.[\w.-]+")
_CODE = re.compile(r"(?<![\w/.@-])(?=[\w-]*[^\W\d_])(?=[\w-]*\d)\w[\w-]{4,}(?![\w@/])")
_MEASURED = re.compile(r"(?:\d+(?:[.,]\d+)?-?[^\W\d_]{1,12})+|[^\W\d_]+-?\d{1,3}|\d+-[^\W\d_]+(?:-[^\W\d_]+)?")
"""What looks like a code and is none: 1080p, 2h25m, 30-year, day-old, iPhone 15, COVID-19."""
LONG = 7
"""Figures from which a number is one that nobody rounds: of a card, a telephone, an account."""


def as_observed(answer: str, facts: Facts) -> str:
    """The answer with long numbers grouped as they were observed or asked: "4024 0071 1234 5678" is 4024007112345678."""
    known: dict[str, str] = {}
    for text in [
        *_GROUPED.findall(facts.asked.text),
        *(fact.text for fact in facts.facts if any(map(str.isdigit, fact.text[:40]))),
    ]:
        if len(text) <= 40 and not re.search(r"[^\W\d_]", text) and not dates(text) and not clocks(text):
            known.setdefault(_figures(text), text)

    def put(match: re.Match[str]) -> str:
        figures = _figures(match[0])
        return known.get(figures, match[0]) if len(figures) >= LONG and not dates(match[0]) else match[0]

    return _GROUPED.sub(put, answer)


def unknown_codes(answer: str, facts: Facts) -> list[str]:
    """Links, e-mail addresses and codes of an answer that nobody said."""
    links = [match[0].rstrip(".,;:!?*") for match in _LINK.finditer(answer)]
    rest = _LINK.sub(" ", answer)
    codes = [match[0] for match in _CODE.finditer(rest) if not _MEASURED.fullmatch(match[0]) and not dates(match[0])]
    codes += [match[0] for match in _FILE.finditer(rest)]
    codes += [text for text in VERSION.findall(plain(rest)) if not _is_told(text, facts)]
    if not links and not codes:
        return []
    known = "|".join(
        _squeezed(text) for text in (facts.asked.text, *(f"{fact.name}|{fact.text}" for fact in facts.facts))
    )
    return [text for text in [*links, *codes] if _squeezed(text) not in known]


def _is_told(version: str, facts: Facts) -> bool:
    pattern = re.compile(rf"(?<![\w.]){re.escape(version.removeprefix('v'))}(?![\w.]*\d)")
    return any(
        pattern.search(plain(text).replace("v", "")) for text in (facts.asked.text, *(f.text for f in facts.facts))
    )


def _figures(text: str) -> str:
    return re.sub(r"\D", "", text)


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]", "", re.sub(r"\A(?:https?://)?(?:www\.)?", "", plain(text)))
