"""Which documents and questions a study uses: dev, held out, shared titles, kinds of texts, layouts of records."""

from __future__ import annotations

import json

import pytest
from study_tools import a_study, records


def test_dev_held_out_and_shared_titles(workspace, tiny_model):
    from pastcli.study import data, strata

    both = records("Velmora", 8)
    (workspace / "source.json").write_text(json.dumps(both))
    (workspace / "target.json").write_text(json.dumps(both[:2] + records("Harsk", 6)))
    study = a_study(workspace, tiny_model)
    source = data.source(study, study.source, workspace / "data")
    target = data.target(study, study.target, workspace / "data")
    assert len(source.documents) == 1 and not source.titles & target.titles and len(source.titles) == 6
    seen = {json.loads(line)["id"] for line in source.practice.read_text().splitlines()}
    held = {name for name, part in source.where.items() if part == "held-out"}
    assert len(held) == 6 and not held & seen and len(seen) == 18
    assert {name for name, part in source.where.items() if part == "practised"} <= seen
    dev = {q.doc for q in target.questions if target.where[q.id] == "dev"}
    test = {q.doc for q in target.questions if target.where[q.id] == "test"}
    assert len(dev) == 2 and len(test) == 6 and not dev & test
    found = strata.strata(study, target, [source])
    assert {one["template"] for one in found} == {"seen"}, "the same questions were practised"


def test_source_and_target_share_no_document_whatever_it_is_called(past, workspace, tiny_model):
    """A passage of the target under another title was practised on; the same folder as source and target was taken as two."""
    from pastcli.study import data

    target, source = records("Harsk", 4), records("Velmora", 3)
    twin = {**target[1], "title": "By another name", "context": target[1]["context"].replace(" ", "\n", 1)}
    (workspace / "target.json").write_text(json.dumps(target))
    (workspace / "source.json").write_text(json.dumps([*source, twin]))
    study = a_study(workspace, tiny_model)
    assert data.source(study, study.source, workspace / "data").titles == {one["title"] for one in source}
    together = a_study(workspace, tiny_model, **{"held_out = 0.25": "held_out = 0.25\napart = false"})
    assert "By another name" in data.source(together, together.source, workspace / "data").titles
    for folder, part in (("source", source), ("target", target)):
        (workspace / folder).mkdir()
        for one in part:
            (workspace / folder / f"{one['title']}.txt").write_text(one["context"])
        rows = [{"doc": one["title"], **row} for one in part for row in one["questions"]]
        (workspace / f"{folder}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = {f'"{name}.json"': f'"{name}"\nquestions = "{name}.jsonl"' for name in ("source", "target")}
    a_study(workspace, tiny_model, **folders)
    past("study", "run", "study.toml", "--dry-run")
    (workspace / "source" / "Velmora 1.txt").write_text(target[2]["context"])
    refused = past("study", "run", "study.toml", "--dry-run", code=2).stderr
    assert (
        "a document of the source source is learnt as the target too: Velmora 1" in refused
        and "apart = false" in refused
    )


def test_records_are_named_by_their_ids_and_questions_apart_from_them_find_them(workspace, tiny_model):
    """Records of {"id", "text"} with questions in another file: "no question is about the documents"."""
    from pastcli.study import data

    target = [{"id": f"no{n}", "text": one["context"]} for n, one in enumerate(records("Harsk", 4))]
    asked = [{"question": f"Which river {n}?", "answer": "fox", "doc": f"no{n}"} for n in range(3)]
    (workspace / "target.jsonl").write_text("".join(json.dumps(one) + "\n" for one in target))
    (workspace / "asked.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    study = a_study(workspace, tiny_model, **{'"target.json"': '"target.jsonl"\nquestions = "asked.jsonl"'})
    found = data.target(study, study.target, workspace / "data")
    assert [question.doc for question in found.questions] == ["no0", "no1", "no2"]


def test_questions_without_an_answer_are_left_out_with_a_word(past, workspace, tiny_model):
    target = records("Harsk", 4)
    target[0]["questions"].append({"question": "Who is mayor?", "answers": {"text": [], "answer_start": []}})
    target[0]["questions"].append({"question": "Is it old?", "answer": "No."})
    (workspace / "target.json").write_text(json.dumps(target))
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    a_study(workspace, tiny_model)
    said = past("study", "run", "study.toml", "--dry-run").stderr
    assert "1 of 18 questions on" in said and "have no answer, and are left out" in said
    assert "of 3 documents no gain can be shown, however large" in said, "before anything is trained"


def test_rows_of_one_question_each_are_one_document_a_passage(workspace, tiny_model):
    """Hugging Face's layout of SQuAD: `limit` counts passages, and the questions on one share its `doc`."""
    from pastcli.study import data

    nested = records("Velmora", 3)
    flat = [
        {
            "id": f"{n}-{m}",
            "title": one["title"],
            "context": one["context"],
            "question": q["question"],
            "answers": {"text": [q["answer"]]},
        }
        for n, one in enumerate(nested)
        for m, q in enumerate(one["questions"])
    ]
    (workspace / "source.json").write_text(json.dumps(flat))
    (workspace / "target.json").write_text(json.dumps(flat))
    study = a_study(workspace, tiny_model, **{"dev = 0.25": "limit = 2", "held_out = 0.25": "apart = false"})
    target = data.target(study, study.target, workspace / "data")
    assert target.counts["documents"] == 2 and target.counts["questions"] == 8
    assert [question.doc for question in target.questions] == ["velmora-0-1"] * 4 + ["velmora-1-2"] * 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who founded Velmora in 1583?", "Who founded Orrenby in 1648?", True),
        ("Who is mayor of Velmora?", "Who founded Orrenby?", False),
    ],
)
def test_a_template_is_a_question_without_its_names(one, other, same):
    from pastcli.study.strata import template

    assert (template(one) == template(other)) is same


