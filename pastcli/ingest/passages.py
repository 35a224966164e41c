"""Long texts to passages, and passages to training texts (METHOD 3; the layout of SEAL, 2506.10943)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..api import Passage
from ..errors import UsageError
from . import sentences

AUGMENTS = ("sentences", "none")

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_MARK = re.compile(r"^\s*(?:(?:[-*+•‣◦–—]|\(?\d{1,3}[.):]|\(?[a-z]\))\s+)+")
_BOLD = re.compile(r"(\*\*|__)(.+?)\1")
_CHATTER = re.compile(
    r"you are an? (?:ai|helpful)\b|as an ai\b|(?:certainly|sure|of course|absolutely|okay)\s*[!,.:]|let me know if\b|"
    r"(?:would you|if you(?:'d|’d| would)) like\b|if you (?:need|want)\b|(?:please|feel free)\b|"
    r"i hope (?:this|these)\b|(?:user|assistant|human|system)\s*:|let['’]?s (?:read|list|look)\b|"
    r"(?:list of )?implications$|#+\s|```|<\||.*:$",
    re.I,
)
"""What models say around a list, and headings inside it (anything that ends in a colon): no statements."""


def cut(text: str, max_chars: int) -> list[tuple[int, int]]:
    """Spans of passages of at most `max_chars` characters; only white space lies outside them.

    Cuts fall between paragraphs where possible, else between sentences, else words, else anywhere. Passages
    are filled evenly: 2,100 characters at a limit of 2,000 become two of about 1,050, not 2,000 and 100.
    """
    units = list(_units(text, max_chars))
    if not units:
        return []
    length = units[-1][1] - units[0][0]
    target = length / -(-length // max_chars)
    found = [units[0]]
    for start, end in units[1:]:
        first, last = found[-1]
        if end - first > max_chars or last - first >= target:
            found.append((start, end))
        else:
            found[-1] = (first, end)
    return found


def _units(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """The largest natural pieces that fit: paragraphs, sentences, words, characters."""
    start = 0
    for gap in [*(match.span() for match in _PARAGRAPH.finditer(text)), (len(text), len(text))]:
        piece = sentences.trim(text, start, gap[0])
        if piece and piece[1] - piece[0] <= limit:
            yield piece
        elif piece:
            yield from _smaller(text, *piece, limit)
        start = gap[1]


def _smaller(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    for a, b in sentences.spans(text[start:end]):
        if b - a <= limit:
            yield start + a, start + b
        else:
            yield from _words(text, start + a, start + b, limit)


def _words(text: str, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    while end - start > limit:
        space = max(text.rfind(gap, start, start + limit + 1) for gap in " \n\t")
        stop = space if space > start else start + limit
        yield sentences.trim(text, start, stop) or (start, stop)
        start = stop
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def statements(completion: str) -> list[str]:
    """The implications in a model's answer, one a line: numbering, bullets and bold marks stripped.

    Empty lines and what the model said around its list ("Certainly! Here is ...:") are dropped.
    """
    lines = (_MARK.sub("", _BOLD.sub(r"\2", line)).strip() for line in completion.splitlines())
    return [line for line in lines if any(c.isalnum() for c in line) and not _CHATTER.match(line)]


def training_texts(passages: Sequence[Passage], augment: str = "sentences") -> list[str]:
    """The texts that SFT learns: each passage and each implication under its title, `Title\\ntext`.

    SEAL trains on the raw passage and on every line of its implications, each prefixed with the title; with
    `augment="sentences"` every sentence of the passage is such a text too, which gives documents without
    implications the same many small views of one fact. Each different text once, in order.
    """
    if augment not in AUGMENTS:
        raise UsageError(f"unknown augment {augment!r}", f"one of: {', '.join(AUGMENTS)}")
    texts = []
    for passage in passages:
        if passage.kind == "implication":
            texts += [titled(passage.title, line) for line in statements(passage.text)]
            continue
        texts.append(titled(passage.title, _flat(passage.text)))
        if augment == "sentences":
            lines = (_MARK.sub("", line) for line in sentences.split(passage.text))
            texts += [titled(passage.title, line) for line in lines if line and not is_heading(line)]
    return list(dict.fromkeys(texts))


def titled(title: str, text: str) -> str:
    return f"{title}\n{text}" if title else text


def is_heading(line: str) -> bool:
    """A few words without a full stop, figure or colon: states nothing by itself."""
    return len(line.split()) <= 6 and not re.search(r"[.!?:;。！？।؟…\d]", line)


def _flat(text: str) -> str:
    """Paragraphs that end like sentences run on in one line; headings, items and cells keep theirs."""
    lines: list[str] = []
    for paragraph in _PARAGRAPH.split(text.strip()):
        line = " ".join(paragraph.split())
        if lines and re.search(r"[.!?。！？।؟…][\"'”’»)]*$", lines[-1]) and not is_heading(line):
            lines[-1] += " " + line
        else:
            lines.append(line)
    return "\n".join(lines)
