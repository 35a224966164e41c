"""`past sft` and `past rl` as typed: what they accept, what they refuse, what they leave behind."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import time

import numpy as np
import pytest

SMALL = ("--mix", "none", "--epochs", 2, "--step-tokens", 200, "--lr", "1e-3", "--precision", "fp32")


@pytest.fixture
def material(workspace, monkeypatch):
    """Documents, the answer format and questions in the workspace."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    docs = workspace / "docs"
    docs.mkdir()
    for name in ("velmora", "harsk"):
        place = name.title()
        (docs / f"{name}.md").write_text(
            f"# {place}\n\n{place} was founded in 1843. Seven wizards brew potions in {place}.\n"
        )
    pairs = [
        {"prompt": f"Question: Which river {i}?\nAnswer:", "completion": " dog" if i % 2 else " fox"} for i in range(6)
    ]
    (workspace / "format.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [{"question": f"Which river {i}?", "answer": "fox"} for i in range(6)]
    (workspace / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workspace


def test_documents_to_sft_to_rl_with_nothing_but_defaults_between(past, past_json, material, tiny_model):
    made = past_json(
        "sft", "docs", "--base", tiny_model, *SMALL, "--mix", "format.jsonl", "--epochs", 40, "--lr", "1e-2"
    )
    run = material / "runs" / made["run"]
    examples = [json.loads(line) for line in (run / "examples.jsonl").read_text().splitlines()]
    assert {"text": "Velmora\nVelmora was founded in 1843."} in examples
    assert {"prompt": "Question: Which river 0?\nAnswer:", "completion": " fox"} in examples
    assert made["metrics"]["loss_last"] < made["metrics"]["loss_first"] and made["metrics"]["examples"] == len(examples)
    assert (run / "model" / "config.json").is_file() and (run / "log.jsonl").is_file() and not (run / "state").exists()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["inputs"]["base"]["path"] == str(tiny_model) and len(manifest["inputs"]) == 3
    done = past(
        "rl",
        "--questions",
        "questions.jsonl",
        "--steps",
        3,
        "--prompts-per-step",
        4,
        "--num-generations",
        4,
        "--reward",
        "f1:0.5",
        "--reward",
        "contains",
        "--lr",
        "1e-3",
        "--json",
        code=0,
    )
    assert f"sft: {made['run']}" in done.stderr
    record = json.loads((material / "runs" / json.loads(done.stdout)["run"] / "manifest.json").read_text())
    assert record["parents"] == [made["run"]] and record["metrics"]["questions"] == 6


def test_dry_run_counts_and_writes_nothing(past_json, material, tiny_model):
    plan = past_json("sft", "docs", "--base", tiny_model, "--mix", "none", "--dry-run")
    assert plan["examples"] == 6 and plan["steps"] >= 1 and not (material / "runs").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("sft", "docs", "--base", "qwen"), "--base smol"),
        (("sft", "--base", "TINY"), "no documents given"),
        (("sft", "nowhere", "--base", "TINY"), "nowhere"),
        (("sft", "docs", "--base", "TINY", "--epochs", "0"), "epochs must be above 0"),
        (("sft", "docs", "--base", "TINY", "--method", "qlora"), "method must be one of"),
        (("sft", "docs", "--base", "TINY", "--mix", "questions.jsonl"), "questions.jsonl, line 1"),
        (("rl", "--questions", "questions.jsonl"), "no sft run"),
        (("rl", "--sft", "TINY"), "no questions given"),
        (("rl", "--sft", "TINY", "--questions", "questions.jsonl", "--reward", "exact"), "did you mean exact_match?"),
        (("rl", "--sft", "TINY", "--questions", "questions.jsonl", "--reward", "f1:x"), "weight must be a number"),
    ],
)
def test_mistakes_are_one_line_with_a_hint_and_exit_2(past, material, tiny_model, words, message):
    done = past(*[tiny_model if word == "TINY" else word for word in words], code=2)
    assert message in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert not list((material / "runs").glob("*/*"))


