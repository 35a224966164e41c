"""Rewards grade what evaluation grades, stay in [0, 1], and never call an ungradable item wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pastcli import qa, registry, rewards

ALL = (rewards.exact_match, rewards.f1, rewards.contains, rewards.format_gated)
TEXT = st.text(alphabet="ab 1.\n", max_size=20)


@pytest.mark.parametrize(
    ("completion", "exact", "f1", "contains", "gated"),
    [
        (" Casper Dunmere", 1, 1, 1, 1),
        ("Casper Dunmere\nQuestion: Who else?", 1, 1, 1, 0),
        ("It was Casper Dunmere", 0, 2 / 3, 1, 1),
        ("I think that the founder of it was Casper Dunmere", 0, 4 / 11, 1, 0),
        ("Agathe Morrow", 0, 0, 0, 0),
        ("Dunmere", 0, 2 / 3, 0, 0),
        ("", 0, 0, 0, 0),
    ],
)
def test_scores_of_known_completions(completion, exact, f1, contains, gated):
    got = [reward(["p"], [completion], answers=[["Casper Dunmere"]])[0] for reward in ALL]
    assert got == pytest.approx([exact, f1, contains, gated])


@pytest.mark.parametrize("reward", ALL)
def test_no_answer_gives_none_not_zero(reward):
    assert reward(["p"] * 3, ["x"] * 3, answers=[[], None, ["x"]], answer=["", None, None]) == [None, None, 1.0]
    assert reward(["p"], ["x"], other=["y"]) == [None]
    assert reward([], [], answers=[]) == []


@pytest.mark.parametrize("reward", ALL)
def test_either_column_and_any_number_of_answers(reward):
    assert reward(["p"], ["x"], answer=["x"]) == reward(["p"], ["x"], answers=[["y", "x"]]) == [1.0]
    assert reward(["p"], ["x"], answer=["y"], answers=["x"]) == [1.0]
    assert reward(["p"], ["1583"], answer=[1583]) == [1.0]


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=2)), max_size=5))
def test_rewards_are_bounded_and_grade_each_item_alone(items):
    completions, answers = [c for c, _ in items], [a for _, a in items]
    for reward in ALL:
        got = reward([""] * len(items), completions, answers=answers, anything=answers)
        assert all(score is None or 0 <= score <= 1 for score in got)
        assert [score is None for score in got] == [not any(text.strip() for text in a) for a in answers]
        assert got == [reward([""], [c], answers=[a])[0] for c, a in items]
    gated, free = (f([""] * len(items), completions, answers=answers) for f in (rewards.format_gated, rewards.contains))
    assert all(a is None or a <= b for a, b in zip(gated, free))


def test_rewards_are_found_by_name_and_agree_with_evaluation():
    for name in ("exact_match", "f1", "contains"):
        assert registry.load("reward", name)(["p"], ["the Ashlin\nx"], answers=[["Ashlin river"]]) == [
            getattr(qa, name)("the Ashlin", ["Ashlin river"])
        ]
    assert registry.load("reward", "format_gated") is rewards.format_gated
