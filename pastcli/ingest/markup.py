"""Markup to plain text: blocks end up separated by one empty line, headings and cells stay as text."""

from __future__ import annotations

import html
import re

_FENCE = re.compile(r"^ {0,3}(```+|~~~+).*$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_RULE = re.compile(r"^ {0,3}([-*_])[ \t]*(\1[ \t]*){2,}$")
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?")
_QUOTE = re.compile(r"^ {0,3}(?:> ?)+")
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_REFERENCE = re.compile(r"^ {0,3}\[(?!\^)[^\]]+\]:[ \t]+\S+.*$")
_COMMENT = re.compile(r"<!--.*?-->", re.S)

_INLINE = (
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)"), r"\1"),
    (re.compile(r"\[([^\]^][^\]]*)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"\[\^[^\]]+\]:?"), ""),
    (re.compile(r"<(https?://[^>\s]+|[^>\s@]+@[^>\s]+)>"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_(?=[^\s_])([^_]+?)(?<=\S)_(?![\w_])"), r"\1"),
    (re.compile(r"~~(?=\S)(.+?)(?<=\S)~~"), r"\1"),
)
_CODE = re.compile(r"(`+)(.+?)(?<!`)\1(?!`)")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~-])")


def inline(text: str) -> str:
    """One line of Markdown without its inline syntax; what stands between backticks is left as it is."""
    kept: list[str] = []

    def keep(literal: str) -> str:
        kept.append(literal)
        return f"\0{len(kept) - 1}\0"

    text = _CODE.sub(lambda match: keep(match.group(2).strip()), text.replace("\0", ""))
    text = _ESCAPE.sub(lambda match: keep(match.group(1)), text)
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    text = html.unescape(text)
    return re.sub("\0(\\d+)\0", lambda match: kept[int(match.group(1))], text).strip()


def markdown(text: str) -> tuple[str, str]:
    """(title, text) of a Markdown document: front matter's title, else the first level-one heading.

    The title's own heading is not repeated in the text. Wrapped lines of a paragraph are joined, list items
    are paragraphs, table rows `a | b` lines, code is kept line by line.
    """
    title, text = _front_matter(text)
    blocks, first = _blocks(_COMMENT.sub("", text))
    if not title and first is not None:
        title = blocks.pop(first)
    elif title and blocks and blocks[0] == title:
        blocks.pop(0)
    return title, "\n\n".join(block for block in blocks if block)


def _front_matter(text: str) -> tuple[str, str]:
    match = re.match(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", text, re.S)
    if not match:
        return "", text
    title = re.search(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", match.group(1), re.M | re.I)
    return (title.group(1).strip("\"'") if title else ""), text[match.end() :]


def _blocks(text: str) -> tuple[list[str], int | None]:
    """The blocks in order, and the index of the first level-one heading if it is the first heading."""
    blocks: list[str] = []
    lines: list[str] = []
    first: int | None = None
    fence = ""
    headings = 0

    def close(joint: str = " ") -> None:
        if lines:
            blocks.append(joint.join(lines))
            lines.clear()

    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark.group(1).startswith(fence):
                fence = ""
                close("\n")
            else:
                lines.append(line.rstrip())
            continue
        line = _QUOTE.sub("", line)
        heading = _HEADING.match(line)
        if mark:
            close()
            fence = mark.group(1)
        elif heading or (lines and len(lines) == 1 and _UNDERLINE.match(line) and "|" not in lines[0]):
            level, content = (
                (len(heading.group(1)), inline(heading.group(2)))
                if heading
                else (1 if line.strip()[0] == "=" else 2, lines.pop())
            )
            close()
            headings += 1
            if level == 1 and headings == 1 and content:
                first = len(blocks)
            blocks.append(content)
        elif not line.strip() or _RULE.match(line) or _REFERENCE.match(line):
            close()
        elif _TABLE_RULE.match(line) and "|" in line:
            continue
        elif line.lstrip().startswith("|"):
            close()
            blocks.append(" | ".join(inline(cell) for cell in line.strip().strip("|").split("|")))
        elif _ITEM.match(line):
            close()
            lines.append(inline(_ITEM.sub("", line)))
        else:
            lines.append(inline(line))
    close("\n" if fence else " ")
    return blocks, first


_SKIPPED = ("script", "style", "noscript", "template", "head", "nav", "svg", "iframe", "form", "button")
_BLOCK_TAGS = (
    "p div section article main header footer aside h1 h2 h3 h4 h5 h6 ul ol li dl dt dd blockquote pre table tr "
    "figure figcaption address hr details summary caption"
).split()


def hypertext(text: str) -> tuple[str, str]:
    """(title, text) of an HTML document: its first h1, else its <title>. The h1 is not repeated in the text."""
    from bs4 import BeautifulSoup, Comment

    soup = BeautifulSoup(text, "html.parser")
    titles = [node.get_text(" ", strip=True) for node in (soup.find("h1"), soup.find("title")) if node is not None]
    title = " ".join(next((found for found in titles if found), "").split())
    if soup.h1 is not None and titles[0]:
        soup.h1.decompose()
    for node in soup(_SKIPPED):
        node.decompose()
    for comment in soup.find_all(string=lambda piece: isinstance(piece, Comment)):
        comment.extract()
    for node in soup("br"):
        node.replace_with(" ")
    for node in soup("tr"):
        cells = [" ".join(cell.get_text(" ").split()) for cell in node.find_all(["td", "th"], recursive=False)]
        node.string = " | ".join(cells)
    for node in soup(_BLOCK_TAGS):
        node.insert_before("\n\n")
        node.insert_after("\n\n")
    paragraphs = re.split(r"\n[ \t]*\n", _joined(soup))
    return title, "\n\n".join(text for part in paragraphs if (text := " ".join(part.split())))


def _joined(soup: object) -> str:
    """All text, with line breaks of the source as spaces: only block tags break lines."""
    pieces = [str(piece) for piece in soup.strings]  # type: ignore[attr-defined]
    return "".join(piece if piece == "\n\n" else re.sub(r"\s*\n\s*", " ", piece) for piece in pieces)