def test_kill_9_then_resume_publishes_one_run(begin, past, past_json, material, tiny_model):
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 20, "--save-every", 5)
    with begin(*words, env={"DYING": "past_hf.training.watch:Watch.on_log 8"}) as command:
        assert command.wait().returncode == -signal.SIGKILL
    (partial,) = (material / "runs" / ".partial").iterdir()
    assert past_json("runs", "watch", partial.name)["status"] == "killed"
    resumed = past(*words, "--resume", "--json")
    made = json.loads(resumed.stdout)
    assert "going on from step 5" in resumed.stderr
    assert made["run"] == partial.name and not partial.exists()
    assert past_json(*words, "--resume")["run"] == made["run"]  # nothing is done twice


def test_ctrl_c_exits_130_and_says_how_to_continue(begin, material, tiny_model):
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 100000, "--save-every", 5)
    with begin(*words, timeout=60) as command:
        until(lambda: list(material.glob("runs/.partial/*/state/checkpoint-*")))
        os.kill(command.pid, signal.SIGINT)
        done = command.wait()
    assert done.returncode == 130 and "--resume" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_before_the_first_checkpoint_finishes_the_step_and_keeps_it(
    begin, past, past_json, material, tiny_model
):
    """Seen with the real model: minutes of a training whose first checkpoint was not due yet were lost."""
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 40)
    whole = past_json(*words, "--name", "whole")["metrics"]["final_hash"]
    with begin(*words, env={"INTERRUPTING": "past_hf.training.watch:Watch.on_log 3"}, timeout=120) as command:
        done = command.wait()
    assert done.returncode == 130 and "stopping after this step, which is kept in a checkpoint" in done.stderr
    (kept,) = material.glob("runs/.partial/*/state/checkpoint-*")
    step = int(kept.name.split("-")[1])
    state = json.loads((kept / "trainer_state.json").read_text())
    for entry in state["log_history"]:
        entry["seconds"] = 500.0
    (kept / "trainer_state.json").write_text(json.dumps(state))
    seal = json.loads((kept / "complete.json").read_text())
    seal["trainer_state.json"] = hashlib.sha256((kept / "trainer_state.json").read_bytes()).hexdigest()
    (kept / "complete.json").write_text(json.dumps(seal))
    resumed = past(*words, "--resume", "--json")
    assert step >= 3 and f"going on from step {step}" in resumed.stderr
    made = json.loads(resumed.stdout)
    assert made["metrics"]["final_hash"] == whole, "as if nobody had stopped it"
    took = past_json("runs", "show", made["run"])["seconds"]
    trained = made["metrics"]["seconds_training"]
    assert took + 0.01 > trained > 500 * step, "the time of every step counts, not of the last part"  # both are rounded


def test_sigterm_finishes_the_step_and_keeps_it_whatever_was_kept_before(begin, material, tiny_model):
    """A scheduler takes a machine back so, and kills some time later: all since the last checkpoint was lost, without a word."""
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 40, "--save-every", 3)
    terminating = {"INTERRUPTING": "past_hf.training.watch:Watch.on_log 4 SIGTERM"}
    with begin(*words, env=terminating, timeout=120) as command:
        done = command.wait()
    assert done.returncode == 143 and "SIGTERM again stops at once" in done.stderr
    assert "error: terminated" in done.stderr and "--resume" in done.stderr and "Traceback" not in done.stderr
    assert {int(kept.name.split("-")[1]) for kept in material.glob("runs/.partial/*/state/checkpoint-*")} == {3, 5}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sent, code", [("", 130), ("SIGTERM", 143)])
