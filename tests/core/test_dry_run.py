"""A dry run goes the way of the real run up to the work: the same refusals, and nothing left behind."""

from __future__ import annotations

import json
import shutil

import pytest
from vectors_tools import moved, read_model, weights, write_file, write_model


@pytest.fixture
def pair(workspace):
    base = weights()
    write_model(workspace / "sft", base)
    write_model(workspace / "rl", moved(base, 1, 1e-3))
    return workspace


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_settings_are_shown_with_where_they_come_from(pair, past_json, past):
    (pair / "past.toml").write_text("[extract]\nseed = 7\n")
    plan = past_json(
        "extract", "--sft", "sft", "--rl", "rl", "--rank", 2, "--dry-run", env={"PAST_EXTRACT_ALLOW_LOSSY": "1"}
    )
    assert plan["settings"]["rank"] == {"value": 2, "from": "--rank"}
    assert plan["settings"]["seed"] == {"value": 7, "from": "past.toml"}
    assert plan["settings"]["allow_lossy"] == {"value": True, "from": "PAST_EXTRACT_ALLOW_LOSSY"}
    assert plan["settings"]["energy"]["from"] == "default"
    assert plan["read_bytes"] > 0 and plan["disk_free_bytes"] > plan["disk_needed_bytes"]
    assert "past.toml" in past("extract", "--sft", "sft", "--rl", "rl", "--dry-run").stdout


def test_nothing_is_left_behind(pair, past):
    before = files(pair)
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors", "--dry-run")
    assert files(pair) == before
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors")
    before = files(pair)
    past("inject", "--vector", "skill.safetensors", "--target", "sft", "-o", "made", "--dry-run")
    assert files(pair) == before


