"""The page itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from .blocks import Block, Cell, Curve, Dots, Episodes, Folded, Node, Section, Shares, Table, Tree, Words
from .episodes import episodes
from .plots import curve, dots, figure, shares
from .text import attribute, line

MARK = '<meta name="generator" content="past runs report">'
"""By this a report is known for one that `past` wrote."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is fetched and no script runs, not even one that the page itself would hold."""

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def page(title: str, subtitle: str, sections: Sequence[Section]) -> Iterator[str]:
    """The HTML of a report, piece by piece."""
    yield (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
        f'<meta http-equiv="content-security-policy" content="{POLICY}">\n{MARK}\n'
        '<meta name=viewport content="width=device-width, initial-scale=1"><meta name=color-scheme content="light dark">\n'
        '<meta name=referrer content=no-referrer><link rel=icon href="data:,">\n'
        f"<title>{line(title)}</title>\n<style>\n{STYLE}</style></head>\n<body><header><h1>{line(title)}</h1><p class=soft>{line(subtitle, 600)}</p>"
    )
    links = (f'<a href="#part-{number}">{line(section.title)}</a>' for number, section in enumerate(sections))
    yield f"<nav aria-label=Contents>{''.join(links)}</nav></header><main>\n"
    for number, section in enumerate(sections):
        yield from _section(number, section)
    yield "</main></body></html>\n"


def _section(number: int, section: Section) -> Iterator[str]:
    yield f'<section id="part-{number}"><h2>{line(section.title)}</h2>'
    yield from _blocks(section.blocks)
    yield "</section>\n"


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    curves: list[str] = []
    for block in blocks:
        if isinstance(block, Curve):
            curves.append(curve(block))
            continue
        yield from _gathered(curves)
        yield from _block(block)
    yield from _gathered(curves)


def _gathered(curves: list[str]) -> Iterator[str]:
    """Curves that follow each other stand side by side."""
    if curves:
        yield f"<div class=curves>{''.join(curves)}</div>"
        curves.clear()


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield _table(block)
    elif isinstance(block, Dots):
        yield dots(block)
    elif isinstance(block, Shares):
        yield shares(block)
    elif isinstance(block, Words):
        yield "".join(f"<p>{line(text, 2000)}</p>" for text in block.lines)
    elif isinstance(block, Tree):
        yield f"<ul class=tree>{''.join(map(_node, block.nodes))}</ul>"
    elif isinstance(block, Episodes):
        yield from episodes(block)
    elif isinstance(block, Folded):
        yield f"<details class=folded><summary>{line(block.title)}</summary>"
        yield from _blocks(block.blocks)
        yield "</details>"


def _table(table: Table) -> str:
    """Columns of numbers stand on the right; on a narrow screen a row becomes a card whose cells say their column."""
    numbers = [all(row[n] is None or _number(row[n]) for row in table.rows) for n in range(len(table.columns))]
    kinds = [" class=num" if number else "" for number in numbers]
    head = "".join(f"<th scope=col{kind}>{line(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    body = []
    for row in table.rows:
        cells = (
            f'<td data-name="{attribute(name)}"{kind}>{_cell(value)}</td>'
            for name, kind, value in zip(table.columns, kinds, row, strict=True)
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<p class=soft>{line(table.caption, 1000)}</p>" if table.caption else ""
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{caption}"
    )


def _number(value: Cell) -> TypeGuard[float | int]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Cell) -> str:
    return figure(value) if value is None or _number(value) else line(str(value), 1000)


def _node(node: Node) -> str:
    leaves = "".join(f"<li class=leaf>{line(text)}</li>" for text in node.leaves)
    inner = leaves + "".join(map(_node, node.parents))
    return f"<li>{line(node.label)}{f'<ul>{inner}</ul>' if inner else ''}</li>"
