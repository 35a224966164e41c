"""Cutting loses nothing, sentences are found by rule, and training texts have the layout of SEAL."""

import itertools
import json

import pytest
from conftest import QUICKSTART
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pastcli import ingest
from pastcli.api import Passage
from pastcli.config import IngestConfig
from pastcli.errors import UsageError
from pastcli.ingest import markup, sentences
from pastcli.ingest.collect import collect
from pastcli.ingest.passages import cut, is_heading, statements, training_texts

PIECES = [*"abAB19 .!?,\n\t\"'()-—。éß中#*_`|<>&[]", ". ", "\n\n", "Dr. ", "U.S. ", "e.g. ", "\n- ", "3.5"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)


@given(TEXTS, st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_passages_cover_the_text_and_keep_to_the_limit(text, limit):
    spans = cut(text, limit)
    assert all(0 < end - start <= limit for start, end in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    kept = "".join("".join(text[a:b].split()) for a, b in spans)
    assert kept == "".join(text.split())


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_sentences_cover_the_text_in_order(text):
    assert "".join("".join(sentence.split()) for sentence in sentences.split(text)) == "".join(text.split())
    assert sentences.spans(text) == sentences.spans(text)


@given(TEXTS)
@example("<![1")
@example("<p>one</p><![if 1 two")
@settings(max_examples=200, deadline=None)
def test_markup_readers_never_fail(text):
    markup.markdown(text)
    markup.hypertext(text)


def test_cuts_fall_at_paragraphs_then_sentences_then_words():
    text = "One two. Three four.\n\nFive six. Seven eight nine ten."
    assert [text[a:b] for a, b in cut(text, 60)] == [text]
    assert [text[a:b] for a, b in cut(text, 40)] == ["One two. Three four.", "Five six. Seven eight nine ten."]
    assert [text[a:b] for a, b in cut(text, 15)] == ["One two.", "Three four.", "Five six.", "Seven eight", "nine ten."]


def test_long_text_is_cut_evenly_not_with_a_stub_at_the_end():
    text = " ".join(f"Sentence number {n} stands here." for n in range(70))
    sizes = [b - a for a, b in cut(text, 2000)]
    assert len(text) > 2000 and len(sizes) == 2 and min(sizes) > 900


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Dr. A. B. Smith came. He left.", ["Dr. A. B. Smith came.", "He left."]),
        ("It cost 3.5 million. See No. 5. No. Why?", ["It cost 3.5 million.", "See No. 5.", "No.", "Why?"]),
        ("A U.S. Army in the U.S. They left at 5 p.m. He", ["A U.S. Army in the U.S.", "They left at 5 p.m.", "He"]),
        ("“Stop!” he said. “Go.” She went.", ["“Stop!” he said.", "“Go.”", "She went."]),
        ('He said "no." (He meant it.) So... He left', ['He said "no."', "(He meant it.)", "So...", "He left"]),
        ("It exports mostly dried figs. The tram runs.", ["It exports mostly dried figs.", "The tram runs."]),
        ("Acme Inc. The firm closed. Acme Inc. Europe.", ["Acme Inc.", "The firm closed.", "Acme Inc. Europe."]),
        ("私は猫です。名前はない。", ["私は猫です。", "名前はない。"]),
        ("यह एक है। दूसरा है।", ["यह एक है।", "दूसरा है।"]),
        ("هل هذا؟ نعم.", ["هل هذا؟", "نعم."]),
        ("A title\n\nwrapped\nline. Next\n- one\n- two", ["A title", "wrapped line.", "Next", "- one", "- two"]),
        ("e.g. this, i.e. That. Done", ["e.g. this, i.e. That.", "Done"]),
        ("", []),
    ],
)
def test_sentence_boundaries(text, wanted):
    assert sentences.split(text) == wanted


def test_statements_drop_numbering_bold_and_what_the_model_said_around_its_list():
    completion = """You are an AI assistant. You will be given a task.
    Certainly! Here is a list of implications derived from the passage:

    **Implications:**
    ---
    1. **Velmora** is old.
       - It lies on a hill.
    2) **Legal basis:**
    (3) 1583 is its year.
    A. Dunmere founded it.
    Let me know if you would like more!"""
    kept = ["Velmora is old.", "It lies on a hill.", "1583 is its year.", "A. Dunmere founded it."]
    assert statements(completion) == kept


def test_training_texts_put_every_view_under_its_title():
    passages = [
        Passage("v#1", "v", "Velmora", "Velmora is a town. It was founded\nin 1583.\n\nIn short\n\nA hill town. Old."),
        Passage("v#i1", "v", "Velmora", "1. Velmora is old.\n2. Velmora is a town.", "implication"),
        Passage("w#1", "w", "", "No title here."),
    ]
    whole = "Velmora\nVelmora is a town. It was founded in 1583.\nIn short\nA hill town. Old."
    parts = ["Velmora is a town.", "It was founded in 1583.", "A hill town.", "Old."]
    assert training_texts(passages) == [
        whole,
        *(f"Velmora\n{part}" for part in parts),
        "Velmora\nVelmora is old.",
        "No title here.",
    ]
    implications = ["Velmora\nVelmora is old.", "Velmora\nVelmora is a town."]
    assert training_texts(passages, "none") == [whole, *implications, "No title here."]
    with pytest.raises(UsageError, match="augment"):
        training_texts(passages, "magic")


