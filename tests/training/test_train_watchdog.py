"""Runs that cannot learn, as typed: each is stopped by the rule that names it, says why, and leaves its log and answers."""

from __future__ import annotations

import json
import os
import re

import psutil
import pytest
import torch

REWARDS = """
def flat(prompts, completions, **_):
    return [0.25] * len(completions)

def length(prompts, completions, **_):
    return [len(text) / 100 for text in completions]

def again(prompts, completions, **_):
    return [(len(text.split()) - len(set(text.split()))) / 20 for text in completions]

def letter(prompts, completions, **_):
    return [text.count("e") / max(len(text), 1) for text in completions]
"""
WORDS = "the quick brown fox jumps over lazy dog while seven wizards brew potions".split()


@pytest.fixture(scope="module")
def answering(tiny_model, tmp_path_factory, past_in):
    """Models that answer by one word and by eight different ones: what they say can get longer, and be said again."""
    folder = tmp_path_factory.mktemp("answering")
    ask = "Question: Which river {}?\nAnswer:"
    few = [(ask.format(i), " dog" if i % 2 else " fox") for i in range(8)]
    many = [
        (ask.format(i % 8), " " + " ".join(WORDS[(i * j) % 13] for j in range(1, 9))) for i in range(1, 65) if i % 13
    ]
    for name, pairs, epochs in (("few", few, 40), ("many", many, 15)):
        rows = [json.dumps({"prompt": prompt, "completion": completion}) + "\n" for prompt, completion in pairs]
        (folder / f"{name}.jsonl").write_text("".join(rows))
        how = ("--base", tiny_model, "--mix", "none", "--epochs", epochs, "--lr", "0.01", "--name", name)
        past_in(folder, "sft", f"{name}.jsonl", *how)
    return folder


@pytest.fixture
def bent(workspace, monkeypatch):
    """Rewards of a plugin that pays for what nobody wants, and questions."""
    entry = workspace / "plugin" / "bent-1.dist-info"
    entry.mkdir(parents=True)
    (workspace / "plugin" / "bent.py").write_text(REWARDS)
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: bent\nVersion: 1\n")
    names = ("flat", "length", "again", "letter")
    (entry / "entry_points.txt").write_text("[past.rewards]\n" + "".join(f"{name} = bent:{name}\n" for name in names))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(workspace / "plugin"), os.environ.get("PYTHONPATH", "")]))
    rows = [json.dumps({"question": f"Which river {i}?", "answer": "fox"}) + "\n" for i in range(8)]
    (workspace / "questions.jsonl").write_text("".join(rows))
    return (
        "--questions",
        "questions.jsonl",
        "--prompts-per-step",
        4,
        "--num-generations",
        8,
        "--patience",
        4,
        "--precision",
        "fp32",
        "--schedule",
        "constant",
        "--name",
        "bent",
    )


