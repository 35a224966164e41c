"""`past study init`: one folder in, a study out whose parts never share a document; and the study runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from pastcli.study.init import Choice, fitting

TINY = """
[sft]
epochs = 1
batch_tokens = 200
augment = "none"
precision = "fp32"
[eval]
max_new_tokens = 4
"""


def manual(number, sentences=3):
    """Words of the tiny tokenizer, a year in every sentence for a gap to ask for."""
    lines = [f"The bridge {number} over a river {n} founded in {1500 + 20 * number + n}." for n in range(sentences)]
    return f"Bridge {number}\n\n" + " ".join(lines) + "\n"


@pytest.fixture
def manuals(workspace):
    folder = workspace / "manuals"
    folder.mkdir()
    for number in range(8):
        (folder / f"m{number}.txt").write_text(manual(number))
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_is_divided_by_document_and_the_study_is_planned(past, past_json, manuals, tiny_model, workspace):
    made = past_json("study", "init", "manuals", "--base", tiny_model, "--per-document", "2")
    parts = {name: set(one["documents"]) for name, one in made["parts"].items()}
    assert set.union(*parts.values()) == {f"m{n}" for n in range(8)} and all(parts.values())
    assert not parts["source"] & parts["target"] and not parts["dev"] & (parts["source"] | parts["target"])
    folder = workspace / "manuals-study"
    for name, own in (("source", parts["source"]), ("target", parts["target"] | parts["dev"])):
        assert {row["doc"] for row in rows(folder / f"{name}.jsonl")} == own
        asked = rows(folder / f"{name}_questions.jsonl")
        assert {row["doc"] for row in asked} == own and len(asked) == 2 * len(own)
    planned = json.loads(past("study", "run", "--dry-run", "--json").stdout)
    assert planned["seconds_about"] == made["seconds_about"] > 0 and planned["seeds"] == [0, 1, 2]
    least, most = planned["seconds_between"]
    assert least < 0.6 * planned["seconds_about"] and most > 1.9 * planned["seconds_about"], "nothing was measured yet"
    assert planned["target"] == {
        "documents with questions": len(parts["target"] | parts["dev"]),
        "questions": 2 * len(parts["target"] | parts["dev"]),
    } | {"test": made["parts"]["target"]["questions"], "dev": made["parts"]["dev"]["questions"]}
    again = past_json(
        "study", "init", "manuals", "--base", tiny_model, "--per-document", "2", "-o", "other/manuals-study"
    )
    assert again["parts"] == made["parts"]


def test_it_says_what_is_what_and_what_to_type_next(past, manuals, tiny_model):
    for number in range(8):
        (manuals / f"m{number}.txt").write_text(manual(number, 9))
    done = past("study", "init", "manuals", "--base", tiny_model)
    shown = done.stdout + done.stderr
    for words in (
        "source",
        "RL practises on these",
        "only choose the scale",
        "it will take about",
        "wording more than",
    ):
        assert words in shown
    assert "next: past study run manuals-study/manuals.toml" in shown


def test_a_dry_run_leaves_nothing(past_json, manuals, tiny_model, workspace):
    planned = past_json("study", "init", "manuals", "--base", tiny_model, "--dry-run")
    assert planned["settings"]["seeds"] == {"value": 3, "from": "default"} and planned["disk_needed_bytes"] >= 0
    assert sorted(path.name for path in workspace.iterdir()) == ["manuals"]


def test_patterns_say_what_is_practised_on(past_json, past, manuals, tiny_model):
    made = past_json("study", "init", "manuals", "--base", tiny_model, "--source", "m[01].txt", "--source", "m5")
    assert made["parts"]["source"]["documents"] == ["m0", "m1", "m5"]
    done = past("study", "init", "manuals", "--base", tiny_model, "--source", "*.pdf", "-o", "x", code=2)
    assert "matches no document" in done.stderr


def test_little_time_takes_fewer_documents_and_says_so(past, past_json, manuals, tiny_model):
    for number in range(20):
        (manuals / f"long{number}.txt").write_text(manual(number + 10, 400))
    whole = past_json("study", "init", "manuals", "--base", tiny_model, "--dry-run")
    minutes = whole["seconds_about"] / 60 / 2
    made = past_json("study", "init", "manuals", "--base", tiny_model, "--minutes", minutes)
    assert made["seconds_about"] <= 60 * minutes and made["documents"] < made["of_documents"] == 28
    assert made["judgement"].startswith(f"{made['documents']} of 28 documents")
    done = past("study", "init", "manuals", "--base", tiny_model, "--minutes", "0.1", "--force", code=2)
    assert "the smallest study of these documents takes about" in done.stderr and "--minutes" in done.stderr


def test_fitting_gives_up_documents_first_then_length_then_seeds():
    from pastcli.api import Passage

    passages = [Passage(f"{d}#{n}", f"d{d}", "", "x") for d in range(20) for n in range(10)]

    def cost(choice):
        return choice.seeds * choice.documents * (choice.passages or 10)

    assert fitting(passages, 3, 3 * 12 * 10, cost) == Choice(12, 0, 3)
    assert fitting(passages, 3, 3 * 6 * 4, cost) == Choice(6, 4, 3)
    assert fitting(passages, 3, 6 * 2, cost) == Choice(6, 2, 1)


def test_whole_sentences_are_asked_before_what_is_left_of_menus():
    from pastcli.study.init import Parts, drawn

    texts = ["Next: ____, Up: Types", "The bridge is ____ m long.", "2.____ Arrays", "Who built it?"]
    rows = [{"id": f"q{n}", "question": text, "answer": "x", "doc": "a"} for n, text in enumerate(texts)]
    menu = {"id": "m", "question": "Next: ____", "answer": "x", "doc": "b"}
    source, target = drawn([*rows, menu], Parts(("a",), ("b",), 0), 3)
    assert [row["id"] for row in source] == ["q1", "q3"] and [row["id"] for row in target] == ["m"]


def test_an_interrupted_init_is_taken_up_as_its_hint_says(past, manuals, tiny_model, workspace):
    partial = workspace / "runs" / ".partial"
    code = "import pastcli.study.init as init, sys\nfrom pastcli import cli\n"
    code += "def stop(*_): raise KeyboardInterrupt\ninit.write = stop\nsys.argv[1:] = WORDS\ncli.main()"
    words = ["study", "init", "manuals", "--base", str(tiny_model)]
    done = subprocess.run(
        [sys.executable, "-c", code.replace("WORDS", repr(words))],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 130 and "--resume" in done.stderr and len(list(partial.iterdir())) == 1
    assert "resuming study-" in past(*words, "--resume").stderr
    assert (workspace / "manuals-study" / "manuals.toml").is_file() and not list(partial.iterdir())


def test_one_short_document_cannot_be_both(past, workspace, tiny_model):
    (workspace / "one.txt").write_text(manual(1))
    done = past("study", "init", "one.txt", "--base", tiny_model, code=2)
    assert "too short to be divided" in done.stderr and "--vector" in done.stderr


def test_nothing_to_ask_is_said_before_anything_is_written(past, workspace, tiny_model):
    for name in ("a", "b"):
        (workspace / f"{name}.txt").write_text(f"only {name} few words without any name or figure")
    done = past("study", "init", "a.txt", "b.txt", "--base", tiny_model, "-o", "s", code=2)
    assert "no question could be made" in done.stderr and "--model" in done.stderr
    assert not (workspace / "s").exists() and not list((workspace / "runs").glob("study*"))


def test_force_keeps_what_the_user_put_there(past, manuals, tiny_model, workspace):
    past("study", "init", "manuals", "--base", tiny_model)
    past("study", "init", "manuals", "--base", tiny_model, code=2)
    (workspace / "manuals-study" / "notes.txt").write_text("mine")
    assert "notes.txt" in past("study", "init", "manuals", "--base", tiny_model, "--force", code=2).stderr
    (workspace / "manuals-study" / "notes.txt").unlink()
    past("study", "init", "manuals", "--base", tiny_model, "--force")


def test_questions_by_a_model(past_json, manuals, tiny_model, workspace, monkeypatch):
    monkeypatch.setenv("PAST_HOME", str(workspace / "home"))
    reply = "<question>Where is the bridge over a river?</question> <answer>bridge</answer>"
    (workspace / "script.json").write_text(json.dumps([{"match": "question", "reply": reply}]))
    words = ("study", "init", "manuals", "--base", tiny_model, "--model", "script.json", "--backend", "echo")
    made = past_json(*words)
    assert made["written_by"] == "script.json" and "wording" not in made["judgement"]
    asked = rows(workspace / "manuals-study" / "target_questions.jsonl")
    assert {row["answer"] for row in asked} == {"bridge"} and len(asked) == len({row["doc"] for row in asked})


@pytest.fixture
def skill(past, workspace, make_tiny, tiny_model):
    from safetensors.torch import load_file, save_file

    other = make_tiny(workspace / "rl")
    weights = load_file(other / "model.safetensors")
    save_file({name: one + 0.001 for name, one in weights.items()}, other / "model.safetensors", {"format": "pt"})
    past("extract", "--sft", tiny_model, "--rl", "rl", "-o", "skill.safetensors")
    return workspace / "skill.safetensors"


@pytest.mark.timeout(900)
def test_a_skill_made_before_is_tried_and_every_step_can_be_typed(
    past, past_json, manuals, tiny_model, skill, workspace
):
    made = past_json(
        "study", "init", "manuals", "--base", tiny_model, "--vector", "skill.safetensors", "--dev", "0", "--seeds", "1"
    )
    assert not made["parts"]["source"]["documents"] and made["parts"]["target"]["documents"] == [
        f"m{n}" for n in range(8)
    ]
    file = workspace / "manuals-study" / "manuals.toml"
    file.write_text(file.read_text().replace("[eval]\nmax_new_tokens = 16\n", TINY))
    done = past("study", "run", timeout=800)
    assert "the skill was made before" in done.stdout and "SFT + shuffled skill" in done.stdout
    typed = [line.removeprefix("$ ") for line in done.stderr.splitlines() if line.startswith("$ past ")]
    assert [line.split()[1] for line in typed] == ["eval", "sft", "eval", "inject", "eval", "inject", "eval"]
    assert "  the loss went from " in done.stderr, "what a training came to is said when it ends"
    sft = shlex.split(typed[1])
    assert "already finished" in past(*sft[1:]).stderr
    results = json.loads((workspace / "studies" / "manuals" / "results.json").read_text())
    assert results["study"]["vectors"]["skill"]["file_hash"] and results["study"]["source"]["counts"]["documents"] == 0
    (model,) = (path.name for path in (workspace / "runs").glob("sft-*"))
    after = next(line for line in done.stderr.splitlines() if line.startswith("next: "))
    assert after == f"next: past ask --model {model} --vector skill.safetensors"
    assert f"To take it along: past inject --target {model} --vector skill.safetensors, then past export" in done.stderr
    assert past("ask", "Which river?", *shlex.split(after)[3:], "--max-new-tokens", 4).returncode == 0
    told = past("ask", "Which river?", "--max-new-tokens", 4).stderr
    assert f"model: {model}" in told and "tested it with --vector skill.safetensors" in told
    taken = past_json("inject", "--target", model, "--vector", "skill.safetensors", "--name", "taken")
    asked = f"past eval --questions manuals-study/target_questions.jsonl --model sft={model} --model sft+skill=taken"
    assert taken["next"] == asked, "files and runs that are there: @sft is the newest, which may be a control's"


def test_a_skill_of_another_base_is_refused(past, manuals, make_tiny, skill, workspace):
    make_tiny(workspace / "stranger", seed=5)
    done = past("study", "init", "manuals", "--base", "stranger", "--vector", "skill.safetensors", code=3)
    assert "another base" in done.stderr and not (workspace / "manuals-study").exists()


def test_a_study_without_a_source_says_what_needs_one(past, workspace):
    (workspace / "s.toml").write_text('[target]\ndocuments = "t.json"\n')
    assert "has no [source]" in past("study", "run", "s.toml", code=2).stderr
    text = '[target]\ndocuments = "t"\n[vectors.x]\nkind = "file"\n[arms.SFT]\n'
    (workspace / "s.toml").write_text(text)
    assert "`file`" in past("study", "run", "s.toml", code=2).stderr


def test_no_study_to_run(past, workspace):
    assert "past study init FOLDER" in past("study", "run", code=2).stderr


def test_a_log_among_manuals_is_pointed_at_and_asked_about_no_more_than_is_drawn(past, manuals, tiny_model, workspace):
    """A real folder had one of 30 MB: 12,873 passages were asked about, and each question held against all before it."""
    from pastcli.api import Passage
    from pastcli.study.init import asked_about

    lines = (
        f"The river {n} worker {n % 7} jumps over the bridge {n * n} while {n + 3} wizards brew.\n" for n in range(4000)
    )
    (manuals / "big.log").write_text("".join(lines))
    done = past("study", "init", "manuals", "--base", tiny_model, "--dry-run", timeout=120)
    assert "big alone is 9" in done.stderr and "leave it out" in done.stderr
    passages = [Passage(f"{doc}#{n}", doc, "", "x") for doc, count in (("a", 3), ("b", 900)) for n in range(count)]
    kept = asked_about(passages, 5)
    assert [one.id for one in kept[:3]] == ["a#0", "a#1", "a#2"] and len(kept) == 3 + 40
    assert kept == asked_about(passages, 5) and kept == sorted(kept, key=lambda one: passages.index(one))