def test_what_the_real_run_would_refuse_the_dry_run_refuses_in_the_same_words(pair, past):
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors")
    (pair / "mine").mkdir()
    (pair / "mine" / "photo.jpg").write_bytes(b"x")
    write_model(pair / "cut", weights())
    whole = (pair / "cut" / "model.safetensors").read_bytes()
    (pair / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (pair / "other").mkdir()
    write_model(pair / "other" / "model", {k: v for k, v in weights(5).items() if "q_proj" not in k})
    (pair / "q.jsonl").write_text(json.dumps({"question": "Which river?", "answer": "fox"}) + "\n")
    for words in (
        ["extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors"],
        ["extract", "--sft", "sft", "--rl", "rl", "-o", "mine", "--force"],
        ["extract", "--sft", "sft", "--rl", "cut"],
        ["extract", "--sft", "other/model", "--rl", "rl"],
        ["inject", "--vector", "skill.safetensors", "--target", "cut"],
        ["inject", "--vector", "skill.safetensors", "--target", "other/model"],
        ["inject", "--vector", "skill.safetensors", "--target", "sft", "-o", "mine", "--force"],
        ["inject", "--vector", "skill.safetensors", "--target", "sft", "--name", "smol"],
        ["eval", "--questions", "q.jsonl", "--model", "sft", "--plot", "mine", "--force"],
    ):
        code = real = None
        for code in (1, 2, 3):
            try:
                real = past(*words, code=code).stderr
                break
            except AssertionError:
                continue
        assert real is not None, f"past {words} was not refused"
        assert refusal(past(*words, "--dry-run", code=code).stderr) == refusal(real), words


@pytest.fixture
def ready(pair, past, tiny_model):
    """A skill, questions, documents and tools beside the models."""
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors")
    (pair / "q.jsonl").write_text(json.dumps({"question": "Which river?", "answer": "fox"}) + "\n")
    (pair / "docs").mkdir()
    (pair / "docs" / "a.txt").write_text("The bridge over the river was founded in 1843.")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    (pair / "tools.json").write_text(json.dumps([tool]))
    (pair / "mine").mkdir()
    (pair / "mine" / "photo.jpg").write_bytes(b"x")
    (pair / "base.gguf").write_bytes(b"GGUF")
    shutil.copytree(tiny_model, pair / "asked")
    shutil.copytree(tiny_model, pair / "taught")
    (pair / "taught" / "model.safetensors").unlink()
    write_file(pair / "taught" / "model.safetensors", moved(read_model(tiny_model), 1, 1e-3))
    past("extract", "--sft", "asked", "--rl", "taught", "-o", "asking.safetensors")
    return pair


def refusal(said):
    """The error and its hint; before it there may be warnings of what the real run alone comes to."""
    assert "error:" in said, said
    return said[said.rindex("error:") :]


COMMANDS = {
    "sweep": ("sweep", "--vector", "asking.safetensors", "--target", "asked", "--questions", "q.jsonl"),
    "probe": ("probe-orthogonality", "--base", "sft", "--sft", "sft", "--rl", "rl"),
    "ingest": ("ingest", "docs"),
    "agent": ("agent", "--tools", "tools.json", "--query", "2 + 2?", "--model", "m.json", "--backend", "echo"),
    "eval": ("eval", "--questions", "q.jsonl", "--model", "asked"),
}


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        ("sweep", "grid", "0.5"),
        ("probe", "allow_lossy", "1"),
        ("ingest", "max_chars", "900"),
        ("agent", "max_turns", "5"),
        ("eval", "limit", "1"),
    ],
)
def test_every_dry_run_shows_settings_room_and_leaves_nothing(ready, past, past_json, stage, key, value):
    (ready / "m.json").write_text(json.dumps([{"match": ".", "reply": "x"}]))
    before = files(ready)
    plan = past_json(*COMMANDS[stage], "--dry-run", env={f"PAST_{stage}_{key}".upper(): value})
    assert plan["settings"][key]["from"] == f"PAST_{stage}_{key}".upper()
    assert plan["settings"]["seed" if stage != "ingest" else "min_chars"]["from"] == "default"
    if stage != "eval":
        assert plan["disk_free_bytes"] > plan["disk_needed_bytes"] > 0
    if stage in ("sweep", "eval"):
        assert plan["seconds_about"] > 0 and plan["memory_bytes_about"] > 0 and plan["answers"] > 0
    assert files(ready) == before
    assert key in past(*COMMANDS[stage], "--dry-run").stdout


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("sweep", ("--target", "cut")),
        ("sweep", ("--name", "smol")),
        ("sweep", ("--backend", "none")),
        ("probe", ("--rl", "cut")),
        ("probe", ("-o", "mine", "--force")),
        ("ingest", ("-o", "mine", "--force")),
        ("ingest", ("--name", "smol")),
        ("agent", ("--name", "smol")),
        ("agent", ("--judge", "llm")),
        ("agent", ("--judge", "nobody")),
        ("agent", ("--template", "base.gguf")),
    ],
)
def test_the_other_stages_refuse_in_the_same_words(ready, past, stage, words):
    write_model(ready / "cut", weights())
    whole = (ready / "cut" / "model.safetensors").read_bytes()
    (ready / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (ready / "m.json").write_text(json.dumps([{"match": ".", "reply": "x"}]))
    planned = real = None
    for code in (1, 2, 3):
        try:
            planned = past(*COMMANDS[stage], *words, "--dry-run", code=code).stderr
            real = past(*COMMANDS[stage], *words, code=code).stderr
            break
        except AssertionError:
            continue
    assert planned and real and refusal(planned) == refusal(real), (planned, real)
    assert not list((ready / "runs" / ".partial").glob("*"))


def test_a_dry_run_of_agent_knows_whether_llama_cpp_could_load_the_model(ready, past, tiny_model):
    """A directory has to be converted, like a GGUF of its base: without one both refuse, with the same words."""
    words = ("agent", "--tools", "tools.json", "--query", "2 + 2?", "--model", tiny_model)
    planned = past(*words, "--dry-run", code=3).stderr
    assert "no GGUF of the base model" in planned and "--template GGUF" in planned
    assert past(*words, code=3).stderr.splitlines()[-2:] == planned.splitlines()[-2:]
    assert "no file nowhere.gguf" in past(*words, "--template", "nowhere.gguf", "--dry-run", code=2).stderr


def both_refuse(past, code, says, *words):
    for more in ((), ("--dry-run",)):
        told = past(*words, *more, code=code).stderr
        assert says in told and "hint:" in told, told


def test_a_model_without_a_tokenizer_is_refused_by_both(workspace, past, tiny_model):
    shutil.copytree(tiny_model, workspace / "bare")
    for file in (workspace / "bare").glob("token*"):
        file.unlink()
    (workspace / "a.txt").write_text("Velmora was founded in 1843.")
    (workspace / "q.jsonl").write_text('{"question": "When?", "answer": "1843"}\n')
    both_refuse(past, 3, "has no usable tokenizer", "sft", "a.txt", "--base", "bare", "--mix", "none")
    both_refuse(past, 3, "has no usable tokenizer", "eval", "--questions", "q.jsonl", "--model", "bare")


def test_questions_without_any_answer_are_refused_by_both(workspace, past):
    (workspace / "q.jsonl").write_text('{"question": "When?"}\n')
    (workspace / "m.json").write_text('["1843"]')
    words = ("eval", "--questions", "q.jsonl", "--model", "m.json", "--backend", "echo")
    both_refuse(past, 2, "none of the 1 questions has an answer", *words)


def test_a_model_minus_itself_is_refused_by_both(pair, past):
    (pair / "link").symlink_to("sft")
    both_refuse(past, 1, "are one model", "extract", "--sft", "sft", "--rl", "link")


def test_answers_longer_than_the_model_are_refused_by_both_before_anything_is_tried(workspace, past, tiny_model):
    """The dry run tried a batch of such answers and was killed for its memory."""
    (workspace / "q.jsonl").write_text('{"question": "When?", "answer": "1843"}\n')
    words = ("rl", "--sft", tiny_model, "--questions", "q.jsonl", "--max-new-tokens", "100000")
    both_refuse(past, 2, "answers of 100000 tokens leave no room for a question: the model holds 256", *words)