HACKED = "answers grew from |answers repeat themselves: "
"""A model this small gets longer by saying the same again: which of the two is seen first hangs on the last bits of its sums.
The rules one by one: test_train_watch.py."""
LENGTH = ("few", "length", ("--steps", 60, "--max-new-tokens", 40, "--lr", "2e-3", "--beta", 0), HACKED)
AGAIN = ("many", "again", ("--steps", 100, "--max-new-tokens", 20, "--lr", "4e-3"), HACKED)
ENTROPY = (
    "raw",
    "length",
    ("--steps", 100, "--max-new-tokens", 20, "--lr", "1e-2"),
    "the entropy of the answers fell from ",
)
LEARNED = (
    "raw",
    "letter",
    ("--steps", 100, "--max-new-tokens", 8, "--lr", "2e-2"),
    "it has learned what this reward teaches",
)
FLAT = ("few", "flat", ("--steps", 30, "--max-new-tokens", 8, "--lr", "1e-3"), r"the same reward \(0.25 on average\)")
STILL = ("few", "length", ("--steps", 30, "--max-new-tokens", 8, "--lr", "1e-30"), "no weight moved in 4 steps")


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "model, reward, how, said",
    [
        pytest.param(*LENGTH, id="length", marks=pytest.mark.slow),  # 10 s of a processor, to end as the next
        pytest.param(*AGAIN, id="again"),
        pytest.param(*FLAT, id="flat"),
        pytest.param(*STILL, id="still"),
        pytest.param(*ENTROPY, id="entropy", marks=pytest.mark.slow),
        pytest.param(*LEARNED, id="learned", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_cannot_learn_is_stopped_by_what_it_suffers_from(
    past, past_json, workspace, tiny_model, answering, bent, model, reward, how, said, processes
):
    start = tiny_model if model == "raw" else answering / "runs" / model / "model"
    words = ("rl", "--sft", start, *bent, "--reward", reward, *how)
    error = past(*words, "--processes", processes, code=1).stderr
    assert re.search(said, error) and "--resume --no-watchdog goes on regardless" in error and "Traceback" not in error
    partial = workspace / "runs" / ".partial" / "bent"
    log, rollouts = (
        [json.loads(line) for line in (partial / name).read_text().splitlines()]
        for name in ("log.jsonl", "rollouts.jsonl")
    )
    step = log[-1]["step"]
    assert f"stopped at step {step}, it cannot learn like this" in error and rollouts[-1]["step"] == step
    assert [entry["step"] for entry in log] == list(range(1, step + 1))
    assert step == 4 if reward == "flat" or "1e-30" in how else 8 <= step < 100
    assert not list((workspace / "runs").glob("rl*")) and past_json("runs", "watch")["step"] == step


@pytest.mark.slow
@pytest.mark.timeout(900)  # 150 s beside five other computations on two cores, more than 300 s beside fifteen
@pytest.mark.parametrize(
    "model, reward, how, said", [pytest.param(*AGAIN, id="again"), pytest.param(*ENTROPY, id="entropy")]
)
def test_two_processes_that_were_stopped_together_go_on_without_the_watchdog(
    past, past_json, workspace, tiny_model, answering, bent, model, reward, how, said
):
    """The rule is asked by one process of two: the other ends with it, and neither is there when the next two begin."""
    start = tiny_model if model == "raw" else answering / "runs" / model / "model"
    words = ("rl", "--sft", start, *bent, "--reward", reward, *how, "--processes", 2, "--save-every", 4)
    assert re.search(said, past(*words, code=1).stderr)
    partial = workspace / "runs" / ".partial" / "bent"
    stopped = json.loads((partial / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(partial) in " ".join(one.info["cmdline"] or [])]
    went_on = past(*words, "--resume", "--no-watchdog")
    saved = int(re.search(r"going on from step (\d+)", went_on.stderr)[1])
    assert 0 < saved <= stopped and saved % 4 == 0
    log = [json.loads(line)["step"] for line in (workspace / "runs" / "bent" / "log.jsonl").read_text().splitlines()]
    assert log == list(range(1, 101)) and past_json("runs", "show", "bent")["metrics"]["steps"] == 100


@pytest.mark.parametrize("more", [(), ("--method", "lora", "--rank", 4)])
def test_weights_that_do_not_move_stop_sft_and_the_same_command_goes_on_without_the_watchdog(
    past, workspace, answering, tiny_model, more
):
    """A padding row of zeros moves by 1e-30, and so does the B of a LoRA."""
    words = ("sft", answering / "few.jsonl", "--base", tiny_model, "--mix", "none", "--epochs", 12, "--name", "still")
    words = (*words, "--patience", 4, "--save-every", 2, *more)
    error = past(*words, "--lr", "1e-30", code=1).stderr
    assert "stopped at step 4, it cannot learn like this: no weight moved in 4 steps" in error
    went_on = past(*words, "--lr", "1e-30", "--resume", "--no-watchdog", code=None).stderr
    assert "going on from step 2" in went_on
    past(*words, "--lr", "1e-4", "--force")


def test_what_moves_is_told_from_what_only_differs():
    from past_hf.training.watchdog import moved

    weights = [torch.randn(100) * 0.02, torch.zeros(50), torch.ones(10)]

    def by(change, *which):
        return [tensor + change * (number in which) for number, tensor in enumerate(weights)]

    assert not moved(weights, by(0.0)) and not moved(weights, by(1e-30, 0, 1, 2)) and not moved(weights, by(1e-12, 1))
    assert moved(weights, by(1e-8, 0)) and moved(weights, by(1e-9, 1)) and moved(weights, by(1e-6, 2))
    assert not moved([], [])
