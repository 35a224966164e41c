"""The text of a PDF, page by page, without what is printed on every page.

pypdf gives the lines of a page in reading order and is plain Python. Programs that also know layout (docling, unstructured)
bring gigabytes of models, PyMuPDF stands under the AGPL, and none of the light ones tells a running header from the first
line of a page: that takes the other pages, and is done here.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import PastError, UsageError

EDGE = 3
"""Lines at the top and at the bottom of a page that may be a running header or footer."""

FEWEST = 3
"""Pages that must have a line before it counts as running; a number that counts the pages is known from two."""

SHARE = 0.3
"""And the share of all pages: left and right pages may have headers of their own, chapters too."""

_DECRYPT = "remove its password first, for example with `qpdf --decrypt`"
_NUMBER = re.compile(r"\d+")
_ONLY_A_NUMBER = re.compile(r"\W*(?:page|p\.|seite)?\W*#\W*(?:(?:of|/|von)?\W*#)?\W*")


def pages(path: Path) -> tuple[str, list[str]]:
    """(title, text of every page); words hyphenated at a line end are joined. No OCR: a scan without text is refused."""
    import logging

    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    if path.stat().st_size == 0:
        raise UsageError("empty file (0 bytes)")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it would log we say in our own words
    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UsageError("encrypted PDF", _DECRYPT)
        texts = [page.extract_text() for page in reader.pages]
        title = str(reader.metadata.get("/Title") or "") if reader.metadata else ""
    except PastError:
        raise
    except (DependencyError, FileNotDecryptedError) as error:
        raise UsageError(f"encrypted PDF: {error}", _DECRYPT) from error
    except Exception as error:  # a broken PDF makes pypdf fail in many ways, none of them ours
        raise UsageError(f"corrupt PDF: {type(error).__name__}: {error}".rstrip(": ")) from error
    if not any(text.strip() for text in texts):
        raise UsageError("PDF without a text layer (a scan?)", "run OCR first, for example `ocrmypdf in.pdf out.pdf`")
    return " ".join(title.split()), [_dehyphenated(text) for text in without_running_lines(texts)]


def without_running_lines(texts: Sequence[str]) -> list[str]:
    """The pages without running headers, footers and page numbers: lines at the edge of a page that stand at the same edge
    of others too, word for word or but for a number that counts the pages."""
    pages = [deque(text.strip("\n").splitlines()) for text in texts]
    for take in (deque.popleft, deque.pop):
        left = set(range(len(pages)))
        for _ in range(EDGE):
            outermost = {page: line for page in left if (line := _outermost(pages[page], take))}
            left = _running(outermost, len(pages))
            for page in left:
                take(pages[page])
    return ["\n".join(lines) for lines in pages]


def _outermost(lines: deque[str], take: Callable[[deque[str]], str]) -> str:
    """The line at an edge, once the empty ones there are gone; "" of an empty page."""
    at = 0 if take is deque.popleft else -1
    while lines and not lines[at].strip():
        take(lines)
    return lines[at] if lines else ""


def _running(outermost: Mapping[int, str], total: int) -> set[int]:
    """The pages whose line at one edge runs through the document."""
    alike: dict[str, list[int]] = defaultdict(list)
    for page, line in outermost.items():
        alike[_NUMBER.sub("#", " ".join(line.split()).casefold())].append(page)
    enough = max(FEWEST, math.ceil(SHARE * total))
    found: set[int] = set()
    for shape, pages in alike.items():
        for group in _same(pages, outermost):
            if len(group) >= enough or (total == 2 == len(group) and _ONLY_A_NUMBER.fullmatch(shape) and "#" in shape):
                found |= set(group)
    return found


def _same(pages: Sequence[int], lines: Mapping[int, str]) -> Iterator[list[int]]:
    """Groups of pages whose lines (alike but for their numbers) are the same, or have at one place a number that counts
    the pages."""
    by_text: dict[tuple[str, ...], list[int]] = defaultdict(list)
    by_count: dict[tuple[int, int], list[int]] = defaultdict(list)
    for page in pages:
        numbers = _NUMBER.findall(lines[page])
        by_text[tuple(numbers)].append(page)
        for place, number in enumerate(numbers):
            by_count[place, int(number) - page].append(page)
    counted = [group for group in by_count.values() if _only_counts(group, lines)]
    yield from counted if len(pages) == 2 else [*by_text.values(), *counted]


def _only_counts(pages: Sequence[int], lines: Mapping[int, str]) -> bool:
    """Whether what else these lines have of numbers counts the pages too, or stays for a while, as that of a chapter does. A
    sentence on each page of forms or data sheets has figures of its own: "Crane 3 lifts 17 tonnes"."""
    for numbers in zip(*(map(int, _NUMBER.findall(lines[page])) for page in pages), strict=True):
        counts = len({number - page for number, page in zip(numbers, pages, strict=True)}) == 1
        if not counts and 2 * len(set(numbers)) > len(numbers):
            return False
    return True


def _dehyphenated(text: str) -> str:
    return re.sub(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[a-zà-ÿ])", "", text)
