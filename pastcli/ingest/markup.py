"""Markdown and HTML to blocks. markdown-it-py (which rich brings anyway) parses Markdown to the CommonMark specification, and
Beautiful Soup HTML: what is code, a table or a heading is theirs to tell; here is only what becomes of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .blocks import CODE, HEADING, TEXT, Block, table

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

Titled = tuple[str, list[Block]]

_FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]:?")
_TASK = re.compile(r"^\[[ xX]\][ \t]+")


def markdown(text: str) -> Titled:
    """(title, blocks) of a Markdown document: front matter's title, else the first level-one heading, if it comes first.

    The title's own heading is not repeated. Wrapped lines of a paragraph are joined, list items are paragraphs.
    """
    title, text = _front_matter(text)
    found, first = _blocks(text)
    if not title and first is not None:
        title = found.pop(first).text
    elif title and found and found[0].text == title:
        found.pop(0)
    return title, found


def _front_matter(text: str) -> tuple[str, str]:
    match = re.match(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", text, re.S)
    if not match:
        return "", text
    title = re.search(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", match.group(1), re.M | re.I)
    return (title.group(1).strip("\"'") if title else ""), text[match.end() :]


def _blocks(text: str) -> tuple[list[Block], int | None]:
    """The blocks in order, and the index of the first level-one heading if it is the first heading."""
    from markdown_it import MarkdownIt

    found: list[Block] = []
    rows: list[list[str]] = []
    first: int | None = None
    inside = ""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        if token.type in ("fence", "code_block"):
            found.append(Block(CODE, token.content.rstrip()))
        elif token.type == "html_block":
            found += hypertext(token.content, title=False)[1]
        elif token.type == "heading_open":
            inside = token.tag
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "table_close":
            found.append(table(rows))
            rows = []
        elif token.type == "inline" and rows:
            rows[-1].append(_inline(token.children or []))
        elif token.type == "inline":
            line = _inline(token.children or [])
            if inside == "h1" and first is None and line and not any(block.kind == HEADING for block in found):
                first = len(found)
            found.append(Block(HEADING if inside else TEXT, line if inside else _TASK.sub("", line)))
            inside = ""
    return [block for block in found if block.text.strip()], first


def _inline(tokens: Sequence[Any]) -> str:
    """The words of a line: text and code as they are, of links and images what is shown of them."""
    pieces = []
    for token in tokens:
        if token.type == "text":
            pieces.append(_FOOTNOTE.sub("", token.content))
        elif token.type == "code_inline":
            pieces.append(token.content)
        elif token.type == "image":
            pieces.append(_inline(token.children or []))
        elif token.type in ("softbreak", "hardbreak"):
            pieces.append(" ")
    return " ".join("".join(pieces).split())


_SKIPPED = frozenset("script style noscript template head nav svg iframe form button".split())
_BLOCK_TAGS = frozenset(
    """p div section article main header footer aside ul ol li dl dt dd blockquote figure figcaption address hr details
    summary caption body html""".split()
)
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))


def parsed(text: str | bytes) -> BeautifulSoup:
    """HTML, or XML of the same look, as Beautiful Soup's tree. Its warnings are for programmers and stay unsaid: that XHTML
    is read as HTML (meant: it is, by browsers too), and that a short text resembles a file name or an address."""
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, XMLParsedAsHTMLWarning
    from bs4.builder import ParserRejectedMarkup

    with warnings.catch_warnings():
        for kind in (XMLParsedAsHTMLWarning, MarkupResemblesLocatorWarning):
            warnings.simplefilter("ignore", kind)
        try:
            return BeautifulSoup(text, "html.parser")
        except ParserRejectedMarkup:  # a declaration that is none, such as `<![1`: text, as in browsers
            plain = text if isinstance(text, str) else text.decode("utf-8", "replace")
            return BeautifulSoup(plain.replace("<!", "&lt;!"), "html.parser")


def hypertext(text: str, title: bool = True) -> Titled:
    """(title, blocks) of an HTML document: its first h1, else its <title>. The h1 is not repeated in the blocks."""
    soup = parsed(text)
    titles = [node.get_text(" ", strip=True) for node in (soup.find("h1"), soup.find("title")) if node is not None]
    found = " ".join(next((found for found in titles if found), "").split()) if title else ""
    if title and soup.h1 is not None and titles[0]:
        soup.h1.decompose()
    return found, [block for block in _of_html(soup) if block.text.strip()]


def _of_html(root: Any) -> Iterator[Block]:
    """Blocks in order; line breaks of the source are spaces, but for <pre>. Without recursion: pages nest as deep as they like."""
    from bs4.element import NavigableString, PreformattedString, Tag

    line: list[str] = []
    stack: list[Any] = [iter(root.children)]
    flush = object()
    while stack:
        node = next(stack[-1], flush) if not isinstance(stack[-1], Tag) else flush
        if node is flush:
            ended = stack.pop()
            if not isinstance(ended, Tag):
                continue
        if node is flush or (isinstance(node, Tag) and _breaks(node)):
            yield Block(TEXT, " ".join("".join(line).split()))
            line.clear()
        if isinstance(node, Tag):
            if node.name == "pre":
                yield Block(CODE, node.get_text().strip("\n").rstrip())
            elif node.name == "table":
                yield table([_cells(row) for row in node.find_all("tr")])
            elif node.name in _HEADINGS:
                yield Block(HEADING, " ".join(node.get_text(" ").split()))
            elif node.name == "br":
                line.append(" ")
            elif node.name not in _SKIPPED:
                stack += [node, iter(node.children)] if _breaks(node) else [iter(node.children)]
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            line.append(str(node))
    yield Block(TEXT, " ".join("".join(line).split()))


def _breaks(node: Any) -> bool:
    return node.name in _BLOCK_TAGS or node.name in _HEADINGS or node.name in ("pre", "table")


def _cells(row: Any) -> list[str]:
    return [cell.get_text(" ") for cell in row.find_all(["td", "th"], recursive=False)]