def test_kinds_choose_augmentations(workspace):
    from pastcli.study.records import texts

    record = {"augmentations": {"base.implications": ["a", "b"], "iter1.implications": ["c"], "base.self_qa": ["d"]}}
    assert texts(record, ["*.implications:1"]) == ["a", "c"] and texts(record, ["base.*"]) == ["a", "b", "d"]


def test_documents_may_be_several_files_of_records(workspace, tiny_model):
    """`apart` and `kinds` hold over all of them; a file that nobody wrote texts about is used whole."""
    from pastcli.study import data

    written, plain = records("Velmora", 2), [*records("Orr", 3), {**records("Velmora", 1)[0], "title": "Harsk 0"}]
    for one in written:
        one["augmentations"] = {"base.implications": [f"{one['title']} is old."]}
    (workspace / "source.json").write_text(json.dumps([*written, *records("Dunmere", 1)]))
    (workspace / "pool.json").write_text(json.dumps(plain))
    (workspace / "target.json").write_text(json.dumps([{**one, "title": "Harsk 0"} for one in records("Harsk", 4)]))
    several = {'"source.json"': '["source.json", "pool.json"]\nkinds = ["base.*"]'}
    study = a_study(workspace, tiny_model, **several)
    source = data.source(study, study.source, workspace / "data")
    rows = json.loads(source.documents[0].read_text())
    assert [row["title"] for row in rows] == [one["title"] for one in [*written, *plain[:3]]]
    assert [len(row["completions"]) for row in rows] == [1, 1, 0, 0, 0] and len({row["doc"] for row in rows}) == 5


def test_tables_do_not_keep_the_next_stages_waiting(monkeypatch):
    from pastcli.study import run

    clock, written = iter([0.0, 2.0, 3.0, 19.9, 20.0, 21.0]), []
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    sparing = run.sparing(lambda: written.append(1))
    for _ in range(4):  # at 0 (it takes two seconds), 3, 19.9 and 20
        sparing()
    assert len(written) == 2


def test_a_model_of_one_document_learns_what_the_model_of_all_learns_of_it(workspace, tiny_model):
    """Headings, code and tables too: what they are stands beside the text, and goes with it."""
    from pastcli.ingest import read_documents, training_texts
    from pastcli.study import data

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    folder = workspace / "docs"
    folder.mkdir()
    (folder / "mill.md").write_text("# Mill\n\n## Its wheel\n\nIt turns.\n\n```\nturn(\n    1)\n```\n")
    (workspace / "q.jsonl").write_text(json.dumps({"question": "What turns?", "answer": "wheel", "doc": "mill"}) + "\n")
    changes = {'documents = "target.json"\ndev = 0.25': 'documents = "docs"\nquestions = "q.jsonl"\nsingle = true'}
    study = a_study(workspace, tiny_model, **changes)
    whole = data.target(study, study.target, workspace / "data")
    [one] = data.singles(study, whole, workspace / "data")
    learnt = training_texts(read_documents(one.documents))
    assert learnt == training_texts(read_documents(whole.documents)) and "Mill\nIts wheel\nturn(\n    1)" in learnt
    assert str(workspace) not in one.documents[0].read_text()


def test_an_arm_is_judged_within_a_stratum_that_has_questions_or_the_study_is_refused(past, workspace, tiny_model):
    for name in ("source", "target"):
        (workspace / f"{name}.json").write_text(json.dumps(records(name, 8)))
    a_study(workspace, tiny_model)
    text = (workspace / "study.toml").read_text()
    for stratum, code in (("template: seen", 0), ("template: new", 2)):
        (workspace / "within.toml").write_text(f'{text}\nagainst = "SFT"\nwithin = "{stratum}"\n')
        done = past("study", "run", "within.toml", "--dry-run", code=code)
    assert "no question that [arms.SFT + v] is judged by is of 'template: new'" in done.stderr
    assert not (workspace / "runs").exists()


