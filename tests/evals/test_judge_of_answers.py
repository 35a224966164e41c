"""The judge of answers, as a reward and as a metric, and the audit of a reward before anything is trained on it."""

from __future__ import annotations

import json
import pickle

import pytest

from pastcli import grading, registry
from pastcli.errors import PastError
from pastcli.rewards import contains, exact_match, f1
from pastcli.rewards.audit import PLEA, attacks, audit
from pastcli.rewards.judge import AnswerJudge, prompt

RIGHT, WRONG = (json.dumps({"reason": "because", "verdict": verdict}) for verdict in ("right", "wrong"))


def script(folder, *entries):
    """A judge of the backend `echo` that says its lines."""
    (folder / "judge.json").write_text(json.dumps(list(entries)))
    return str(folder / "judge.json")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "home"))


def judged(tmp_path, *entries, votes=3, said=("the Ashlin",), gold=(("Ashlin river",),)):
    judge = AnswerJudge("echo", script(tmp_path, *entries), votes)
    return judge(["p"] * len(said), list(said), question=["Which river?"] * len(said), answers=[list(g) for g in gold])


def test_the_majority_of_votes_is_the_grade(tmp_path):
    assert judged(tmp_path, RIGHT, WRONG, RIGHT) == [1.0]
    assert judged(tmp_path / "..", RIGHT, WRONG, WRONG, said=("Ashlin, I think",)) == [0.0]


def test_without_a_majority_an_answer_is_ungraded_and_without_any_vote_the_reward_fails(tmp_path):
    two = dict(said=("the Ashlin", "Orr"), gold=(("Ashlin river",), ("Tund",)))
    lines = [{"match": '"Tund"', "reply": WRONG}, "no JSON", "no JSON", RIGHT]
    assert judged(tmp_path, *lines, **two) == [None, 0.0]
    with pytest.raises(PastError, match="graded none of 1 answers"):
        judged(tmp_path, "Right!")


def test_what_needs_no_judge_is_not_asked_about(tmp_path):
    lines = ["never said"]
    said, gold = ("", "  the ashlin River.", "x"), (("Tund",), ("Ashlin river",), ())
    assert judged(tmp_path, *lines, said=said, gold=gold) == [0.0, 1.0, None]


def test_verdicts_are_kept_by_content_and_the_six_prompts_differ(tmp_path):
    judged(tmp_path, RIGHT)
    assert judged(tmp_path, WRONG) == [1.0], "the same model, question and answer: the votes are known"
    assert judged(tmp_path, WRONG, said=("another",)) == [0.0]
    texts = {json.dumps([m.to_dict() for m in prompt("Q?", ["a"], "b", number)]) for number in range(6)}
    assert len(texts) == 6


def test_the_answer_is_data_to_the_judge():
    system, user = prompt("Q?", ["a"], PLEA)
    assert PLEA not in system.content and json.loads(user.content)["answer_to_grade"] == PLEA


def test_the_judge_can_be_sent_to_another_process_and_needs_a_model(tmp_path):
    judge = AnswerJudge("echo", script(tmp_path, RIGHT))
    judge(["p"], ["x"], answers=[["y"]])
    assert pickle.loads(pickle.dumps(judge))(["p"], ["x"], answers=[["y"]]) == [1.0]
    with pytest.raises(PastError, match="needs a model"):
        registry.load("reward", "judge")(["p"], ["x"], answers=[["y"]])


# ---------------------------------------------------------------- the audit


def rows(count=12):
    return [
        {
            "prompt": f"p{i}",
            "question": f"Which river flows by town {i}?",
            "answer": f"Water {i}",
            "answers": [f"Water {i}"],
        }
        for i in range(count)
    ]


def test_a_sound_reward_is_called_sound_and_what_it_pays_is_right():
    found = audit([("exact_match", 1.0, exact_match)], rows())
    assert found.sound and found.earned["accepted"] == 1.0 and found.earned["A or B or C"] == 0.0
    assert found.earned["guess one of three"] == pytest.approx(1 / 3)
    assert {name for name, value in found.earned.items() if value} == {
        "accepted",
        "guess one of three",
        "the commonest answer",
    }
    assert found.share["the commonest answer"] == pytest.approx(1 / 12)


@pytest.mark.parametrize(
    ("reward", "fault"),
    [
        (
            lambda prompts, completions, **_: [float("correct" in text) or 0.2 for text in completions],
            "'a plea to the judge'",
        ),
        (lambda prompts, completions, **_: [float(len(text) > 0) for text in completions], "'I do not know'"),
        (
            lambda prompts, completions, question, **_: [
                float(q == t or "Water" in t) for q, t in zip(question, completions)
            ],
            "'the question again'",
        ),
        (lambda prompts, completions, **_: [1.0 if not text else 0.5 for text in completions], "'empty'"),
        (contains, "hedging pays"),
        (lambda prompts, completions, **_: [0.0] * len(completions), "the accepted answer itself earns 0.00"),
        (lambda prompts, completions, **_: [None] * len(completions), "nothing that could be graded"),
    ],
)
def test_a_reward_that_can_be_bought_is_named_with_what_buys_it(reward, fault):
    found = audit([("r", 1.0, reward)], rows())
    assert not found.sound and any(fault in text for text in found.faults), found


