"""Every format gives its title and its whole text; every broken file is skipped with a reason."""

import json
import os

import pytest
from documents import pdf_bytes

from pastcli import ingest
from pastcli.config import IngestConfig
from pastcli.errors import UsageError
from pastcli.ingest import markup
from pastcli.ingest.blocks import Block
from pastcli.ingest.collect import collect
from pastcli.ingest.decode import decode
from pastcli.ingest.readers import READERS, format_of


def read(path):
    return READERS[format_of(path)](path)


def only(path):
    [document] = read(path)
    return document


# ---------------------------------------------------------------- formats


def test_markdown_loses_its_syntax_and_nothing_else():
    title, found = markup.markdown(
        "---\nauthor: x\n---\n# The **Dovetail** pump #\n\n"
        "It lifts *water* from `deep_wells` (see [the plan](http://x.y/a_(b)), 2 * 3 * 4\nand snake_case_name).\n\n"
        "Parts\n-----\n\n* an oak handle\n  - a [leather][1] valve\n1. a __brass__ barrel\n\n"
        "| metal | kg |\n|:--|--:|\n| brass | 3.5 |\n\n> quoted &amp; kept\n\n"
        "```py\na = b * c\n# d\n```\n<!-- hidden -->\n\n[1]: http://z\n"
    )
    assert title == "The Dovetail pump"
    assert [(block.kind, block.text) for block in found] == [
        ("text", "It lifts water from deep_wells (see the plan, 2 * 3 * 4 and snake_case_name)."),
        ("heading", "Parts"),
        ("text", "an oak handle"),
        ("text", "a leather valve"),
        ("text", "a brass barrel"),
        ("table", "metal | kg\nbrass | 3.5"),
        ("text", "quoted & kept"),
        ("code", "a = b * c\n# d"),
    ]


def test_front_matter_names_the_document_and_a_lower_heading_does_not():
    assert markup.markdown('---\ntitle: "Velmora"\n---\n# Velmora\n\nA town.') == (
        "Velmora",
        [Block("text", "A town.")],
    )
    section = [Block("heading", "Only a section"), Block("text", "Text.")]
    assert markup.markdown("## Only a section\n\nText.") == ("", section)


def test_html_keeps_blocks_apart_and_drops_scripts():
    title, found = markup.hypertext(
        "<html><head><title>Site - Velmora</title><style>p{}</style></head><body><nav>Home</nav><h1>Velmora</h1>"
        "<p>A <b>hill</b>\ntown.</p><script>x()</script><ul><li>One</li><li>Two &amp; three</li></ul>"
        "<table><tr><th>a</th><td>1</td></tr></table><!-- no --></body></html>"
    )
    assert title == "Velmora"
    assert [block.text for block in found] == ["A hill town.", "One", "Two & three", "a | 1"]


def test_text_file_takes_a_short_first_line_as_title(tmp_path):
    (tmp_path / "a.txt").write_text("Port Quill\n\nIt lies on the coast.\n")
    (tmp_path / "b.txt").write_text("It lies on the coast.\n\nSecond paragraph.\n")
    assert (only(tmp_path / "a.txt").title, only(tmp_path / "a.txt").text) == ("Port Quill", "It lies on the coast.\n")
    assert only(tmp_path / "b.txt").title == ""


def test_pdf_text_title_and_hyphens(tmp_path):
    lines = ["The light-", "house stands on Cutler Bay.", "It is of basalt."]
    (tmp_path / "a.pdf").write_bytes(pdf_bytes(lines, "Port Quill"))
    document = only(tmp_path / "a.pdf")
    assert document.title == "Port Quill"
    assert document.text.split() == "The lighthouse stands on Cutler Bay. It is of basalt.".split()
    [passage] = ingest.read_documents([tmp_path / "a.pdf"])
    assert passage.source["pages"] == [1, 1]


def test_a_docx_without_properties_is_not_called_word_document(tmp_path):
    """Google Docs writes none; python-docx makes some up, and every training text began with "Word Document"."""
    from docx import Document
    from docx.opc.constants import RELATIONSHIP_TYPE

    document = Document()
    document.add_heading("Harbour rules", 1)
    document.add_paragraph("Ships wait at buoy 7.")
    links = document.part.package.rels
    for name in [name for name, one in links.items() if one.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES]:
        del links[name]
    document.save(tmp_path / "rules.docx")
    assert only(tmp_path / "rules.docx").title == "Harbour rules"


