"""Bytes to text: UTF-8 first, then what the byte order mark or the letters themselves give away."""

from __future__ import annotations

import codecs
from pathlib import Path

from .. import output
from ..errors import UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 18


def read_text(path: Path) -> str:
    """The text of a file with `\\n` line ends; raises `UsageError` if it is not text."""
    text, encoding = decode(path.read_bytes())
    if text is None:
        raise UsageError(f"{path} is binary, not text")
    if encoding != "utf-8":
        output.note(f"{path}: read as {encoding}, not UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(data: bytes) -> tuple[str | None, str]:
    """(text, encoding used); (None, '') for binary data.

    Text that is mostly ASCII counts as Windows-1252, which has the letters of latin-1: between Western code
    pages any guess on a few bytes is a coin toss. Other scripts betray themselves by their many high bytes.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _try(data, encoding) or (None, "")
    if b"\0" in data[:_SAMPLE]:
        return None, ""
    return _try(data, "utf-8") or _guess(data) or _try(data, "cp1252") or (data.decode("latin-1"), "latin-1")


def _try(data: bytes, encoding: str) -> tuple[str, str] | None:
    try:
        return data.decode(encoding), encoding.removesuffix("-sig")
    except UnicodeDecodeError:
        return None


def _guess(data: bytes) -> tuple[str, str] | None:
    sample = data[:_SAMPLE]
    if sum(byte > 127 for byte in sample) < 0.3 * len(sample):
        return None
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    return _try(data, best.encoding) if best is not None else None