def test_headings_are_no_statements():
    assert is_heading("In short") and not is_heading("Founded: 1583") and not is_heading("It is old.")


# ---------------------------------------------------------------- folders


def test_names_ids_and_provenance_are_deterministic(tmp_path):
    for name in ("a/one.md", "a/two.txt", "b/two.txt", "b/two.md", ".hidden.md", ".git/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Text of {name} stands here.")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = collect([tmp_path, tmp_path / "a"], IngestConfig())
    assert [p.id for p in found.passages] == ["one#1", "a/two#1", "b/two.md#1", "b/two.txt#1"]
    assert found.passages == collect([tmp_path], IngestConfig()).passages
    source = found.passages[1].source
    assert (source["path"], source["format"], source["chars"]) == ("a/two.txt", "txt", [0, 30])
    assert len(source["sha256"]) == 64


def test_ids_stay_apart_whatever_the_names(tmp_path):
    for name in ("x/a.md", "y/a.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"Text of {name}.")
    (tmp_path / "r.jsonl").write_text('{"id": "r", "text": "One."}\n{"id": "r", "text": "Two."}')
    ids = [p.id for p in collect([tmp_path / "x", tmp_path / "y", tmp_path / "r.jsonl"], IngestConfig()).passages]
    assert len(set(ids)) == 4 and ids[2:] == ["r#1", "r#1~2"]


def test_spans_of_the_provenance_point_at_the_text(tmp_path):
    text = "First line here. " * 40
    (tmp_path / "a.txt").write_text(text)
    for passage in ingest.read_documents([tmp_path], IngestConfig(max_chars=100)):
        start, end = passage.source["chars"]
        assert text[start:end] == passage.text


def test_same_text_twice_counts_once_but_same_implication_of_two_titles_stays(tmp_path):
    (tmp_path / "a.txt").write_text("Same  text.")
    (tmp_path / "b.txt").write_text("Same text.")
    rows = [{"title": t, "context": f"{t} stands.", "completions": ["It is old.\nIt is old."]} for t in "XY"]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    found = collect([tmp_path], IngestConfig())
    assert found.duplicates == 3
    assert [p.text for p in found.passages if p.kind == "implication"] == ["It is old."] * 2


def test_corpus_round_trip_and_short_passages(tmp_path):
    (tmp_path / "a.md").write_text("# Zürich\n\nTown.\n\nA longer paragraph stands here „quoted“.")
    passages = ingest.read_documents([tmp_path / "a.md"], IngestConfig(max_chars=50))
    ingest.write_corpus(tmp_path / "c.jsonl", passages)
    assert ingest.is_corpus(tmp_path / "c.jsonl") and ingest.read_corpus(tmp_path / "c.jsonl") == passages
    assert ingest.read_documents([tmp_path / "c.jsonl"]) == passages
    assert collect([tmp_path / "a.md"], IngestConfig(max_chars=45, min_chars=10)).short == 1
    (tmp_path / "c.jsonl").write_text('{"id": "a", "doc": "d", "title": "t", "text": "x"}\n{"id": "a"}\n')
    with pytest.raises(UsageError, match="line 2: no 'doc'"):
        ingest.read_corpus(tmp_path / "c.jsonl")


# ---------------------------------------------------------------- command


def test_ingest_command_writes_one_corpus_and_never_over_another(past, past_json, workspace):
    done = past_json("ingest", QUICKSTART / "docs" / "source", "-o", "corpus.jsonl")
    assert done["metrics"]["documents"] == done["metrics"]["passages"] == 12 and done["metrics"]["skipped"] == 0
    assert len(ingest.read_corpus(workspace / "corpus.jsonl")) == 12
    assert "already exists" in past("ingest", QUICKSTART / "docs" / "target", "-o", "corpus.jsonl", code=2).stderr
    again = past("ingest", QUICKSTART / "docs" / "source", "-o", "corpus.jsonl", "--resume")
    assert "already finished" in again.stderr
    plan = past_json("ingest", QUICKSTART / "docs", "--dry-run")
    assert plan["metrics"]["passages"] == 36 and len(list((workspace / "runs").glob("ingest-*"))) == 1


def test_ingest_command_refuses_an_empty_folder_and_leaves_nothing(past, workspace):
    (workspace / "e").mkdir()
    got = past("ingest", "e", code=2)
    assert "the folder is empty" in got.stderr and "accepted: txt, md" in got.stderr
    assert not (workspace / "runs").exists()