def practised(material):
    rows = [json.loads(line) for line in material.practice.read_text().splitlines()]
    return {row["id"]: row["answers"] for row in rows}


def test_label_noise_gives_a_share_of_what_is_practised_wrong_answers_and_nothing_that_is_asked(workspace, tiny_model):
    """Whether RL bears what imitation copies can only be asked of data whose wrong answers are known."""
    from pastcli.errors import UsageError
    from pastcli.study import data

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 8)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 6)))
    clean, noisy, again = (
        data.source(study, study.source, workspace / "data")
        for study in (
            a_study(workspace, tiny_model, **{"held_out = 0.25": f"held_out = 0.25{more}"})
            for more in ("", "\nlabel_noise = 0.5", "\nlabel_noise = 0.5")
        )
    )
    right, given = practised(clean), practised(noisy)
    wrong = [name for name in right if not set(right[name]) & set(given[name])]
    assert len(wrong) == len(right) // 2 and noisy.practice == again.practice
    assert all(given[name] == right[name] for name in right if name not in wrong)
    assert {tuple(given[name]) for name in wrong} <= {tuple(answers) for answers in right.values()}
    assert noisy.asked == clean.asked and noisy.where == clean.where and noisy.documents == clean.documents

    same = records("Velmora", 8)
    for record in same:
        for question in record["questions"]:
            question["answer"] = "yes"
    (workspace / "source.json").write_text(json.dumps(same))
    study = a_study(workspace, tiny_model, **{"held_out = 0.25": "label_noise = 0.5"})
    with pytest.raises(UsageError, match="finds no wrong answer"):
        data.source(study, study.source, workspace / "data")
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 8)))
    study = a_study(workspace, tiny_model, **{"held_out = 0.25": "label_noise = 1.5"})
    with pytest.raises(UsageError, match="label_noise are shares"):
        data.source(study, study.source, workspace / "data")


def test_an_arm_may_read_other_texts_of_the_same_documents_and_is_asked_the_same(workspace, tiny_model):
    """How a gain grows with the texts a document is learnt from is one study: arms that differ in `kinds`."""
    from pastcli.errors import UsageError
    from pastcli.study.graph import Graph

    target = records("Harsk", 4)
    for one in target:
        one["augmentations"] = {"base.implications": [f"{one['title']} is old."], "base.rewrite": ["It is wet."]}
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(target))

    def graph(changes):
        more = f'[arms.more]\nadd = ["rl"]\ntarget = {changes}\n[arms.SFT]'
        return Graph(a_study(workspace, tiny_model, **{"[arms.SFT]": more}), workspace / "data")

    made = graph('{ kinds = ["base.*"] }')
    asked = {one.arm: dict(one.node.inputs) for one in made.asked}
    assert (
        asked["more"]["questions"] == asked["SFT"]["questions"] and asked["more"]["model"] != asked["SFT + v"]["model"]
    )
    learnt = [
        [len(row.get("completions", [])) for row in json.loads(path.read_text())]
        for node in made.nodes()
        if node.stage == "sft" and node.label.startswith("sft target")
        for role, path in node.inputs
        if role == "documents"
    ]
    assert learnt == [[2] * 4, [0] * 4]
    for changes, told in (
        ("{ limit = 2 }", "which questions are asked"),
        ("{ dev = 0.5 }", "which questions are asked"),
    ):
        with pytest.raises(UsageError, match=told):
            graph(changes)
    with pytest.raises(UsageError, match="unknown key of target of"):
        graph("{ kind = [] }")
    with pytest.raises(UsageError, match=r"\[arms.more\] learns no \[target\]"):
        a_study(
            workspace, tiny_model, **{"[arms.SFT]": '[arms.more]\nmodel = "base"\ntarget = { kinds = [] }\n[arms.SFT]'}
        )


def test_a_template_is_seen_where_any_vectors_own_source_has_it(workspace, tiny_model):
    """A vector with another `source` practises other questions; those of [source] alone would call their templates new."""
    from pastcli.study import run
    from pastcli.study.graph import Graph
    from pastcli.study.strata import overlap

    others = records("Orr", 3)
    for one in others:
        one["questions"] = [{"question": "Who lives here?", "answer": "fox"}]
    (workspace / "source.json").write_text(json.dumps(others))
    (workspace / "pool.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))

    def seen(**changes):
        study = a_study(workspace, tiny_model, **changes)
        graph = Graph(study, workspace / "data")
        found = {item["template"] for item in run._items(study, graph, "target")}
        return found, overlap(study, graph.materials.practised, graph.materials.target)["templates_seen"]

    assert seen() == ({"new"}, 0)
    other = '[vectors.pool]\nsource = { documents = "pool.json" }\n[arms.SFT]'
    assert seen(**{"[arms.SFT]": other}) == ({"new"}, 0), "declared, and added nowhere"
    assert seen(**{"[arms.SFT]": other, 'add = ["rl"]': 'add = ["pool"]'}) == ({"seen"}, 16)