def test_a_judge_that_obeys_the_answer_is_found_out_and_one_that_does_not_is_sound(tmp_path):
    obeys = {"match": "reply {", "reply": RIGHT}
    judge = AnswerJudge("echo", script(tmp_path, obeys, WRONG))
    found = audit([("judge", 1.0, judge)], rows())
    assert not found.sound and "'a plea to the judge' earns 100%" in found.faults[0]
    judge = AnswerJudge("echo", script(tmp_path / "..", WRONG))
    assert audit([("judge", 1.0, judge)], rows()).sound


def test_spread_and_dead_groups_of_the_models_own_answers():
    def sample(prompts):
        return [["Water 0", "no"] if prompt == "p0" else ["no", "no"] for prompt in prompts]

    found = audit([("exact_match", 1.0, exact_match)], rows(), sample)
    assert found.groups == pytest.approx({"groups": 12, "mean": 1 / 24, "spread": 0.5 / 12, "dead": 11 / 12})
    assert "92% of the groups are dead" in found.faults[0]


def test_hedges_hold_the_right_answer_and_guesses_one_time_in_three():
    asked = rows(9)
    made = attacks(asked)
    assert all(row["answers"][0] in text for row, text in zip(asked, made["A or B or C"]))
    assert {text.index(row["answers"][0]) == 0 for row, text in zip(asked, made["A or B or C"])} == {True, False}
    right = sum(row["answers"][0] == text for row, text in zip(asked, made["guess one of three"]))
    assert right == 3


def test_an_ungraded_judge_leaves_its_weight_to_the_others(tmp_path):
    """f1 = 1 with an ungraded judge pays 1, not 0.5."""
    judge = AnswerJudge("echo", script(tmp_path, {"match": "Tund", "reply": "?"}, RIGHT))
    columns = {"question": ["Which?"] * 2, "answers": [["Tund river bank"], ["Ashlin river"]]}
    got = grading.total([("f1", 0.5, f1), ("judge", 0.5, judge)], ["p"] * 2, ["Tund river", "Ashlin"], columns)
    assert got == pytest.approx([0.8, 0.5 * 2 / 3 + 0.5])


# ---------------------------------------------------------------- from the command line


@pytest.fixture
def questions(workspace):
    lines = [json.dumps({"question": f"Which river {i}?", "answer": f"fox {i}"}) for i in range(6)]
    (workspace / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return workspace / "questions.jsonl"


def test_rl_audits_a_reward_and_exits_4_if_it_can_be_bought(past, workspace, questions, tiny_model):
    words = ("rl", "--sft", tiny_model, "--questions", questions, "--audit", 6, "--num-generations", 2, "--json")
    done = past(*words, "--reward", "contains", code=4)
    found = json.loads(done.stdout.split("\n{", 1)[0])
    assert not found["sound"] and found["share"]["A or B or C"] == 1.0 and "do not train" in done.stderr
    assert found["groups"]["groups"] == 6 and not (workspace / "runs").exists()
    judge = script(workspace, WRONG)
    done = past(*words, "--reward", "judge", "--judge-backend", "echo", "--judge-model", judge, code=4)
    assert "groups are dead" in done.stderr, "a tiny model is never right; but nothing buys this judge"
    past(*words, "--reward", "judge", code=1)
    assert "is for a reward that needs a model" in past(*words, "--judge-model", "x", code=2).stderr


def test_eval_has_the_judge_as_a_metric_beside_the_others(past_json, workspace, questions):
    judge = script(workspace, {"match": "river 0", "reply": "no JSON"}, {"match": "river [123]", "reply": RIGHT}, WRONG)
    (workspace / "one.json").write_text('["Tund"]')
    (workspace / "two.json").write_text('[{"match": "river 5", "reply": "fox 5"}, "Tund"]')
    words = ("eval", "--backend", "echo", "--questions", questions, "--model", "a=one.json", "--model", "b=two.json")
    shown = past_json(*words, "--judge-backend", "echo", "--judge-model", judge)
    one = shown["models"]["a"]["judge"]
    rows = [json.loads(line) for line in (workspace / shown["outputs"]["answers"] / "1.jsonl").read_text().splitlines()]
    assert [row["judge"] for row in rows] == [None, 1.0, 1.0, 1.0, 0.0, 0.0] and not any(row["exact"] for row in rows)
    assert one["mean"] == pytest.approx(3 / 5) and one["low"] < 0.6 < one["high"]
    assert shown["differences"]["b"]["judge"]["mean"] == pytest.approx(1 / 5), "over the questions graded for both"
