"""What changed behind a command's back is refused; what was moved as a whole works on its own files."""

from __future__ import annotations

import json
import os
import shutil

import pytest

MISMATCH = 3
TRAIN = ("--mix", "format.jsonl", "--epochs", 40, "--lr", "1e-2", "--batch-tokens", 200, "--precision", "fp32")
RL = ("--questions", "questions.jsonl", "--steps", 2, "--prompts-per-step", 4, "--num-generations", 4, "--lr", "1e-3")


@pytest.fixture(scope="session")
def made_once(tiny_model, tmp_path_factory, past_in):
    """A workspace with a corpus, an SFT run `A`, an RL run `R` grown from it, and their skill."""
    folder = tmp_path_factory.mktemp("made") / "original"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "velmora.md").write_text("# Velmora\n\nVelmora was founded in 1843. Seven wizards live there.\n")
    (folder / "docs2").mkdir()
    (folder / "docs2" / "harsk.md").write_text("# Harsk\n\nHarsk lies on a river. A fox lives there.\n")
    pairs = [{"prompt": f"Question: Which river {i}?\nAnswer:", "completion": " fox"} for i in range(6)]
    (folder / "format.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [{"question": f"Which river {i}?", "answer": "fox"} for i in range(6)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(tiny_model, folder / "base")
    past_in(folder, "ingest", "docs", "-o", "corpus.jsonl")
    past_in(folder, "sft", "corpus.jsonl", "--base", "base", *TRAIN, "--name", "A")
    past_in(folder, "rl", "--sft", "A", *RL, "--name", "R")
    past_in(folder, "extract", "--sft", "A", "--rl", "R", "-o", "skill.safetensors", "--name", "E")
    return folder


@pytest.fixture
def ours(made_once, workspace, monkeypatch):
    """A copy of that workspace for one test, at another place; the original is out of reach meanwhile."""
    folder = workspace / "copy"
    shutil.copytree(made_once, folder)
    monkeypatch.chdir(folder)
    hidden = made_once.with_name("out of reach")
    made_once.rename(hidden)
    yield folder
    hidden.rename(made_once)


@pytest.fixture
def trained_again(ours, past):
    """`A` is now another model of the same name, trained on other documents."""
    past("sft", "docs2", "--base", "base", *TRAIN, "--name", "A", "--force")
    return ours


PROBE = ("probe-orthogonality", "--base", "base", "--no-figures", "--sft", "A", "--rl", "R")


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "--sft", "A", "--rl", "R"),
        ("extract", "--rl", "R"),
        PROBE,
        ("inject", "--vector", "skill.safetensors", "--target", "A"),
        ("rl", "--sft", "R", *RL),
        ("eval", "--questions", "questions.jsonl", "--model", "S=A", "--model", "R=R"),
    ],
    ids=lambda words: " ".join(map(str, words[:3])),
)
def test_a_parent_that_was_trained_again_is_refused_and_the_way_out_is_recorded(trained_again, past, past_json, words):
    error = past(*words, code=MISMATCH).stderr
    assert "began from another sft" in error and "has changed since" in error and "--allow-stale" in error
    assert not list((trained_again / "runs" / ".partial").iterdir())
    if words[0] in ("extract", "eval"):
        done = past(*words, "--allow-stale", "--json")
        run = json.loads(done.stdout)["run"]
        assert "has changed since" in done.stderr
        stale = past_json("runs", "show", run)["stale"]
        assert len(stale) >= 1 and "began from another sft" in stale[0]


def test_an_edited_corpus_does_not_train_under_the_old_lineage(ours, past, past_json):
    with open(ours / "corpus.jsonl", "a") as file:
        row = {"id": "x#1", "doc": "x", "title": "X", "text": "Slipped in by hand."}
        file.write(json.dumps(row) + "\n")
    words = ("sft", "corpus.jsonl", "--base", "base", "--mix", "none", "--epochs", 1)
    assert "corpus.jsonl is not what run ingest-" in past(*words, code=MISMATCH).stderr
    run = past_json(*words, "--allow-stale")["run"]
    assert "corpus.jsonl is not what run" in past_json("runs", "show", run)["stale"][0]


