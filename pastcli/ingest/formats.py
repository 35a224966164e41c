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
from .blocks import CODE, HEADING, TEXT, Block
from .decode import decode, read_text
from .markup import Titled

_EXTRA = "pip install 'pastcli[readers]'"


def read_rst(path: Path) -> Titled:
    """(title, blocks) of a reStructuredText file. Directives and roles of Sphinx that docutils does not know keep their text."""
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
    return title, found[1:] if title and found and found[0].text == title else found


def read_tex(path: Path) -> Titled:
    """(title, blocks) of a LaTeX file: the document's body as words, formulas as they are written, verbatim parts as code."""
    try:
        from pylatexenc.latex2text import LatexNodes2Text
    except ImportError as error:
        raise PastError("LaTeX needs pylatexenc", _EXTRA) from error
    code: list[str] = []

    def keep(match: re.Match[str]) -> str:
        code.append(match.group(2).strip("\n").rstrip())
        return f"\n\nCODEBLOCK{len(code) - 1}END\n\n"

    source = re.sub(
        r"\\begin\{(verbatim|lstlisting|minted)\*?\}(?:\[[^\]]*\])?(?:\{\w+\})?(.*?)\\end\{\1\*?\}",
        keep,
        read_text(path),
        flags=re.S,
    )
    source = re.sub(r"(?<!\\)%.*", "", source)
    title = re.search(r"\\title\s*(?:\[[^\]]*\])?\s*\{((?:[^{}]|\{[^{}]*\})*)\}", source)
    body = re.search(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", source, re.S)
    plain = LatexNodes2Text(math_mode="verbatim", keep_comments=False, strict_latex_spaces=False)
    text = re.sub(r"\\maketitle|\\tableofcontents", "", body.group(1) if body else source)
    text = re.sub(
        r"\\(?:sub)*(?:section|paragraph)\*?\s*\{((?:[^{}]|\{[^{}]*\})*)\}|\\chapter\*?\s*\{([^{}]*)\}", _heading, text
    )
    blocks = re.split(r"\n[ \t]*\n\s*", plain.latex_to_text(text))
    words = " ".join(plain.latex_to_text(title.group(1)).split()) if title else ""
    return words, [_of_tex(line, code) for block in blocks if (line := " ".join(block.split()))]


def _heading(match: re.Match[str]) -> str:
    return f"\n\nHEADINGLINE {match.group(1) or match.group(2)}\n\n"


def _of_tex(line: str, code: list[str]) -> Block:
    """What a line was that went through the words of LaTeX under a name of ours."""
    kept = re.fullmatch(r"CODEBLOCK(\d+)END", line)
    if kept and int(kept.group(1)) < len(code):
        return Block(CODE, code[int(kept.group(1))])
    heading = line.removeprefix("HEADINGLINE ")
    return Block(TEXT if heading == line else HEADING, heading)


def read_ipynb(path: Path) -> Titled:
    """(title, blocks) of a notebook: its Markdown as a document, its code cell by cell; outputs are left out."""
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


def read_epub(path: Path) -> Titled:
    """(title, blocks) of a book: the chapters in reading order."""
    try:
        with zipfile.ZipFile(path) as book:
            if "META-INF/encryption.xml" in book.namelist() and b"EncryptedData" in book.read(
                "META-INF/encryption.xml"
            ):
                raise UsageError("encrypted EPUB", "its maker locked it; get a copy without DRM")
            container = markup.parsed(book.read("META-INF/container.xml"))
            rootfile = container.find("rootfile")
            if rootfile is None:
                raise KeyError("no rootfile in META-INF/container.xml")
            package = str(rootfile["full-path"])
            opf = markup.parsed(book.read(package))
            chapters = [_chapter(book, posixpath.dirname(package), href) for href in _spine(opf)]
    except UsageError:
        raise
    except (zipfile.BadZipFile, KeyError, TypeError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise UsageError(f"corrupt EPUB: {type(error).__name__}: {error}") from error
    title = opf.find("dc:title")
    return " ".join(title.get_text().split()) if title else "", [block for chapter in chapters for block in chapter]


def _spine(opf: Any) -> Iterator[str]:
    """The files of a book in reading order; its table of contents is no chapter."""
    items = {item.get("id"): item for item in opf.find_all("item")}
    for reference in opf.find_all("itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and "nav" not in (item.get("properties") or "").split():
            yield item["href"]


def _chapter(book: zipfile.ZipFile, folder: str, href: str) -> list[Block]:
    data = book.read(posixpath.normpath(posixpath.join(folder, unquote(href))))
    heading, found = markup.hypertext(decode(data)[0] or "")
    return [*([Block(HEADING, heading)] if heading else []), *found]
