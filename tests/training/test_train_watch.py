"""A training as it is watched: its files while it runs, its watchdogs, the held-out measure that chooses the result."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from train_tools import RL, SFT, job_of, rl_rows, sft_rows, variety, weights

from pastcli.errors import PastError, UsageError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rl(tmp_path, tiny_model):
    """`rl(reward=..., steps=...)` runs the small GRPO job."""
    from past_hf.training import HFTrainer

    def call(reward=variety, dev=None, progress=None, resume=False, **changes):
        job = job_of(
            tmp_path, "rl", tiny_model, rl_rows(), dataclasses.replace(RL, **changes), watch=tmp_path / "watch"
        )
        rewards = reward if isinstance(reward, list) else [("variety", 1.0, reward)]
        more = dict(dev=dev, progress=progress, resume=resume)
        return HFTrainer().rl(dataclasses.replace(job, rewards=rewards, **more))

    return call


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_log_and_rollouts_are_written_while_training_runs(rl, tmp_path):
    seen = []

    def look(done, total, metrics):
        log, rollouts = lines(tmp_path / "watch" / "log.jsonl"), lines(tmp_path / "watch" / "rollouts.jsonl")
        seen.append((done, log[-1]["step"], rollouts[-1]["step"]))

    result = rl(progress=look)
    assert seen == [(step, step, step) for step in range(1, 7)]
    (row, *_) = [r for r in lines(tmp_path / "watch" / "rollouts.jsonl") if r["step"] == 3]
    assert row["prompt"].startswith("Question: which river") and row["reward"] == pytest.approx(
        row["rewards"]["variety"]
    )
    for entry in result.log:
        parts = ("rollout", "reward", "train", "optimizer")
        assert all(entry[f"seconds_{part}"] > 0 for part in parts)
        assert sum(v for k, v in entry.items() if k.startswith("seconds_")) <= entry["seconds"] + 1e-3


def test_a_constant_reward_stops_by_itself_and_says_why(rl):
    def flat(prompts, completions, **_):
        return [0.25] * len(completions)

    with pytest.raises(PastError) as caught:
        rl(flat, steps=50, patience=4)
    assert "stopped at step 4" in caught.value.message and "same reward (0.25 on average)" in caught.value.message
    assert "--no-watchdog" in caught.value.hint
    with pytest.raises(PastError, match="training changed nothing"):
        rl(flat, steps=6, patience=4, watchdog=False)


def test_a_constant_reward_stops_the_command_and_leaves_the_answers_to_look_at(past, past_json, workspace, tiny_model):
    asked = "".join(json.dumps({"question": f"Which river {i}?", "answer": "no such word"}) + "\n" for i in range(4))
    (workspace / "questions.jsonl").write_text(asked)
    small = ("--steps", 30, "--prompts-per-step", 2, "--num-generations", 4, "--patience", 3, "--reward", "exact_match")
    said = past("rl", "--sft", tiny_model, "--questions", "questions.jsonl", *small, code=1).stderr
    assert "stopped at step 3, it cannot learn like this: in 3 steps on end all answers" in said
    assert "same reward (0 on average)" in said and "log and sampled answers:" in said
    seen = past_json("runs", "watch")
    assert seen["step"] == 3 and seen["curves"]["dead_groups"] == [1.0] * 3 and seen["rollouts"]
    looked_at_later = past("runs", "watch").stderr
    assert (
        "it broke off: stopped at step 3, it cannot learn like this" in looked_at_later
        and "--resume" in looked_at_later
    )


def test_a_reward_that_can_grade_nothing_is_named_for_it(rl):
    def blind(prompts, completions, **_):
        return [None] * len(completions)

    with pytest.raises(PastError, match="in 4 steps on end no reward could grade any answer"):
        rl(blind, steps=50, patience=4)


def test_nan_stops_at_once(tmp_path, tiny_model):
    from past_hf.training import HFTrainer

    job = job_of(tmp_path, "sft", tiny_model, sft_rows(), dataclasses.replace(SFT, lr=1e30))
    with pytest.raises(PastError, match=r"stopped at step \d, .* is (nan|inf)"):
        HFTrainer().sft(job)


def test_rules_fire_on_what_they_name_and_on_nothing_else():
    from past_hf.training import watchdog

    def fired(log):
        return [rule.__name__ for rule in watchdog.RULES if rule(log, 5)]

    healthy = [
        {
            "loss": 0.1,
            "grad_norm": 1.0,
            "reward": 0.3,
            "dead_groups": 0.9,
            "entropy": 2.0 - i / 20,
            "clipped": 0.2,
            "completion_length": 8.0,
            "repetition": 0.1,
        }
        for i in range(20)
    ]

    def ending(**changes):
        return healthy + [{**healthy[-1], **changes}] * 5

    assert fired(healthy) == []
    assert fired(ending(dead_groups=1.0)) == ["dead_groups"] and fired(ending(dead_groups=1.0)[:-1]) == []
    assert fired(ending(entropy=0.001)) == ["collapsed_entropy"]
    what, mend = watchdog.collapsed_entropy(ending(entropy=0.001), 5)
    assert mend == "lower --lr, or hold on with --beta"
    what, mend = watchdog.collapsed_entropy(ending(entropy=0.001, reward=1.0), 5)  # it may have found all there is
    assert "while the reward rose from 0.3 to 1" in what and "it has learned what this reward teaches" in mend
    assert fired(ending(completion_length=40.0, clipped=1.0)) == ["exploding_length"]
    assert fired(ending(completion_length=40.0, clipped=0.1)) == []
    assert fired(ending(repetition=0.8)) == ["repetition"]
    assert fired(ending(grad_norm=float("nan"))) == ["not_finite"]
    blind = [{key: value for key, value in step.items() if key != "reward"} for step in healthy]
    assert fired(blind) == ["ungraded"] and fired([*blind, healthy[-1]]) == []
    texts = [{"loss": 1.0, "grad_norm": 1.0}] * 20  # of SFT, which has no answers
    assert fired(texts) == []


def test_held_out_questions_choose_the_result_and_the_last_is_kept(rl, tmp_path):
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(json.dumps(row) + "\n" for row in rl_rows()[:5]))
    calls = []

    def falling(prompts, completions, **columns):
        if len(completions) == 5:  # the held-out questions: best at the second measure
            calls.append(1)
            return [{1: 0.1, 2: 0.9}.get(len(calls), 0.2)] * 5
        return variety(prompts, completions, **columns)

    result = rl(falling, dev=dev, dev_every=2, schedule="constant", warmup=0.0)
    measured = {entry["step"]: entry["dev"] for entry in result.log if "dev" in entry}
    assert measured == pytest.approx({2: 0.1, 4: 0.9, 6: 0.2})
    assert result.best_step == 4 and result.last == tmp_path / "out" / "last"
    best, last = weights(result), weights(dataclasses.replace(result, path=result.last))
    four, six = (weights(rl(variety, steps=steps, schedule="constant", warmup=0.0)) for steps in (4, 6))
    for name in best:
        assert torch.equal(best[name], four[name]) and torch.equal(last[name], six[name])
        assert not torch.equal(best[name], last[name]) or name.endswith("norm.weight")


def test_held_out_texts_choose_the_sft_model(tmp_path, tiny_model):
    from past_hf.training import HFTrainer

    dev = tmp_path / "dev.jsonl"
    dev.write_text(json.dumps({"text": "dog over lazy the jumps fox"}) + "\n")
    config = dataclasses.replace(SFT, dev_every=5, lr=5e-3, epochs=6)
    result = HFTrainer().sft(job_of(tmp_path, "sft", tiny_model, sft_rows(), config, dev=dev))
    measured = {entry["step"]: entry["dev"] for entry in result.log if "dev" in entry}
    assert max(measured, key=measured.get) == result.best_step and all(value < 0 for value in measured.values())
    assert (result.last is None) == (result.best_step == result.steps)


# ---------------------------------------------------------------- rewards


def test_what_cannot_be_graded_leaves_its_weight_to_the_others():
    from pastcli.grading import weighted

    f1, judge = [1.0, 0.0, 0.5, None], [None, 1.0, 0.5, None]
    assert weighted([f1, judge], [0.5, 0.5]) == [1.0, 0.5, 0.5, None]
    assert weighted([f1, judge], [1.0, -1.0])[0] == 2.0  # the sum of |w| is what is kept


@settings(deadline=None)  # a busy machine was taken for a failure
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_with_everything_graded_the_reward_is_the_weighted_sum(pairs):
    from pastcli.grading import weighted

    got = weighted([[a for a, _ in pairs], [b for _, b in pairs]], [0.25, 0.75])
    assert got == pytest.approx([0.25 * a + 0.75 * b for a, b in pairs], abs=1e-6)


def test_an_ungraded_judge_does_not_lower_the_reward_of_a_run(rl):
    def one(prompts, completions, **_):
        return [1.0] * len(completions)

    def judge(prompts, completions, **_):
        return [None if i % 2 else len(set(text)) / 10 for i, text in enumerate(completions)]

    result = rl([("f1", 0.5, one), ("judge", 0.5, judge)], steps=2)
    assert all(entry["reward"] > 0.75 for entry in result.log) and all("rewards/judge" in e for e in result.log)


# ---------------------------------------------------------------- elsewhere


def test_tensorboard_reads_what_was_reported(rl, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    result = rl(report_to=["tensorboard"])
    (file,) = (tmp_path / "watch" / "tensorboard").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    rewards = [event.value for event in events.Scalars("train/reward")]
    assert rewards == pytest.approx([entry["reward"] for entry in result.log])


def test_tensorboard_draws_no_step_twice_after_a_resume(rl, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop(done, total, metrics):
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    with pytest.raises(KeyboardInterrupt):
        rl(report_to=["tensorboard"], progress=stop)
    result = rl(report_to=["tensorboard"], resume=True)
    events = EventAccumulator(str(tmp_path / "watch" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/reward")] == list(range(1, result.steps + 1))


def test_a_reporter_that_is_not_installed_is_named(rl):
    with pytest.raises(UsageError, match="--report-to flyte") as caught:
        rl(report_to=["flyte"])
    assert "pip install flyte" in caught.value.hint


def test_a_reporter_that_nobody_knows_is_no_package_to_install(rl):
    with pytest.raises(UsageError, match="nothing known reports to 'tensorbord'") as caught:
        rl(report_to=["tensorbord"])
    assert "tensorboard" in caught.value.hint and "install" not in caught.value.hint


def test_runs_watch_shows_curves_times_and_answers(past, past_json, workspace, tiny_model):
    questions = "".join(json.dumps({"question": f"Which river {i}?", "answer": "fox"}) + "\n" for i in range(4))
    (workspace / "questions.jsonl").write_text(questions)
    small = ("--steps", 3, "--prompts-per-step", 2, "--num-generations", 4, "--no-watchdog", "--lr", "1e-2")
    # 16 letters of noise hardly ever hold the answer: with a KL term there is something to learn even so
    past("rl", "--sft", tiny_model, "--questions", "questions.jsonl", *small, "--beta", 0.1, "--dev", "questions.jsonl")
    made = past_json("runs", "watch")
    assert made["status"] == "complete" and made["step"] == 3 and len(made["curves"]["loss"]) == 3
    assert {"rewards/f1", "dev", "kl"} <= made["curves"].keys() and len(made["rollouts"]) == 4
    assert sum(made["time"].values()) == pytest.approx(1.0, abs=0.01) and made["time"]["rollout"] > 0
    shown = past("runs", "watch", "@rl", "--once").stdout
    assert "step 3" in shown and "time: " in shown and "Which river" in shown


def test_a_short_training_is_not_held_against_itself(past_json, workspace, warmed):
    """First and last five steps: of two steps both were both, and the reward "went from 1.06 to 1.06"."""
    asked = [{"question": f"Which river {i}?", "answer": "dog" if i % 2 else "fox"} for i in range(6)]
    (workspace / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    small = ("--steps", 3, "--prompts-per-step", 2, "--num-generations", 8, "--max-new-tokens", 6, "--lr", "1e-3")
    made = past_json(
        "rl", "--sft", warmed, "--base", warmed, "--questions", "questions.jsonl", *small, "--name", "short"
    )
    log = [json.loads(line) for line in (workspace / "runs" / "short" / "log.jsonl").read_text().splitlines()]
    assert len({step["reward"] for step in log}) == 3, "steps that differ"
    assert made["metrics"]["reward_first"] == pytest.approx(log[0]["reward"], abs=1e-4)
    assert made["metrics"]["reward_last"] == pytest.approx(log[-1]["reward"], abs=1e-4)


def test_a_curve_is_drawn_between_its_smallest_and_largest():
    from pastcli import curves

    assert curves.curve([0, 7, 3.5]) == "▁█▅" and curves.curve([1, 1]) == "▄▄" and curves.curve([float("nan")]) == ""
    assert len(curves.curve(list(range(1000)))) == 48