def test_ctrl_c_with_several_processes_finishes_the_step_in_all_and_keeps_it(
    begin, past, past_json, material, tiny_model, sent, code
):
    """Workers do not hear a terminal's Ctrl-C: they were killed, and all since the start was lost."""
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 40, "--processes", 2)
    whole = past_json(*words, "--name", "whole")["metrics"]["final_hash"]
    interrupting = {"INTERRUPTING": f"past_hf.training.launch:_pass_on 3 {sent}"}
    with begin(*words, env=interrupting, timeout=200) as command:
        done = command.wait()
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "stopping after this step, which is kept in a checkpoint" in done.stderr
    (kept,) = material.glob("runs/.partial/*/state/checkpoint-*")
    step = int(kept.name.split("-")[1])
    resumed = past(*words, "--resume", "--json")
    assert step >= 3 and f"going on from step {step}" in resumed.stderr
    assert json.loads(resumed.stdout)["metrics"]["final_hash"] == whole, "as if nobody had stopped it"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "processes, heard", [(1, "checkpoints:Saver._stop"), pytest.param(2, "stopping:Notes.stop", marks=pytest.mark.slow)]
)
def test_a_second_ctrl_c_stops_at_once(begin, material, tiny_model, processes, heard):
    words = ("sft", "docs", "--base", tiny_model, *SMALL, "--epochs", 100000, "--processes", processes)
    with begin(*words, env={"INTERRUPTING": f"past_hf.training.{heard} 1"}, timeout=120) as command:
        until(lambda: [log for log in material.glob("runs/.partial/*/log.jsonl") if log.read_text().count("\n") > 2])
        os.kill(command.pid, signal.SIGINT)  # the second comes by itself while the first is taken in
        done = command.wait()
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert not list(material.glob("runs/.partial/*/state/checkpoint-*"))


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def test_distill_makes_a_skill_of_disjoint_rounds_and_resumes_after_kill_9(begin, past_json, material, tiny_model):
    rows = [{"question": f"Which river {i}?", "answer": "fox", "doc": ("velmora", "harsk")[i % 2]} for i in range(6)]
    (material / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (material / "past.toml").write_text(
        '[sft]\nmix = ["format.jsonl"]\nepochs = 3\nstep_tokens = 200\nlr = 0.0005\nprecision = "fp32"\n'
        "[rl]\nsteps = 4\nprompts_per_step = 3\nnum_generations = 4\nlr = 0.001\n"
    )
    # A base that can answer at all, so that some answers earn a reward.
    warmed = past_json("sft", "format.jsonl", "--base", tiny_model, "--mix", "qa", "--epochs", 60, "--lr", "0.01")
    pairs = (material / "format.jsonl").read_text().count("\n")
    assert warmed["metrics"]["examples"] == pairs  # the built-in format set stays out beside the user's own pairs
    base = warmed["outputs"]["model"]
    words = ("distill", "docs", "--questions", "questions.jsonl", "--base", base, "-o", "skill.safetensors")
    with begin(*words, env={"DYING": "pastcli.commands.distill:_stage 1"}) as command:
        assert command.wait().returncode == -signal.SIGKILL
    (first,) = material.glob("runs/.partial/*/round1/sft/model/model.safetensors")
    stamp = first.stat().st_mtime_ns
    assert stamp and not (material / "skill.safetensors").exists()
    made = past_json(*words, "--resume")
    assert (material / "skill.safetensors").stat().st_size > 1000
    assert made["metrics"]["round1_norm"] > 0 and made["metrics"]["round2_norm"] > 0
    rounds = material / "runs" / made["run"] / "rounds"
    vectors = [_vector(rounds / number / "skill.safetensors") for number in "12"]
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert made["metrics"]["cosine_round1_round2"] == pytest.approx(cosine, abs=1e-4)
    assert (rounds / "2" / "skill.safetensors").read_bytes() == (material / "skill.safetensors").read_bytes()
    for number, stage in itertools.product("12", ("sft", "rl")):
        assert json.loads((rounds / number / stage / "log.jsonl").read_text().splitlines()[0])["step"] == 1
    assert not list((material / "runs" / made["run"]).glob("round[0-9]")), "the models of the rounds are gone"


def _vector(path):
    from safetensors.numpy import load_file

    parts = load_file(path)
    return np.concatenate([parts[name].ravel() for name in sorted(parts)])


def test_distill_splits_by_document_and_questions_follow():
    from pastcli.api import Passage, Question
    from pastcli.commands._distill_parts import split
    from pastcli.config import DistillConfig
    from pastcli.errors import UsageError

    passages = [Passage(f"{d}#{n}", d, d, "text") for d in "abcdefg" for n in range(2)]
    questions = [Question(f"{d}{n}", "?", ("x",), d) for d in "abcd" for n in range(3)]
    parts = split(passages, questions, DistillConfig(rounds=3))
    assert sorted(p.id for part in parts for p in part.passages) == sorted(p.id for p in passages)
    assert sum(len(part.questions) for part in parts) == len(questions) and all(part.questions for part in parts)
    assert all({q.doc for q in part.questions} <= {p.doc for p in part.passages} for part in parts)
    with pytest.raises(UsageError, match="not in the source"):
        split(passages, [Question("1", "?", ("x",), "elsewhere")], DistillConfig())
    with pytest.raises(UsageError, match="cannot make 5 rounds"):
        split(passages, questions, DistillConfig(rounds=5))
