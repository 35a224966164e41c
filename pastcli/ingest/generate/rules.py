"""Kinds that need no model: the same passages give the same rows on every machine.

Reciting (verbatim), going on from a beginning (recall) and filling a gap (cloze) are the plainest tasks of knowledge
encoding (METHOD 3, long documents). They ask for what the passage says in its own words and nothing more.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence

from ..sentences import split

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
"""Scripts that write no space between words: a figure stands right beside them."""

_LEFT, _RIGHT = rf"(?<![^\W{_CJK}])", rf"(?![^\W{_CJK}])"
"""Where a word begins and ends, in those scripts too."""

_YEAR = re.compile(rf"{_LEFT}(?:1\d|20)\d\d{_RIGHT}")
_FIGURE = re.compile(rf"{_LEFT}(?:\d[\d,.]*\d|\d){_RIGHT}")
_FIRST = re.compile(rf"\W*(?:[{_CJK}]|[^\W{_CJK}]+)")
_NAME = re.compile(r"\b[A-ZÀ-Þ][\w’'-]+(?:\s+(?:of|de|van|von|the)?\s*[A-ZÀ-Þ][\w’'-]+)*")
_OWNER = re.compile(r"[’']s?$")

_WITHOUT_SPACES = re.compile(f"[{_CJK}]")
_IN_A_WORD = re.compile(rf"[^\W{_CJK}]")

GAP = "____"

_SAY_NOTHING = frozenset(
    "a an the this that these those it its he she they we you i his her their our your if when where while as at by for from in"
    " into of on to with and or but nor so than then there here not no yes all any each some such what which who how why is are"
    " was were be do does can may must should will note see also only".split()
)
"""Words that are no name, though a sentence within the sentence, a heading or a list item begins with one."""


def verbatim(title: str, text: str) -> list[tuple[str, str]]:
    """The passage, asked for by its title and first words."""
    first = " ".join(split(text)[0].split()[:6]) if text.strip() else ""
    return (
        [(f"Recite the passage about {title or 'it'} that begins “{first}”", " ".join(text.split()))] if first else []
    )


def recall(title: str, text: str) -> list[tuple[str, str]]:
    """Each sentence but the first, asked for by the one before it."""
    found = split(text)
    asked = f" in the passage about {title}" if title else ""
    return [(f"What comes after “{a}”{asked}?", b) for a, b in itertools.pairwise(found)]


def cloze(title: str, text: str) -> list[tuple[str, str]]:
    """Each sentence with its year, figure or name left out: one gap a sentence, and never one that another word gives away."""
    rows = []
    for sentence in split(text):
        answer = _gap(sentence, title)
        if answer:
            about = f"{title}: " if title and title.lower() not in sentence.lower() else ""
            at = _places(answer, sentence)[0]
            gapped = sentence[:at] + GAP + sentence[at + len(answer) :]
            rows.append((f"What is missing here? {about}{gapped}", answer))
    return rows


def _gap(sentence: str, title: str) -> str:
    """What to leave out of a sentence; '' if nothing stands in it once and is worth asking (the title is not).

    Where it holds a figure and a name, either, as its bytes will have it: a model that is only ever asked for the figure
    learns that every answer is one.
    """
    if len(sentence.split()) + len(_WITHOUT_SPACES.findall(sentence)) // 2 < 5:
        return ""
    kinds = filter(None, (_first(patterns, sentence, title) for patterns in ((_YEAR, _FIGURE), (_NAME,))))
    found = list(dict.fromkeys(kinds))
    return found[zlib.crc32(sentence.encode(errors="surrogatepass")) % len(found)] if found else ""


def _first(patterns: Sequence[re.Pattern[str]], sentence: str, title: str) -> str:
    """What the first of the patterns finds, behind the sentence's first word, that can be asked for."""
    start = _FIRST.match(sentence)
    beyond = start.end() if start else 0
    for match in itertools.chain.from_iterable(pattern.finditer(sentence, beyond) for pattern in patterns):
        answer = _OWNER.sub("", match.group().strip())  # whose something is, is a name without its 's
        if (
            len(_places(answer, sentence)) == 1
            and answer.lower() not in _SAY_NOTHING
            and answer.lower() not in title.lower()
        ):
            return answer
    return ""


def _places(answer: str, sentence: str) -> list[int]:
    """Where the answer stands as words of their own. (A pattern made of each answer would be compiled anew each time, at the price
    of the alphabets in it: three quarters of the time of all questions.)"""
    places, at = [], sentence.find(answer)
    while at >= 0:
        beside = sentence[max(0, at - 1) : at], sentence[at + len(answer) : at + len(answer) + 1]
        whole = not any(map(_IN_A_WORD.match, beside))
        places += [at] if whole else []
        at = sentence.find(answer, at + (len(answer) if whole else 1))
    return places


RULES = {"verbatim": verbatim, "recall": recall, "cloze": cloze}