def test_docx_keeps_tables_in_their_place(tmp_path):
    from docx import Document

    document = Document()
    document.add_heading("Kestrin lamp", level=1)
    document.add_paragraph("It needs no battery.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "weight", "2 kg"
    document.add_paragraph("It was made in 1902.")
    document.save(tmp_path / "lamp.docx")
    got = only(tmp_path / "lamp.docx")
    assert got.title == "Kestrin lamp"
    assert got.text.split("\n\n") == ["It needs no battery.", "weight | 2 kg", "It was made in 1902."]


SQUAD = {
    "title": "Velmora",
    "context": "Velmora was founded in 1583.",
    "questions": [{"question": "When?", "answer": "1583"}],
    "completions": ["Certainly! A list:\n1. **Velmora** is old.\n2. It dates from 1583.", "1. More."],
}


def test_squad_like_json_gives_passages_implications_and_questions(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([SQUAD]))
    passages = ingest.read_documents([tmp_path / "s.json"])
    assert [(p.kind, p.text) for p in passages] == [
        ("passage", "Velmora was founded in 1583."),
        ("implication", "Velmora is old."),
        ("implication", "It dates from 1583."),
    ]
    assert len(ingest.read_documents([tmp_path / "s.json"], IngestConfig(implication_sets=2))) == 4
    [question] = ingest.read_questions(tmp_path / "s.json")
    assert question.answers == ("1583",)
    assert question.doc == passages[0].doc == "s-1"


def test_official_squad_nesting_gives_the_same(tmp_path):
    qas = [
        {"id": "q7", "question": "When?", "answers": [{"text": "1583"}, {"text": "in 1583"}, {"text": "1583"}]},
        {"id": "q8", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    data = {"data": [{"title": "Velmora", "paragraphs": [{"context": "Founded in 1583.", "qas": qas}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(data))
    [passage] = ingest.read_documents([tmp_path / "dev.json"])
    first, second = ingest.read_questions(tmp_path / "dev.json")
    assert (passage.title, first.id, first.answers, second.answers) == ("Velmora", "q7", ("1583", "in 1583"), ())


def test_squad_titles_are_read_as_words_and_other_titles_left_alone(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([{"title": "Jehovah%27s_Witnesses", "context": "A passage."}]))
    (tmp_path / "t.jsonl").write_text(json.dumps({"title": "snake_case%20", "text": "A passage."}))
    assert ingest.read_documents([tmp_path / "s.json"])[0].title == "Jehovah's Witnesses"
    assert ingest.read_documents([tmp_path / "t.jsonl"])[0].title == "snake_case%20"


def test_loogle_jsonl_gives_documents_and_questions(tmp_path):
    row = {"input": "A long document.", "title": "T", "qa_pairs": "[{'S': 's', 'Q': 'Where?', 'A': 'There.'}]"}
    (tmp_path / "l.jsonl").write_text(json.dumps(row))
    assert [p.text for p in ingest.read_documents([tmp_path / "l.jsonl"])] == ["A long document."]
    [question] = ingest.read_questions(tmp_path / "l.jsonl")
    assert (question.question, question.answers) == ("Where?", ("There.",))


@pytest.mark.parametrize("text", ["Die Straße führt über Köln.", "Café déjà vu à la carte, señor.", "naïve"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_short_western_texts(text, encoding):
    assert decode(text.encode(encoding))[0] == text


def test_long_cyrillic_text_in_its_own_code_page():
    text = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 5
    assert decode(text.encode("cp1251"))[0] == text


# ---------------------------------------------------------------- sniffing


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"id": "a", "doc": "d", "title": "t", "text": "x", "kind": "passage", "source": {}}, "corpus"),
        ({"prompt": "p", "completion": "c"}, "pairs"),
        ({"question": "q", "answer": "a"}, "questions"),
        ({"title": "t", "text": "x"}, "documents"),
        ({"title": "t", "context": "x", "question": "q"}, "documents"),
    ],
)
def test_kind_of_a_jsonl_file_is_told_by_its_first_row(tmp_path, row, kind):
    (tmp_path / "x.jsonl").write_text("\n" + json.dumps(row) + "\nnot json\n")
    assert ingest.sniff(tmp_path / "x.jsonl") == kind
    assert ingest.sniff(tmp_path) == "documents"


def test_format_is_told_by_content_where_the_suffix_says_nothing(tmp_path):
    for name, data in {"a": b"%PDF-1.4", "b.xyz": b"<!DOCTYPE html><p>", "README": "Zürich".encode()}.items():
        (tmp_path / name).write_bytes(data)
    assert [format_of(tmp_path / name) for name in ("a", "b.xyz", "README")] == ["pdf", "html", "txt"]


# ---------------------------------------------------------------- mishaps


@pytest.fixture
def bad_files(tmp_path):
    """name -> what its reason must say."""
    from pypdf import PdfReader, PdfWriter

    folder = tmp_path / "bad"
    folder.mkdir()
    good = pdf_bytes(["Secret text."])
    (folder / "zero.pdf").touch()
    (folder / "torn.pdf").write_bytes(good[:200])
    (folder / "scan.pdf").write_bytes(pdf_bytes([]))
    (tmp_path / "good.pdf").write_bytes(good)
    writer = PdfWriter(clone_from=PdfReader(tmp_path / "good.pdf"))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(folder / "locked.pdf")
    (folder / "torn.docx").write_bytes(b"PK\x03\x04 broken")
    (folder / "blob.bin").write_bytes(os.urandom(500))
    (folder / "blob.txt").write_bytes(b"a\0b" * 99)
    (folder / "empty.md").write_text("\n \n")
    (folder / "rows.jsonl").write_text('{"text": \n[]\n')
    (folder / "pairs.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "dangling.txt").symlink_to(tmp_path / "nowhere")
    return folder, {
        "zero.pdf": "empty file",
        "torn.pdf": "corrupt PDF",
        "scan.pdf": "without a text layer",
        "locked.pdf": "encrypted",
        "torn.docx": "corrupt docx",
        "blob.bin": "no reader for .bin",
        "blob.txt": "binary",
        "empty.md": "no text",
        "rows.jsonl": "line 1",
        "pairs.jsonl": "has no text (keys: prompt, completion)",
        "deep.json": "not valid JSON",
        "dangling.txt": "No such file",
    }


def test_bad_files_among_good_ones_are_skipped_with_their_reason(bad_files, capsys):
    folder, reasons = bad_files
    (folder / "good.txt").write_text("One good sentence.")
    [passage] = ingest.read_documents([folder])
    assert passage.text == "One good sentence."
    found = {file.path: file.skipped for file in collect([folder], IngestConfig()).skipped}
    assert found.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in found[name], (name, found[name])
    warnings = capsys.readouterr().err
    assert "skipped 10: " in warnings and "torn.docx" in warnings
    assert "1 file(s) that are no documents: .bin (1)" in warnings


def test_strict_raises_for_the_first_bad_file_and_nothing_left_is_an_error(bad_files):
    folder, _ = bad_files
    with pytest.raises(UsageError, match="blob.bin"):
        collect([folder], IngestConfig(), strict=True)
    with pytest.raises(UsageError, match="nothing readable") as caught:
        collect([folder], IngestConfig())
    assert "pdf (with text)" in caught.value.hint


def test_empty_folder_missing_path_and_too_large_file(tmp_path):
    (tmp_path / "e").mkdir()
    with pytest.raises(UsageError, match="folder is empty"):
        collect([tmp_path / "e"], IngestConfig())
    with pytest.raises(UsageError, match="no file or folder"):
        collect([tmp_path / "nope"], IngestConfig())
    with open(tmp_path / "big.txt", "wb") as file:
        file.truncate(2_000_000)
    with pytest.raises(UsageError, match="larger than 1 MB"):
        collect([tmp_path / "big.txt"], IngestConfig(max_file_mb=1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_skipped(tmp_path):
    (tmp_path / "a.txt").write_text("Fine.")
    (tmp_path / "b.txt").write_text("Hidden.")
    (tmp_path / "b.txt").chmod(0)
    assert collect([tmp_path], IngestConfig()).skipped[0].skipped == "Permission denied"


def test_questions_files_say_what_is_wrong_and_where(tmp_path):
    path = tmp_path / "q.jsonl"
    for text, says in (("", "no questions"), ('{"q": 1}', "record 1"), ("[1", "line 1"), ("5", "line 1")):
        path.write_text(text)
        with pytest.raises(UsageError, match=says):
            ingest.read_questions(path)
    path.write_text(f'{{"question": "x?", "answer": {"[" * 150}{"]" * 150}}}')
    with pytest.raises(UsageError, match="nested more than 100 deep"):
        ingest.read_questions(path)
    with pytest.raises(UsageError, match="no questions file"):
        ingest.read_questions(tmp_path / "none.jsonl")
    rows = [{"id": "a", "question": "x?", "answers": ["1", "2"]}, {"id": "a", "question": "y?", "answer": 7}]
    path.write_text("\n".join(map(json.dumps, rows)))
    first, second = ingest.read_questions(path)
    assert (first.id, first.answers, second.id, second.answers) == ("a", ("1", "2"), "a~2", ("7",))


def test_a_passage_and_its_questions_share_one_document_in_every_layout_of_squad(tmp_path):
    """Else the questions on one passage would count as independent, and intervals would be too narrow."""
    from pastcli.ingest import read_documents, read_questions

    def qa(name, question, answer):
        return {"id": name, "question": question, "answers": [{"text": answer, "answer_start": 0}]}

    pairs = [qa("q1", "Who?", "Ann"), qa("q2", "Where?", "Rome")]
    texts = ("Ann lives in Rome.", "Ben lives in Bonn.")
    nested = {"data": [{"title": "T", "paragraphs": [{"context": text, "qas": pairs} for text in texts]}]}
    records = [{"title": "T", "context": text, "questions": pairs} for text in texts]
    named = [{"id": f"p{n}", **record} for n, record in enumerate(records)]
    flat = [
        {
            "id": f"{n}-{pair['id']}",
            "title": "T",
            "context": text,
            "question": pair["question"],
            "answers": {"text": ["Ann"]},
        }
        for n, text in enumerate(texts)
        for pair in pairs
    ]
    for name, layout in (("nested", nested), ("records", records), ("named", named), ("flat", flat)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(layout))
        docs = [question.doc for question in read_questions(path)]
        assert len(docs) == 4 and docs[0] == docs[1] != docs[2] == docs[3], name
        assert {passage.doc for passage in read_documents([path])} == set(docs), name
        assert len({question.id for question in read_questions(path)}) == 4
    lines = tmp_path / "flat.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in flat))
    assert {question.doc for question in read_questions(lines)} == {p.doc for p in read_documents([lines])}


# ---------------------------------------------------------------- manuals, books and tables

RST = """
=============
The tide mill
=============

:Author: somebody

Built in 1790, it *grinds* with ``two wheels`` (see :ref:`the plan <plan>` and :func:`mill.turn`).

.. note:: Open the sluice first.

.. since-release:: 2.1
   The second wheel.

.. py:function:: turn(wheel, speed=3)

   Turns a wheel.

   :param wheel: which one

- an oak beam
- a stone

======  ====
metal   kg
======  ====
brass   3.5
======  ====

.. code-block:: python

   turn(1)
   stop()

.. toctree::

   other
"""


def test_restructuredtext_keeps_what_sphinx_alone_knows(tmp_path):
    (tmp_path / "m.rst").write_text(RST)
    document = only(tmp_path / "m.rst")
    blocks = document.text.split("\n\n")
    assert document.title == "The tide mill" and "The tide mill" not in blocks
    assert "Built in 1790, it grinds with two wheels (see the plan and mill.turn)." in blocks
    for block in (
        "Open the sluice first.",
        "2.1 The second wheel.",
        "turn(wheel, speed=3)",
        "Turns a wheel.",
        "an oak beam",
    ):
        assert block in blocks, blocks
    assert "metal | kg\nbrass | 3.5" in blocks and "turn(1)\nstop()" in blocks
    assert "toctree" not in document.text and "::" not in document.text and ":param" not in document.text


def test_latex_becomes_words_with_its_formulas(tmp_path):
    (tmp_path / "p.tex").write_text(
        r"""\documentclass{article}
\title{On \emph{tide} mills}
% a secret remark
\begin{document}\maketitle
\section{Wheels}
They turn at $v = 3$~m/s, 5\% faster. See \cite{x} and na\"ive \textbf{Dunmere}.

\begin{itemize}\item oak \item brass\end{itemize}
\end{document}
after"""
    )
    document = only(tmp_path / "p.tex")
    assert document.title == "On tide mills"
    blocks = document.text.split("\n\n")
    assert (
        blocks[0] == "Wheels" and "They turn at $v = 3$ m/s, 5% faster." in blocks[1] and "naïve Dunmere" in blocks[1]
    )
    assert "oak" in blocks[2] and "secret" not in document.text and "after" not in document.text


def test_notebooks_give_text_and_code_without_outputs(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Tide mill\n", "\n", "It *grinds*."]},
        {"cell_type": "code", "source": "turn(1)  # wheel", "outputs": [{"text": "noise"}]},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    document = only(tmp_path / "n.ipynb")
    assert (document.title, document.text) == ("Tide mill", "It grinds.\n\nturn(1)  # wheel")


def epub(path, chapters, **more):
    import zipfile

    items = "".join(
        f'<item id="c{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>',
        "O/p.opf": f"<package><metadata><dc:title>The  Mill</dc:title></metadata><manifest>{items}"
        f'<item id="nav" href="nav.xhtml" properties="nav"/></manifest><spine><itemref idref="nav"/>{spine}</spine></package>',
        "O/nav.xhtml": "<p>Contents</p>",
        **{f"O/{n}.xhtml": text for n, text in enumerate(chapters)},
        **more,
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, text in files.items():
            book.writestr(name, text)


def test_epub_gives_its_chapters_in_reading_order(tmp_path):
    epub(
        tmp_path / "b.epub",
        ["<h1>Two</h1><p>Second.</p>", "<html><body><h1>One</h1><p>First &amp; best.</p></body></html>"],
    )
    document = only(tmp_path / "b.epub")
    assert document.title == "The Mill"
    assert document.text.split("\n\n") == ["One", "First & best.", "Two", "Second."]
    epub(tmp_path / "locked.epub", [], **{"META-INF/encryption.xml": "<EncryptedData/>"})
    (tmp_path / "torn.epub").write_bytes((tmp_path / "b.epub").read_bytes()[:300])
    for name, says in (("locked.epub", "encrypted"), ("torn.epub", "corrupt EPUB")):
        with pytest.raises(UsageError, match=says):
            read(tmp_path / name)


def test_what_is_xml_by_its_first_line_is_read_without_a_word_to_programmers(past, workspace):
    declared = '<?xml version="1.0" encoding="utf-8"?>\n'
    (workspace / "docs").mkdir()
    container = declared + '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'
    epub(
        workspace / "docs" / "b.epub",
        [f"{declared}<html><body><h1>One</h1><p>The mill was built in 1583.</p></body></html>"],
        **{"META-INF/container.xml": container},
    )
    (workspace / "docs" / "page.xhtml").write_text(f"{declared}<html><body><p>The pump lifts water.</p></body></html>")
    (workspace / "docs" / "name.html").write_text("https://example.org/pump.html")
    done = past("ingest", "docs", "-o", "c.jsonl")
    assert "Warning" not in done.stderr and "BeautifulSoup" not in done.stderr
    assert "3 passages" in done.stderr


def test_tables_with_a_text_column_are_documents_and_pairs_in_them_pairs(tmp_path):
    (tmp_path / "a.csv").write_text('title;text\nMill;"It grinds;\nslowly."\nTower;It stands.\n')
    (tmp_path / "b.tsv").write_text("title\ttext\nMill\tIt is old.\ntoo\tmany\tfields\n")
    (tmp_path / "c.csv").write_text("prompt,completion\nWhich?, fox\n")
    found = collect([tmp_path / "a.csv", tmp_path / "b.tsv"], IngestConfig())
    assert [(p.title, p.text) for p in found.passages] == [
        ("Mill", "It grinds;\nslowly."),
        ("Tower", "It stands."),
        ("Mill", "It is old."),
    ]
    assert "more fields than the header" in found.files[1].faults[0][1]
    assert ingest.sniff(tmp_path / "c.csv") == "pairs"


def test_parquet_gives_documents_and_questions(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [{"title": "Mill", "text": "It grinds.", "year": None}, {"title": "Tower", "text": "It stands.", "year": 1}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert [p.text for p in ingest.read_documents([tmp_path / "d.parquet"])] == ["It grinds.", "It stands."]
    asked = [{"question": "When?", "answers": {"text": ["1790"], "answer_start": [3]}}]
    parquet.write_table(pyarrow.Table.from_pylist(asked), tmp_path / "q.parquet")
    assert ingest.read_questions(tmp_path / "q.parquet")[0].answers == ("1790",)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(UsageError, match="not a readable Parquet file"):
        ingest.read_questions(tmp_path / "torn.parquet")


@pytest.mark.parametrize("name", ["m.rst", "p.tex", "n.ipynb", "b.epub", "x.csv", "x.parquet"])
def test_garbage_under_any_name_is_skipped_with_a_reason(tmp_path, name):
    (tmp_path / "good.txt").write_text("One good sentence.")
    for number, data in enumerate((b"", b"\0\1\2" * 50, os.urandom(300), b"{" * 9000, b"\\" * 500 + b"{" * 50)):
        (tmp_path / f"{number}{name}").write_bytes(data)
    found = collect([tmp_path], IngestConfig())
    assert "One good sentence." in [p.text for p in found.passages]
    assert all(file.skipped or file.passages for file in found.files)
