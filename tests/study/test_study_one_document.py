"""`past study init` on a single manual: its own parts become source, target and dev, and what that cannot show is said."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from documents import pdf_bytes
from test_study_init import rows

CHAPTERS = ("Filling", "Draining", "Valves", "Seals", "Wheels", "Gauges", "Repairs", "Storage")
WORDS = ("brown", "lazy", "quick", "wooden", "iron", "small")


def sentences(chapter):
    number = CHAPTERS.index(chapter)
    for n in range(18):
        yield f"The {WORDS[n % 6]} {chapter.lower()} lever {n} of the bridge was founded in {1500 + 20 * number + n}."
        yield f"Whoever moves it waits for {number + n + 5} seconds over the river before the dog jumps."


def markdown():
    return "# The bridge\n\n" + "\n\n".join(f"## {name}\n\n" + "\n\n".join(sentences(name)) for name in CHAPTERS) + "\n"


def document(kind):
    if kind == "md":
        return markdown().encode()
    if kind == "txt":
        return "\n\n".join(" ".join(sentences(name)) for name in CHAPTERS).encode()
    return pdf_bytes([line for name in CHAPTERS for line in (name, *sentences(name))], "The bridge", 37)


@pytest.mark.parametrize(
    ("kind", "named"), [("md", "manual 01 Filling"), ("pdf", "manual 01 from page 1"), ("txt", "manual 01")]
)
def test_one_manual_is_divided_into_parts_of_its_own(past_json, past, workspace, tiny_model, kind, named):
    (workspace / f"manual.{kind}").write_bytes(document(kind))
    made = past_json("study", "init", f"manual.{kind}", "--base", tiny_model)
    parts = {name: one["documents"] for name, one in made["parts"].items()}
    every = sorted(name for names in parts.values() for name in names)
    assert all(parts.values()) and len(set(every)) == len(every) == 12 and every[0] == named
    folder = workspace / "manual-study"
    texts = {part: " ".join(row["text"] for row in rows(folder / f"{part}.jsonl")) for part in ("source", "target")}
    for part, names in (("source", parts["source"]), ("target", parts["target"] + parts["dev"])):
        assert {row["doc"] for row in rows(folder / f"{part}_questions.jsonl")} == set(names)
    years = {part: {word for word in text.split() if word.strip(".").isdigit()} for part, text in texts.items()}
    assert len(texts["source"]) > 3000 and years["source"] - years["target"]
    assert made["parts_of"] == "manual" and "12 of 12 parts of manual" in made["judgement"]
    assert "says nothing of a skill on others" in made["judgement"]
    assert 'title = "manual: parts of one document"' in (folder / "manual.toml").read_text()
    planned = json.loads(past("study", "run", "--dry-run", "--json").stdout)
    assert planned["target"]["dev"] == made["parts"]["dev"]["questions"] > 0


def test_parts_begin_at_headings_where_there_are_any(past_json, workspace, tiny_model):
    (workspace / "manual.md").write_text(markdown())
    made = past_json("study", "init", "manual.md", "--base", tiny_model, "--source", "*Valves*", "--source", "*Seals")
    assert {name.split(" ", 2)[2] for name in made["parts"]["source"]["documents"]} == {"Valves", "Seals"}
    corpus = rows(workspace / "manual-study" / "source.jsonl")
    assert sum(row["text"].startswith(("Valves", "Seals")) for row in corpus) == 2
    named = {row["doc"].split(" ", 2)[2] for row in rows(workspace / "manual-study" / "target.jsonl")}
    assert named == set(CHAPTERS) - {"Valves", "Seals"}


def test_a_short_one_is_cut_into_shorter_passages(past_json, workspace, tiny_model):
    (workspace / "page.txt").write_text(" ".join(sentences("Filling")))
    made = past_json("study", "init", "page.txt", "--base", tiny_model)
    assert all(one["documents"] for one in made["parts"].values())
    assert all(len(row["text"]) <= 500 for row in rows(workspace / "page-study" / "source.jsonl"))


def test_one_that_is_too_short_says_how_much_is_needed(past, workspace, tiny_model):
    (workspace / "note.txt").write_text(" ".join(list(sentences("Filling"))[:12]))
    done = past("study", "init", "note.txt", "--base", tiny_model, code=2)
    assert "note is too short to be divided" in done.stderr and "about 2,000 characters are needed" in done.stderr
    assert not (workspace / "note-study").exists() and not list((workspace / "runs").glob("study*"))


def test_little_time_takes_fewer_parts_and_two_documents_stay_whole(past_json, workspace, tiny_model):
    (workspace / "manual.md").write_text(markdown())
    whole = past_json("study", "init", "manual.md", "--base", tiny_model, "--dry-run")
    made = past_json("study", "init", "manual.md", "--base", tiny_model, "--minutes", whole["seconds_about"] / 75)
    assert made["documents"] < made["of_documents"] == 12
    (workspace / "other.md").write_text(markdown().replace("bridge", "mill"))
    made = past_json("study", "init", "manual.md", "other.md", "--base", tiny_model, "-o", "two")
    assert not made["parts_of"] and made["of_documents"] == 2


def body(kind, name, text):
    if kind == "pdf":
        return pdf_bytes([name, *text], name, 12)
    if kind == "html":
        return ("<html><body>" + "".join(f"<p>{one}</p>" for one in text) + "</body></html>").encode()
    return f"{name}\n\n{' '.join(text)}\n".encode()


def test_folders_of_pdfs_nested_and_mixed(past_json, past, workspace, tiny_model):
    """What lies deeper is found, each under a name of its own; what is no document is counted and named."""
    kinds = ("pdf", "md", "txt", "pdf", "html", "pdf", "md", "pdf")
    for number, (name, kind) in enumerate(zip(CHAPTERS, kinds, strict=True)):
        folder = workspace / "manuals" / ("" if number % 2 else f"series {number // 4}/old")
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / (f"m{number}.{kind}" if number else f"manual.{kind}")
        file.write_bytes(body(kind, name, list(sentences(name))))
    (workspace / "manuals" / "manual.pdf").write_bytes(pdf_bytes(list(sentences("Filling"))[5:], "Again", 12))
    (workspace / "manuals" / "scan.pdf").write_bytes(pdf_bytes([]))
    (workspace / "manuals" / "plan.png").write_bytes(b"\x89PNG")
    done = past("study", "init", "manuals", "--base", tiny_model, "--dry-run")
    assert "scan.pdf: PDF without a text layer" in done.stderr and ".png (1)" in done.stderr
    made = past_json("study", "init", "manuals", "--base", tiny_model)
    names = {name for one in made["parts"].values() for name in one["documents"]}
    assert len(names) == 9 and {"manual.pdf", "series 0/old/manual", "m7"} <= names and not made["parts_of"]
    corpus = [row for part in ("source", "target") for row in rows(workspace / "manuals-study" / f"{part}.jsonl")]
    (first,) = [row for row in corpus if row["id"] == "m3#1"]
    assert first["title"] == "Seals" and "seals lever 0 of the bridge was founded in 1560." in first["text"]
    assert max(row["source"]["pages"][1] for row in corpus if row["doc"] == "m3") == 4


def test_a_manual_in_chinese_has_questions_too(past_json, workspace, tiny_model):
    """A figure stands right beside the characters: no space says where a word ends."""
    text = "".join(f"第{n}号水泵于{1800 + n}年在柏林制造，每分钟输送{n + 300}升油。" for n in range(200))
    (workspace / "zh.txt").write_text(text, encoding="utf-8")
    made = past_json("study", "init", "zh.txt", "--base", tiny_model)
    asked = rows(workspace / "zh-study" / "target_questions.jsonl")
    assert made["parts"]["dev"]["questions"] and {len(row["answer"]) for row in asked} == {4}
    assert all("于____年在柏林制造" in row["question"] for row in asked)


def test_a_manual_on_standard_input(past, workspace, tiny_model):
    (workspace / "manual.md").write_text(markdown())
    words = [sys.executable, "-m", "pastcli", "study", "init", "-", "--base", str(tiny_model)]
    with open("manual.md") as text:
        done = subprocess.run(words, stdin=text, capture_output=True, text=True)
    assert done.returncode == 0 and "next: past study run stdin-study/stdin.toml" in done.stderr, done.stderr
