"""Word files to blocks: what is a heading, code or a table stands in their styles."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError
from .blocks import CODE, HEADING, TEXT, Block, table

_CODE = re.compile(r"code|preformatted|source|listing", re.I)


def read_docx(path: Path) -> tuple[str, list[Block]]:
    """(title, blocks): paragraphs and tables in their order; the title is the core property, else a Title or Heading 1."""
    from docx import Document as open_docx
    from docx.opc.constants import RELATIONSHIP_TYPE
    from docx.table import Table

    try:
        document = open_docx(str(path))
        blocks: list[Block] = []
        # where a file has no properties, as those of Google Docs, python-docx makes some: "Word Document"
        told = any(one.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES for one in document.part.package.rels.values())
        title, heading = (document.core_properties.title or "").strip() if told else "", -1
        for block in document.iter_inner_content():
            if isinstance(block, Table):
                blocks.append(table([cell.text for cell in row.cells] for row in block.rows))
                continue
            style = (block.style.name if block.style is not None else "") or ""
            kind = HEADING if style == "Title" or style.startswith("Heading") else CODE if _CODE.search(style) else TEXT
            if kind == CODE and blocks and blocks[-1].kind == CODE:
                blocks[-1] = Block(CODE, f"{blocks[-1].text}\n{block.text}")
                continue
            if heading < 0 and block.text.strip() and style in ("Title", "Heading 1"):
                heading = len(blocks)
            blocks.append(Block(kind, block.text if kind == CODE else " ".join(block.text.split())))
    except Exception as error:  # a broken archive or XML fails in zipfile, lxml or python-docx itself
        raise UsageError(f"corrupt docx: {type(error).__name__}: {error}") from error
    if heading >= 0 and title in ("", blocks[heading].text):
        title = blocks.pop(heading).text
    return title, blocks
