"""`past study`: a question is asked where its document is learnt, and nowhere else."""

from __future__ import annotations

import json

import pytest

from pastcli.study import data, load

STUDY = """
base = "{base}"
seeds = [0]
[source]
documents = "source"
questions = "asked.jsonl"
held_out = 0.0
[target]
documents = {target}
questions = "{questions}"
[arms.SFT]
"""


@pytest.fixture
def folders(workspace):
    """Two documents of the source, three of the target, and two questions on each."""
    names = {"source": ("quill", "dovetail"), "target": ("osk", "ashwing", "tessel")}
    rows = []
    for side, docs in names.items():
        (workspace / side).mkdir()
        for doc in docs:
            (workspace / side / f"{doc}.md").write_text(f"# {doc}\n\nThe {doc} was made in 1840 by seven people.\n")
            rows += [{"question": f"{what} of {doc}?", "answer": "1840", "doc": doc} for what in ("Year", "Makers")]
    (workspace / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    renamed = [{**row, "doc": f"no-{row['doc']}"} for row in rows]
    (workspace / "renamed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed))
    return workspace


def written(folder, base, target, questions="asked.jsonl"):
    (folder / "study.toml").write_text(STUDY.format(base=base, target=target, questions=questions))
    return folder / "study.toml"


def test_questions_on_documents_that_are_not_learnt_are_left_out_and_said(past, folders, tiny_model):
    """One file of questions for all parts: each part asks about its own documents."""
    written(folders, tiny_model, '["target/osk.md", "target/tessel.md"]')
    shown = past("study", "run", "study.toml", "--dry-run", "--json")
    plan = json.loads(shown.stdout)
    assert plan["target"] == {"documents with questions": 2, "questions": 4, "test": 4}
    assert plan["source"]["documents with questions"] == 2 and plan["source"]["questions"] == 4
    assert "6 of 10 questions are on documents that are not among" in shown.stderr


def test_questions_named_apart_from_the_files_are_all_taken_and_that_is_said(folders, tiny_model, tmp_path, capsys):
    study = load(written(folders, tiny_model, '"target"', "renamed.jsonl"))
    assert len(data.target(study, study.target, tmp_path / "made").questions) == 10
    assert "no question names one of the documents" in capsys.readouterr().err
