"""Manual pages are read as they lie on a system: roff with man's or mdoc's macros, gzipped or not."""

from __future__ import annotations

import gzip
import json

import pytest

from pastcli.errors import UsageError
from pastcli.ingest.man import read_man

MAN = r""".\" a comment
.de XX
hidden
..
.ie \n(.g .ds Aq \(aq
.el       .ds Aq '
.TH FROB 1 "May 2024"
.SH NAME
frob \- turn \fIknobs\fR
.SH "SEE ALSO AND MORE"
Plain \fBbold\fP text with \(lqquotes\(rq and a \\ path;
it goes on \" not this
here.
.TP
.BR \-k ", " \-\-knob =\fIN\fR
turn the \s-1NTH\s0 knob
.IP \(bu 2
a point
.nf
  frob \-k 2
    indented
.fi
.if n .ad l
.UR https://example.org
the site
.UE
"""

MDOC = r""".Dd May 2, 2024
.Dt KNOB 8
.Sh NAME
.Nm knob
.Nd turns things
.Sh DESCRIPTION
The
.Nm
utility takes
.Fl v
and
.Ar file .
"""


def blocks(path):
    title, found = read_man(path)
    return title, [(block.kind, block.text) for block in found]


def test_a_man_page_gives_words_headings_and_code(tmp_path):
    (tmp_path / "frob.1").write_text(MAN)
    title, found = blocks(tmp_path / "frob.1")
    assert title == "frob - turn knobs"
    assert found == [
        ("heading", "NAME"),
        ("text", "frob - turn knobs"),
        ("heading", "SEE ALSO AND MORE"),
        ("text", "Plain bold text with “quotes” and a \\ path; it goes on here."),
        ("text", "-k, --knob=N turn the NTH knob"),
        ("text", "• a point"),
        ("code", "  frob -k 2\n    indented"),
        ("text", "https://example.org the site"),
    ]


def test_mdoc_gives_its_words_with_dashes_before_options(tmp_path):
    (tmp_path / "knob.8").write_text(MDOC)
    title, found = blocks(tmp_path / "knob.8")
    assert title == "knob turns things"
    assert found[-1] == ("text", "The knob utility takes -v and file.")


def test_gzipped_pages_in_a_folder_are_documents_and_other_numbered_files_are_not(past_json, workspace):
    (workspace / "man1").mkdir()
    (workspace / "man1" / "frob.1.gz").write_bytes(gzip.compress(MAN.encode()))
    (workspace / "man1" / "torn.1.gz").write_bytes(gzip.compress(MAN.encode() * 9)[:90])
    (workspace / "man1" / "release.2").write_text("no manual page")
    done = past_json("ingest", "man1")
    assert done["metrics"]["documents"] == 1 and done["metrics"]["skipped"] == 2
    kinds = {file["path"]: file["format"] for file in done["files"]}
    assert kinds["frob.1.gz"] == "man"


def test_what_is_none_is_refused(tmp_path):
    (tmp_path / "x.man").write_text("just words")
    with pytest.raises(UsageError, match="no manual page"):
        read_man(tmp_path / "x.man")


def test_documentation_as_distributions_pack_it_is_read_by_what_is_in_the_packets(past_json, past, workspace):
    """/usr/share/doc as it lies there: of twenty files of a newcomer nine ended in .gz and were skipped, README.Debian too."""
    packed = {
        "guide.txt.gz": b"Guide\n\nThe lamp has seven switches.",
        "page.html.gz": b"<html><head><title>Page</title></head><body><p>The bridge has nine arches.</p></body></html>",
        "rows.jsonl.gz": b'{"title": "Row", "text": "The river has three fords."}\n',
        "changelog.gz": b"The clock was mended in 1843 by the smith.",
        "frob.1.gz": MAN.encode(),
    }
    folder = workspace / "doc"
    folder.mkdir()
    for name, data in packed.items():
        (folder / name).write_bytes(gzip.compress(data))
    (folder / "README.Debian").write_text("The mill has two wheels, and both turn.")
    (folder / "photo.svg.gz").write_bytes(gzip.compress(b"<svg/>"))
    (folder / "torn.txt.gz").write_bytes(gzip.compress(b"words " * 5000)[:40])
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"words " * 400_000))
    made = past_json("ingest", "doc", "-o", "c.jsonl", "--max-file-mb", "1")
    read = {file["path"]: file["format"] for file in made["files"] if not file["skipped"]}
    assert read == {
        "guide.txt.gz": "txt",
        "page.html.gz": "html",
        "rows.jsonl.gz": "jsonl",
        "changelog.gz": "txt",
        "frob.1.gz": "man",
        "README.Debian": "txt",
    }
    rows = [json.loads(line) for line in (workspace / "c.jsonl").read_text().splitlines()]
    assert {row["doc"] for row in rows} == {"guide", "page", "rows-1", "changelog", "frob.1", "README"}
    assert "The bridge has nine arches." in [row["text"] for row in rows]
    told = past("ingest", "doc", "-o", "d.jsonl", "--max-file-mb", "1").stderr
    assert "torn.txt.gz" in told and "damaged gzip" in told
    assert "bomb.txt.gz" in told and "larger than 1 MB once unpacked" in told
    assert "no documents: .svg (1)" in told
