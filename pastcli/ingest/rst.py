"""What docutils parsed, as paragraphs; and docutils made to keep what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.statemachine import StringList

from .blocks import CODE, HEADING, TEXT, Block, table

_CODE = ("code", "code-block", "sourcecode", "parsed-literal", "literalinclude", "doctest", "testcode", "prompt")
_SILENT = ("toctree", "image", "figure", "index", "include", "raw", "contents", "highlight", "currentmodule", "module")


class Unknown(Directive):
    """Any directive that docutils lacks: its argument (a signature, a version) and its content are text."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[Any]:
        name = self.name.rsplit(":", 1)[-1]
        if name in _SILENT or name.startswith("auto"):
            return []
        lines = [line for line in self.content if not line.lstrip().startswith(":") or line.strip().count(":") < 2]
        if name in _CODE:
            text = "\n".join(self.content)
            return [nodes.literal_block(text, text)]
        made: list[Any] = [nodes.paragraph("", " ".join(self.arguments))] if self.arguments else []
        box = nodes.container()
        self.state.nested_parse(StringList(lines or list(self.content)), self.content_offset, box)
        return [*made, *box.children]


def _unknown_role(name: str, raw: str, text: str, *_: Any, **__: Any) -> tuple[list[Any], list[Any]]:
    """A role that docutils lacks (`:ref:`, `:func:`): what is shown of it, without its target."""
    shown = text.split(" <", 1)[0] if text.rstrip().endswith(">") else text.lstrip("~!")
    return [nodes.inline(raw, shown)], []


@contextmanager
def lenient() -> Iterator[None]:
    """Let unknown directives and roles pass for the time of one document; docutils keeps them in module globals."""
    known, spoken = directives.directive, roles.role

    def directive(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
        found, messages = known(name, language, document)
        return (Unknown, []) if found is None or name.lower() in (*_CODE, *_SILENT) else (found, messages)

    def role(name: str, language: Any, line: int, reporter: Any) -> tuple[Any, list[Any]]:
        found, messages = spoken(name, language, line, reporter)
        return (found, messages) if found is not None else (_unknown_role, [])

    directives.directive, roles.role = directive, role
    try:
        yield
    finally:
        directives.directive, roles.role = known, spoken


_SKIPPED = (nodes.comment, nodes.system_message, nodes.substitution_definition, nodes.target, nodes.raw, nodes.docinfo)


def paragraphs(node: Any) -> list[Block]:
    """The blocks of a document in order: headings, paragraphs, list items, tables, code as it is."""
    if isinstance(node, _SKIPPED):
        return []
    if isinstance(node, nodes.FixedTextElement):
        return [Block(CODE, node.astext())]
    if isinstance(node, nodes.table):
        return [table([cell.astext() for cell in row.children] for row in node.findall(nodes.row))]
    if isinstance(node, nodes.TextElement):
        kind = HEADING if isinstance(node, (nodes.title, nodes.subtitle)) else TEXT
        return [Block(kind, text)] if (text := " ".join(node.astext().split())) else []
    return [block for child in node.children for block in paragraphs(child)]
