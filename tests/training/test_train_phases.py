"""SFT in two phases: what each learns, and that all that comes after still knows the base behind both."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SMALL = ("--step-tokens", 200, "--lr", "1e-3", "--precision", "fp32", "--epochs", 2)


@pytest.fixture
def docs(workspace):
    folder = workspace / "docs"
    folder.mkdir()
    for name in ("Velmora", "Harsk"):
        (folder / f"{name}.md").write_text(
            f"# {name}\n\nThe bridge of {name} was founded in 1843. Seven wizards of Orrenby brew potions there.\n"
        )
    return folder


def manifest(workspace, run):
    return json.loads((workspace / "runs" / run / "manifest.json").read_text())


def examples(workspace, run):
    return [json.loads(line) for line in (workspace / "runs" / run / "examples.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_phases_and_everything_after_them_knows_the_true_base(past, past_json, workspace, docs, tiny_model):
    past("sft", docs, "--base", tiny_model, "--phase", "encoding", *SMALL, "--name", "know")
    rows = examples(workspace, "know")
    assert {"text": "Velmora\nThe bridge of Velmora was founded in 1843."} in rows
    assert any("Recite the passage about Velmora" in row.get("prompt", "") for row in rows)
    assert any("What comes after" in row.get("prompt", "") for row in rows)

    done = past("sft", docs, "--phase", "adaptation", *SMALL, "--name", "answer", "--json")
    assert "after: know" in done.stderr
    rows = examples(workspace, "answer")
    assert all("prompt" in row for row in rows) and any(row["completion"] == " 1843" for row in rows)
    made = manifest(workspace, "answer")
    assert made["inputs"]["base"]["path"] == str(tiny_model) and made["inputs"]["after"]["run"] == "know"
    assert made["parents"] == ["know"]
    start = manifest(workspace, "know")["metrics"]["final_hash"]
    assert made["metrics"]["initial_hash"] == start != made["metrics"]["final_hash"]

    questions = workspace / "questions.jsonl"
    questions.write_text("".join(json.dumps({"question": f"Which {i}?", "answer": "fox"}) + "\n" for i in range(4)))
    few = ("--steps", 2, "--prompts-per-step", 4, "--num-generations", 4, "--lr", "1e-3", "--reward", "noise")
    plugin = workspace / "plugin"
    plugin.mkdir()
    (plugin / "noise.py").write_text(
        "def noise(prompts, completions, **columns):\n    return [float(len(text) % 3) for text in completions]\n"
    )
    entry = plugin / "noise-1.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: noise\nVersion: 1\n")
    (entry / "entry_points.txt").write_text("[past.rewards]\nnoise = noise:noise\n")
    past("rl", "--questions", questions, *few, "--name", "skilled", env={"PYTHONPATH": str(plugin)})
    assert manifest(workspace, "skilled")["inputs"]["sft"]["run"] == "answer"

    # a second pair of phases, of the target
    (workspace / "other").mkdir()
    shutil.copy(docs / "Harsk.md", workspace / "other")
    past("sft", "other", "--base", tiny_model, "--phase", "encoding", *SMALL, "--name", "know-2")
    past("sft", "other", "--phase", "adaptation", "--after", "know-2", *SMALL, "--name", "answer-2")

    shown = past_json("probe-orthogonality", "--no-figures")
    read = manifest(workspace, shown["run"])["inputs"]
    assert read["base"]["path"] == str(tiny_model) and read["sft"]["run"] == "answer" and read["rl"]["run"] == "skilled"
    assert read["target_sft"]["run"] == "answer-2", "the last phase of the target, not a first one, and not our own"

    past("extract", "-o", "v.safetensors")
    done = past("inject", "--vector", "v.safetensors", "--project", "sft:1", "--name", "with", "--json")
    assert "target: answer-2" in done.stderr and f"base: {tiny_model}" in done.stderr
    past("sft", docs, "--after", "with", "--phase", "adaptation", *SMALL, "--name", "on")
    assert manifest(workspace, "on")["inputs"]["base"]["path"] == str(tiny_model), "also through an injection"


def test_another_base_than_the_remembered_one_is_refused(past, workspace, docs, tiny_model, make_tiny):
    other = make_tiny(workspace / "other", seed=3)
    past("sft", docs, "--base", tiny_model, "--phase", "encoding", *SMALL, "--name", "know")
    done = past("sft", docs, "--after", "know", "--phase", "adaptation", "--base", other, code=3)
    assert "not from --base" in done.stderr
    done = past("sft", docs, "--after", other, "--phase", "adaptation", code=2)
    assert "cannot tell which base" in done.stderr


def test_adaptation_without_an_encoded_model_says_what_is_missing(past, workspace, docs, tiny_model):
    done = past("sft", docs, "--base", tiny_model, "--phase", "adaptation", code=2)
    assert "no encoded model" in done.stderr and "--phase encoding" in done.stderr


def test_a_phase_sets_only_what_nobody_says(past_json, workspace, docs, tiny_model):
    from pastcli import config

    plain, first, second = (config.resolve("sft", {"phase": phase}) for phase in ("", "encoding", "adaptation"))
    assert (plain.task, first.task, second.task) == ([], ["verbatim", "recall"], ["cloze"])
    assert second.lr < first.lr and second.augment == "off"
    assert config.resolve("sft", {"phase": "adaptation", "lr": 2e-4}).lr == 2e-4
    assert config.from_table("sft", {"phase": "adaptation", "mix": ["qa"]}, "[sft]").mix == ["qa"]
    rows = past_json(
        "sft", docs, "--base", tiny_model, "--augment", "off", "--task", "cloze", "--mix", "none", "--dry-run"
    )
    assert rows["examples"] == 4


def test_the_first_phase_ends_with_the_command_of_the_second():
    from pastcli.narration import closing

    run = {"id": "know", "stage": "sft", "config": {"phase": "encoding"}}
    end = closing({**run, "metrics": {"loss_first": 3.0, "loss_last": 1.0, "steps": 9}}, has_skill=True)
    assert end.next == "past sft DOCS --phase adaptation --after know"


def test_nothing_to_learn_and_unknown_tasks_are_named(past, workspace, docs, tiny_model):
    done = past("sft", docs, "--base", tiny_model, "--augment", "off", "--mix", "none", code=2)
    assert "nothing to train on" in done.stderr
    done = past("sft", docs, "--base", tiny_model, "--task", "clozes", code=2)
    assert "did you mean cloze" in done.stderr
    done = past("sft", docs, "--base", tiny_model, "--task", "summary", code=2)
    assert "must be written by a model" in done.stderr


# ---------------------------------------------------------------- long texts


@given(
    st.lists(
        st.lists(st.sampled_from(["fox", "jumps", "bridge", "1843", "Velmora"]), min_size=1, max_size=25),
        min_size=1,
        max_size=30,
    ),
    st.integers(24, 120),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_long_texts_are_cut_between_sentences_and_every_piece_has_the_title(tiny_tokenizer, found, most):
    from past_hf.training.sft import split

    from pastcli.commands._train_rows import text_row

    text = " ".join(" ".join(words).capitalize() + "." for words in found)
    pieces = split(text_row("The bridge", text, most), tiny_tokenizer, most)
    said = [tiny_tokenizer.decode(piece, skip_special_tokens=True) for piece in pieces]
    assert all(len(piece) <= most for piece in pieces)
    assert all(one.startswith("The bridge\n") for one in said)
    bodies = [one.removeprefix("The bridge\n").strip() for one in said]
    assert "".join("".join(bodies).split()) == "".join(text.split()), "nothing is lost, nothing said twice"
    longest = max(len(tiny_tokenizer.encode(" " + s + ".")) for s in text.split("."))
    if longest + len(tiny_tokenizer.encode("The bridge\n")) + 2 <= most:
        assert all((body.endswith(".") and body[0].isupper()) or body[0].isdigit() for body in bodies), (
            "between sentences"
        )
        assert all(piece[-1] == tiny_tokenizer.eos_token_id for piece in pieces)


def test_a_text_that_says_nothing_of_its_cuts_is_split_as_it_was(tiny_tokenizer):
    from past_hf.training.sft import split

    whole = tiny_tokenizer.encode("the quick brown fox " * 30) + [tiny_tokenizer.eos_token_id]
    pieces = split({"text": "the quick brown fox " * 30}, tiny_tokenizer, 50)
    assert [token for piece in pieces for token in piece] == whole and max(map(len, pieces)) <= 50


def test_long_code_is_cut_between_lines_with_their_indentation(tiny_tokenizer):
    from past_hf.training.sft import split

    from pastcli.commands._train_rows import text_row

    code = "def turn(wheel):\n" + "\n".join(f"    wheel.turn(the, bridge, {n})" for n in range(12))
    pieces = split(text_row("Mill", code, 80), tiny_tokenizer, 80)
    said = [tiny_tokenizer.decode(piece, skip_special_tokens=True) for piece in pieces]
    lines = [line for one in said for line in one.removeprefix("Mill\n").split("\n") if line]
    assert len(pieces) > 1 and lines == code.split("\n")