def test_an_edited_skill_or_model_is_refused(ours, past):
    (ours / "runs" / "R" / "model" / "config.json").write_text("{}")
    assert "not what run R made" in past("extract", "--sft", "A", "--rl", "R", code=MISMATCH).stderr
    with open(ours / "skill.safetensors", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    words = ("inject", "--vector", "skill.safetensors", "--target", "A")
    assert "skill.safetensors is not what run E made" in past(*words, code=MISMATCH).stderr
    assert "is not what run E made" in past(*("inject", "--vector", "runs/E", "--target", "A"), code=MISMATCH).stderr


def test_a_base_that_was_exchanged_is_refused_by_the_probe(ours, past, make_tiny):
    shutil.rmtree(ours / "base")
    make_tiny(ours / "base", seed=5)
    assert "began from another base" in past(*PROBE, code=MISMATCH).stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_swapped_models_are_refused_by_their_stage(ours, past, dry):
    for words in (
        ("extract", "--sft", "R", "--rl", "A"),
        ("extract", "--sft", "@rl", "--rl", "@sft"),
        ("probe-orthogonality", "--base", "base", "--sft", "@rl", "--rl", "@sft"),
        ("probe-orthogonality", "--base", "base", "--target-sft", "@rl"),
        ("probe-orthogonality", "--base", "base", "--rl2", "@sft"),
    ):
        error = past(*words, *dry, code=MISMATCH).stderr
        assert "was made by the" in error and "swapped" in error


def test_what_has_not_changed_is_not_refused(ours, past, past_json):
    past("ingest", "docs2", "-o", "corpus.jsonl", "--force")  # the corpus moves on; the models learnt from the old one
    past("extract", "--sft", "A", "--rl", "R")
    past("inject", "--vector", "skill.safetensors", "--target", "A")
    assert past_json("runs", "show", "@inject")["stale"] == []


def test_the_card_of_a_model_finds_its_parent_in_the_workspace(ours, past):
    (ours / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    past("sft", "docs", "--base", "base", "--mix", "none", "--epochs", 1, "--name", "C", "--force")
    card = (ours / "runs" / "C" / "model" / "README.md").read_text()
    assert 'license: "mit"' in card or "license: mit" in card, card
    assert "../" not in card and "- documents: `docs`" in card


# ---------------------------------------------------------------- moved and copied workspaces


def test_a_copied_workspace_works_on_its_own_files(ours, past, past_json, made_once):
    """The original is gone while these run: nothing may reach for it, nothing may be taken for changed."""
    assert not made_once.exists()
    shown = past_json("runs", "show", "A")
    assert shown["inputs"]["documents"]["path"] == str(ours / "corpus.jsonl")
    assert past_json("runs", "show", "E")["outputs"]["skill"]["path"] == str(ours / "skill.safetensors")
    lineage = past_json("runs", "lineage", "E")
    assert str(ours / "docs") in json.dumps(lineage) and str(made_once) not in json.dumps(lineage)
    past("extract")
    past("inject", "--target", "A")  # the newest skill is found
    past("eval", "--questions", "questions.jsonl", "--model", "@inject")
    past(*PROBE)
    past("ingest", "docs", "-o", "corpus.jsonl", "--force")  # its own output, at its new place
    past("rl", *RL)


def test_a_copied_workspace_does_not_take_the_original_for_its_own(ours, past, made_once):
    hidden = made_once.with_name("out of reach")
    (ours / "corpus.jsonl").unlink()
    assert (hidden / "corpus.jsonl").exists()
    words = ("ingest", "docs", "-o", hidden / "corpus.jsonl", "--force")
    assert "no run of this workspace wrote it" in past(*words, code=2).stderr


def test_finished_and_killed_work_is_recognised_after_the_move(ours, past):
    words = ("extract", "--sft", "A", "--rl", "R", "-o", "skill.safetensors", "--name", "E")
    assert "already finished: E" in past(*words, "--resume").stderr


def test_an_adapter_of_a_copied_workspace_finds_its_own_base(ours, past, past_json):
    past("sft", "docs", "--base", "A", "--method", "lora", *TRAIN, "--name", "L")
    moved = ours.with_name("moved")
    ours.rename(moved)
    try:
        past("-C", moved, "eval", "--questions", moved / "questions.jsonl", "--model", "L", cwd=moved)
        manifest = (moved / "runs" / "L" / "manifest.json").read_text()
        config = (moved / "runs" / "L" / "adapter" / "adapter_config.json").read_text()
        inputs = json.loads(manifest)["inputs"]
        assert str(ours) not in json.dumps(inputs) and str(ours) not in config
    finally:
        moved.rename(ours)


def test_distill_refuses_an_output_that_exists_before_the_rounds(ours, past):
    words = ("distill", "docs", "docs2", "--questions", "dq.jsonl", "--base", "base", "-o")
    rows = [{"question": f"Where {d}?", "answer": "fox", "doc": d} for d in ("velmora", "harsk")]
    (ours / "dq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (ours / "mine.safetensors").write_bytes(b"mine")
    for place, force in (("mine.safetensors", ()), ("mine.safetensors", ("--force",)), ("skill.safetensors", ())):
        done = past(*words, place, *force, code=2)
        assert "already exists" in done.stderr and "round" not in done.stderr
    assert (ours / "mine.safetensors").read_bytes() == b"mine" and not list((ours / "runs").glob("distill*"))


# ---------------------------------------------------------------- changed while a command runs

TOOLS = """
def add(a: int) -> int:
    "Add two."
    with open("{place}", "a") as file:
        file.write(" ")
    return a + 2
"""


@pytest.mark.parametrize(("place", "changes"), [("script.json", True), ("tools.py", False), ("other.json", False)])
def test_a_model_that_changes_while_it_is_in_use_is_named_in_the_result(workspace, past, past_json, place, changes):
    (workspace / "tools.py").write_text(TOOLS.format(place=place))
    call = ' Add.\nAction: add\nAction Input: {"a": 40}'
    end = ' Done.\nAction: Finish\nAction Input: {"final_answer": "42"}'
    (workspace / "script.json").write_text(json.dumps([call, end]))
    words = ("--query", "40 + 2?", "--backend", "echo", "--model", "script.json", "--name", "N")
    said = past("agent", "--tools", "tools.py", *words).stderr
    stale = past_json("runs", "show", "N")["stale"]
    assert (("script.json changed while it was in use" in said) and len(stale) == 1) == changes
    assert changes or not stale
