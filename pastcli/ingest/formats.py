"""Readers of manuals and books: reStructuredText, LaTeX, notebooks, EPUB. Each gives one document's title and text.

docutils and pylatexenc parse what no regular expression should; a notebook is plain JSON, and the EPUB library there is
stands under the AGPL, so that the few lines which an EPUB needs are our own.
"""

from __future__ import annotations

import json
import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import PastError, UsageError
from . import markup
from .decode import decode, read_text

_EXTRA = "pip install 'pastcli[readers]'"


def read_rst(path: Path) -> tuple[str, str]:
    """(title, text) of a reStructuredText file. Directives and roles of Sphinx that docutils does not know keep their text."""
    try:
        from docutils.core import publish_doctree
    except ImportError as error:
        raise PastError("reStructuredText needs docutils", _EXTRA) from error
    from .rst import lenient, paragraphs

    settings = {
        "report_level": 5,
        "halt_level": 6,
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "input_encoding": "unicode",
        "_disable_config": True,
        "smart_quotes": False,
    }
    with lenient():
        tree = publish_doctree(read_text(path), source_path=str(path), settings_overrides=settings)
    title = str(tree.get("title") or "")
    found = paragraphs(tree)
    return title, "\n\n".join(found[1:] if found[:1] == [title] and title else found)


def read_tex(path: Path) -> tuple[str, str]:
    """(title, text) of a LaTeX file: the document's body as words, formulas as they are written."""
    try:
        from pylatexenc.latex2text import LatexNodes2Text
    except ImportError as error:
        raise PastError("LaTeX needs pylatexenc", _EXTRA) from error
    source = re.sub(r"(?<!\\)%.*", "", read_text(path))
    title = re.search(r"\\title\s*(?:\[[^\]]*\])?\s*\{((?:[^{}]|\{[^{}]*\})*)\}", source)
    body = re.search(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", source, re.S)
    plain = LatexNodes2Text(math_mode="verbatim", keep_comments=False, strict_latex_spaces=False)
    text = re.sub(r"\\maketitle|\\tableofcontents", "", body.group(1) if body else source)
    text = re.sub(
        r"\\(?:sub)*(?:section|paragraph)\*?\s*\{((?:[^{}]|\{[^{}]*\})*)\}|\\chapter\*?\s*\{([^{}]*)\}", _heading, text
    )
    blocks = re.split(r"\n[ \t]*\n\s*", plain.latex_to_text(text))
    words = " ".join(plain.latex_to_text(title.group(1)).split()) if title else ""
    return words, "\n\n".join(line for block in blocks if (line := " ".join(block.split())))


def _heading(match: re.Match[str]) -> str:
    return f"\n\n{match.group(1) or match.group(2)}\n\n"


def read_ipynb(path: Path) -> tuple[str, str]:
    """(title, text) of a notebook: its Markdown as a document, its code cell by cell; outputs are left out."""
    try:
        notebook = json.loads(read_text(path))
        cells = notebook.get("cells") or [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
        pieces = [_cell(cell) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error
    return markup.markdown("\n\n".join(piece for piece in pieces if piece.strip()))


def _cell(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(source) if isinstance(source, list) else str(source)
    return (
        text if cell["cell_type"] in ("markdown", "heading", "raw") else f"~~~~\n{text}\n~~~~" if text.strip() else ""
    )


def read_epub(path: Path) -> tuple[str, str]:
    """(title, text) of a book: the chapters in reading order."""
    from bs4 import BeautifulSoup

    try:
        with zipfile.ZipFile(path) as book:
            if "META-INF/encryption.xml" in book.namelist() and b"EncryptedData" in book.read(
                "META-INF/encryption.xml"
            ):
                raise UsageError("encrypted EPUB", "its maker locked it; get a copy without DRM")
            container = BeautifulSoup(book.read("META-INF/container.xml"), "html.parser")
            rootfile = container.find("rootfile")
            if rootfile is None:
                raise KeyError("no rootfile in META-INF/container.xml")
            package = str(rootfile["full-path"])
            opf = BeautifulSoup(book.read(package), "html.parser")
            chapters = [_chapter(book, posixpath.dirname(package), href) for href in _spine(opf)]
    except UsageError:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise UsageError(f"corrupt EPUB: {type(error).__name__}: {error}") from error
    title = opf.find("dc:title")
    return " ".join(title.get_text().split()) if title else "", "\n\n".join(text for text in chapters if text)


def _spine(opf: Any) -> Iterator[str]:
    """The files of a book in reading order; its table of contents is no chapter."""
    items = {item.get("id"): item for item in opf.find_all("item")}
    for reference in opf.find_all("itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and "nav" not in (item.get("properties") or "").split():
            yield item["href"]


def _chapter(book: zipfile.ZipFile, folder: str, href: str) -> str:
    data = book.read(posixpath.normpath(posixpath.join(folder, unquote(href))))
    heading, text = markup.hypertext(decode(data)[0] or "")
    return "\n\n".join(part for part in (heading, text) if part)
