"""Headings stay with their sentences, code keeps its lines, table rows stay rows, and what runs through a PDF goes."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ingest_readers import only

from pastcli import ingest
from pastcli.config import IngestConfig
from pastcli.ingest import blocks, markup, pdf
from pastcli.ingest.blocks import CODE, HEADING, TABLE, TEXT, Block
from pastcli.ingest.collect import passages_of
from pastcli.ingest.passages import cut, training_texts
from pastcli.ingest.readers import of_blocks

GUIDE = """# The tide mill

It was built in 1790. It grinds barley.

## What it needs in a year of drought

The sluice is opened by hand. Two men are enough.

```python
def turn(wheel):
    if wheel.wet:

        return "grinds"
```

| part | weight |
|------|--------|
| oak beam | 40 kg |
| brass pin | 2 kg |

### Who mends it?

Ann Dunmere mends the wheel.
"""
SECTION = "What it needs in a year of drought"
FUNCTION = 'def turn(wheel):\n    if wheel.wet:\n\n        return "grinds"'


def read(tmp_path, name, text, **settings):
    (tmp_path / name).write_text(text)
    return ingest.read_documents([tmp_path / name], IngestConfig(**settings))


def test_what_sft_learns_of_a_guide(tmp_path):
    """A sentence with its heading, code with its indentation, a row with its header; all of it under the title."""
    texts = training_texts(read(tmp_path, "guide.md", GUIDE))
    title = "The tide mill"
    assert texts[1:] == [
        f"{title}\nIt was built in 1790.",
        f"{title}\nIt grinds barley.",
        f"{title}\n{SECTION}\nThe sluice is opened by hand.",
        f"{title}\n{SECTION}\nTwo men are enough.",
        f"{title}\n{SECTION}\n{FUNCTION}",
        f"{title}\n{SECTION}\npart | weight\noak beam | 40 kg",
        f"{title}\n{SECTION}\npart | weight\nbrass pin | 2 kg",
        f"{title}\nWho mends it?\nAnn Dunmere mends the wheel.",
    ]
    assert texts[0] == (
        f"{title}\nIt was built in 1790. It grinds barley.\n{SECTION}\nThe sluice is opened by hand. Two men are enough.\n"
        f"{FUNCTION}\npart | weight\noak beam | 40 kg\nbrass pin | 2 kg\nWho mends it?\nAnn Dunmere mends the wheel."
    )


@pytest.mark.parametrize("limit", [20, 40, 60, 90, 130, 200, 400])
def test_pieces_of_a_guide_know_where_they_stand(tmp_path, limit):
    passages = read(tmp_path, "guide.md", GUIDE, max_chars=limit)
    lines = {line for passage in passages for line in passage.text.splitlines()}
    assert '        return "grinds"' in lines or limit < 30, "indentation, also where a piece begins"
    assert limit < 40 or {"oak beam | 40 kg", "brass pin | 2 kg", "    if wheel.wet:"} <= lines
    for passage in passages:
        found = blocks.of_source(passage.source, passage.text)
        assert limit < 90 or not (found and found[-1].kind == HEADING and found[-1].end == len(passage.text)), passage
    texts = training_texts(passages)
    wanted = f"The tide mill\n{SECTION}\npart | weight\nbrass pin | 2 kg"
    assert limit < 40 or wanted in texts, "a row knows its header and heading wherever the table was cut"
    assert limit < 40 or all(text.startswith("The tide mill\n") for text in texts)
    assert limit < 60 or f"The tide mill\n{SECTION}\nTwo men are enough." in texts


def test_html_docx_rst_and_notebooks_know_the_same(tmp_path):
    html = (
        f"<h1>The tide mill</h1><p>It grinds.</p><h2>{SECTION}</h2><p>By <b>hand</b>.</p><pre><code>{FUNCTION}</code></pre>"
        "<table><tr><th>part</th><th>weight</th></tr><tr><td>oak\nbeam</td><td>40 kg</td></tr></table>"
    )
    (tmp_path / "a.html").write_text(html)
    cells = [
        {"cell_type": "markdown", "source": f"# The tide mill\n\nIt grinds.\n\n## {SECTION}\n\nBy *hand*."},
        {"cell_type": "code", "source": FUNCTION},
        {"cell_type": "markdown", "source": "| part | weight |\n|--|--|\n| oak beam | 40 kg |"},
    ]
    (tmp_path / "b.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    code = "\n".join(f"   {line}" for line in FUNCTION.splitlines())
    rst = (
        f"The tide mill\n=============\n\nIt grinds.\n\n{SECTION}\n{'-' * 40}\n\nBy *hand*.\n\n::\n\n{code}\n\n"
        "========  ======\npart      weight\n========  ======\noak beam  40 kg\n========  ======\n"
    )
    (tmp_path / "c.rst").write_text(rst)
    from docx import Document as open_docx

    document = open_docx()
    document.add_heading("The tide mill", level=1)
    document.add_paragraph("It grinds.")
    document.add_heading(SECTION, level=2)
    document.add_paragraph("By hand.")
    document.styles.add_style("Source Code", 1)
    for line in FUNCTION.splitlines():
        document.add_paragraph(line, style="Source Code")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("part", "weight"), ("oak beam", "40 kg"))):
        for cell, text in zip(row.cells, cells):
            cell.text = text
    document.save(tmp_path / "d.docx")
    tex = (
        f"\\title{{The tide mill}}\\begin{{document}}It grinds.\n\n\\subsection{{{SECTION}}}\nBy \\emph{{hand}}.\n"
        f"\\begin{{verbatim}}\n{FUNCTION}\n\\end{{verbatim}}\n\\end{{document}}"
    )
    (tmp_path / "e.tex").write_text(tex)
    wanted = [(TEXT, "It grinds."), (HEADING, SECTION), (TEXT, "By hand."), (CODE, FUNCTION)]
    last = (TABLE, "part | weight\noak beam | 40 kg")
    for name in ("a.html", "b.ipynb", "c.rst", "d.docx", "e.tex"):
        document = only(tmp_path / name)
        found = [(one.kind, document.text[one.start : one.end]) for one in blocks.spans(document.text, document.marks)]
        assert document.title == "The tide mill", name
        assert found == (wanted if name == "e.tex" else [*wanted, last]), name


def test_an_edited_corpus_is_plain_text_again(tmp_path):
    """Marks that do not fit the text any more say nothing of it."""
    from dataclasses import replace

    [passage] = read(tmp_path, "guide.md", GUIDE)
    ingest.write_corpus(tmp_path / "corpus.jsonl", [passage])
    [again] = ingest.read_corpus(tmp_path / "corpus.jsonl")
    assert training_texts([again]) == training_texts([passage])
    edited = replace(passage, text="Now " + passage.text)
    assert blocks.of_source(edited.source, edited.text) == ()
    for broken in ([["code", 0, 10**6]], [["code", 5, 2]], [["code"]], "code", [[None, "a", {}]]):
        assert blocks.of_source({"blocks": broken}, passage.text) == ()
    assert training_texts([edited])


# ---------------------------------------------------------------- properties

WORDS = st.text(alphabet="abc .é#|`-\t", min_size=1, max_size=30)
LINES = st.lists(st.text(alphabet="xy (){}=.# ", min_size=1, max_size=25), min_size=1, max_size=6).map("\n".join)
ROWS = st.lists(
    st.lists(st.text(alphabet="ab 1", min_size=1, max_size=8), min_size=2, max_size=3), min_size=1, max_size=5
)
BLOCKS = st.lists(
    st.one_of(
        st.builds(Block, st.sampled_from([TEXT, HEADING]), WORDS),
        st.builds(Block, st.just(CODE), LINES),
        ROWS.map(blocks.table),
    ),
    max_size=10,
)


@given(BLOCKS, st.integers(1, 120))
@settings(max_examples=300, deadline=None)
def test_cutting_blocks_loses_nothing_and_keeps_marks_true(found, limit):
    document = of_blocks("T", found)[0]
    spans = cut(document.text, limit, document.marks)
    assert all(0 < end - start <= limit for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    kept = "".join("".join(document.text[a:b].split()) for a, b in spans)
    assert kept == "".join(document.text.split())
    for passage in passages_of(document, "d", {}, IngestConfig(max_chars=max(20, limit))):
        marks = blocks.of_source(passage.source, passage.text)
        assert [[m.kind, m.start, m.end] for m in marks] == passage.source.get("blocks", []), "marks fit their passage"


@given(BLOCKS)
@settings(max_examples=200, deadline=None)
def test_blocks_come_back_as_they_went_in(found):
    document = of_blocks("", found)[0]
    again = [(one.kind, document.text[one.start : one.end]) for one in blocks.spans(document.text, document.marks)]
    marked = [(block.kind, block.text.strip("\n") if block.kind == CODE else block.text.strip()) for block in found]
    assert [one for one in again if one[0] != TEXT] == [one for one in marked if one[0] != TEXT and one[1].strip()]
    assert "".join("".join(text.split()) for _, text in again) == "".join("".join(text.split()) for _, text in marked)


@given(BLOCKS, st.sampled_from([20, 50, 2000]))
@settings(max_examples=200, deadline=None)
def test_no_training_text_is_without_its_title_and_code_lines_stay_whole(found, limit):
    document = of_blocks("The title", found)[0]
    passages = passages_of(document, "d", {}, IngestConfig(max_chars=limit))
    texts = training_texts(passages)
    assert all(text.startswith("The title\n") for text in texts)
    lines = {line for text in texts for line in text.splitlines()}
    for block in found:
        if block.kind == CODE and limit == 2000 and block.text.strip():
            assert set(filter(str.strip, block.text.splitlines())) <= lines
        if block.kind == TABLE and limit == 2000:
            assert set(filter(None, block.text.splitlines())) <= lines


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_page_can_be_read(text):
    for _, found in (markup.markdown(text), markup.hypertext(text)):
        of_blocks("", found)


# ---------------------------------------------------------------- PDF

PAGE = "Annual report 2024\nChapter {chapter}\n\n{word} mills grind\nin {year}, and {word} ones\n{word}ly.\n{foot}"
WORD = ("old", "tall", "wet", "red", "slow", "late", "new", "thin")


def test_running_headers_and_page_numbers_go_and_nothing_else():
    texts = [
        PAGE.format(chapter=1 + n // 4, word=WORD[n], year=1800 + 7 * n * n, foot=f"- {n + 6} of 20 -")
        for n in range(8)
    ]
    made = pdf.without_running_lines(texts)
    assert made[3] == "red mills grind\nin 1863, and red ones\nredly."
    assert all("Annual report" not in text and "Chapter" not in text and " of 20" not in text for text in made)


def test_left_and_right_headers_and_bare_numbers():
    texts = [f"{'The mill' if n % 2 else 'by Ann Dunmere'}\nText {chr(97 + n)} is here.\n{n + 1}" for n in range(6)]
    assert pdf.without_running_lines(texts) == [f"Text {chr(97 + n)} is here." for n in range(6)]
    assert pdf.without_running_lines(["One text.\n1", "Another text.\n2"]) == ["One text.", "Another text."]


@pytest.mark.parametrize(
    "texts",
    [
        ["The same line.\nA.", "The same line.\nB."],  # two pages prove nothing
        ["Built in 1790\nA.", "Burnt in 1791\nB.", "Sold in 1902\nC."],
        ["It cost 5 marks.\nA.", "It cost 9 marks.\nB.", "It cost 2 marks.\nC."],  # numbers that do not count the pages
        ["One page only.\n1"],
        # a sheet on each page: the number of its crane counts the pages, its figures are its own
        ["Crane 1 lifts 35 tonnes\nA.", "Crane 2 lifts 9 tonnes\nB.", "Crane 3 lifts 88 tonnes\nC."],
        [""],
        ["40\n12", "7\n3"],
    ],
)
def test_what_only_looks_like_a_running_line_stays(texts):
    assert pdf.without_running_lines(texts) == texts


@given(
    st.lists(
        st.lists(st.text(alphabet="abcdef", min_size=3, max_size=9), min_size=1, max_size=6), min_size=1, max_size=8
    )
)
@settings(max_examples=200, deadline=None)
def test_lines_that_stand_on_one_page_only_are_never_lost(pages):
    unique = [[f"{line} p{'x' * n} l{'y' * at}" for at, line in enumerate(lines)] for n, lines in enumerate(pages)]
    texts = [f"Running title\n{chr(10).join(lines)}\n{n + 1}" for n, lines in enumerate(unique)]
    made = "\n".join(pdf.without_running_lines(texts)).splitlines()
    assert all(line in made for lines in unique for line in lines)
    assert len(pages) < 3 or "Running title" not in made
