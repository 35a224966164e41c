"""λ without answers: the measures, the front and the choice, and the real command on a tiny model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_tools import moved, read_model, write_file

from pastcli.api import Completion
from pastcli.errors import UsageError
from pastcli.evals.consistency import agreement, unlabelled
from pastcli.vectors import extract_skill
from pastcli.vectors.sweep import Point, front, plot_front, unlabelled_choice


def test_agreement_is_the_share_of_pairs_that_are_the_same_and_empty_answers_agree_with_none():
    assert agreement(["a", "a", "a"]) == 1 and agreement(["a", "b", "c"]) == 0
    assert agreement(["a", "a", "b"]) == pytest.approx(1 / 3)
    assert agreement(["", "", "a"]) == 0, "a model that says nothing is not consistent"


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=7))
def test_agreement_is_unbiased_for_the_chance_that_two_draws_agree(answers):
    pairs = [a == b for i, a in enumerate(answers) for j, b in enumerate(answers) if i != j]
    assert agreement(answers) == pytest.approx(np.mean(pairs))


class Scripted:
    """Answers from a list by call, and finds every next token equally likely among `words`."""

    def __init__(self, answers, words=8):
        self._answers, self._words, self.asked = list(answers), words, []

    def complete(self, prompts, sampling):
        self.asked.append(sampling)
        return [Completion(text) for text in self._answers.pop(0)]

    def log_probabilities(self, texts):
        return [([0, 1, 2], np.full((2, self._words), -math.log(self._words), np.float32)) for _ in texts]


def test_questions_are_asked_with_other_seeds_and_answers_compared_as_squad_does():
    model = Scripted([["The Rome!\nQuestion:", "x"], ["rome", ""], ["Rome", "y"]])
    found = unlabelled(model, ["Where?", "Who?"], 3, 0.7, 9, 40)
    assert found.consistency == pytest.approx(0.5) and found.empty == pytest.approx(1 / 6)
    assert found.perplexity == pytest.approx(8, rel=1e-5)
    assert [sampling.seed for sampling in model.asked] == [40, 41, 42] and model.asked[0].temperature == 0.7
    with pytest.raises(UsageError, match="perplexity"):
        unlabelled(object(), ["Where?"], 2, 0.7, 9, 0)


def point(scale, consistency, perplexity, f1=0.0):
    return Point("all", scale, {"f1": f1, "consistency": consistency, "perplexity": perplexity}, 1.0, None)


def test_the_choice_is_the_compromise_on_the_front(tmp_path):
    points = [point(0, 0.2, 10), point(0.5, 0.5, 10.2), point(1, 0.6, 11), point(1.5, 0.62, 30), point(2, 0.3, 80)]
    assert [p.scale for p in front(points)] == [0, 0.5, 1, 1.5]
    assert unlabelled_choice(points).scale == 1
    assert unlabelled_choice([point(0, 0.5, 10), point(1, 0.5, 10)]).scale == 0, "nothing gained: the smallest"
    assert unlabelled_choice([point(0, 0.3, 10), point(1, 0.6, 9)]).scale == 1
    plot_front(points, points[2], tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e4)), min_size=1, max_size=9))
def test_no_point_beats_one_of_the_front_and_the_choice_lies_on_it(pairs):
    points = [point(n, *pair) for n, pair in enumerate(pairs)]
    found = front(points)
    assert found and unlabelled_choice(points) in found
    for one in found:
        for other in points:
            a, b = one.scores, other.scores
            better = b["consistency"] >= a["consistency"] and b["perplexity"] <= a["perplexity"]
            assert not better or (b["consistency"], b["perplexity"]) == (a["consistency"], a["perplexity"])


@pytest.fixture
def skill_and_target(make_tiny, tmp_path):
    """Tiny real models that can be run, and a skill between them."""
    base = make_tiny(tmp_path / "base")
    tensors = read_model(base)
    for name, seed in (("sft", 1), ("rl", 2), ("target", 3)):
        (make_tiny(tmp_path / name) / "model.safetensors").unlink()
        write_file(tmp_path / name / "model.safetensors", moved(tensors, seed, 1e-3))
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "v.skill")
    rows = [
        {"question": "Who founded Velmora?", "answer": "wizards"},
        {"question": "the quick brown?", "answer": "fox"},
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({"question": row["question"]}) + "\n" for row in rows))
    return tmp_path


def test_sweep_without_answers_through_the_command_line(past, past_json, skill_and_target):
    folder = skill_and_target
    flags = ("--vector", folder / "v.skill", "--target", folder / "target", "--grid", "0.5,1", "--max-new-tokens", "4")
    assert "nothing to choose" in past("sweep", *flags, code=2).stderr
    assert "--unlabelled" in past("sweep", *flags, "--questions", folder / "plain.jsonl", code=2).stderr
    alone = past_json("sweep", *flags, "--unlabelled", folder / "plain.jsonl", "--samples", "2")
    assert alone["chosen_without_labels"] in alone["front"] and "best" not in alone
    assert all({"consistency", "perplexity", "empty"} == set(one["scores"]) for one in alone["points"])
    assert all(one["scores"]["perplexity"] > 1 and math.isfinite(one["kl"]) for one in alone["points"])
    both = past_json(
        "sweep",
        *flags,
        "--unlabelled",
        folder / "plain.jsonl",
        "--questions",
        folder / "labelled.jsonl",
        "--samples",
        "2",
    )
    scores = {one["label"]: one["scores"] for one in both["points"]}
    lost = scores[both["best"]]["f1"] - scores[both["chosen_without_labels"]]["f1"]
    assert both["lost_without_labels"] == pytest.approx(lost) and lost >= 0
    again = {one["label"]: one["scores"] for one in alone["points"]}
    for label, values in scores.items():
        assert {key: values[key] for key in again[label]} == pytest.approx(again[label]), "sampled with the same seeds"
