"""Rewards of somebody else's: what one may do, and what it cannot do to the others."""

import pytest

from pastcli.errors import PastError
from pastcli.grading import graded, total

PROMPTS, ANSWERS = ["a?", "b?"], ["yes", "no"]


def spoils(prompts, completions, *, answer, **columns):
    """A reward that changes all it is given."""
    prompts.clear()
    completions[:] = ["spoilt"] * len(completions)
    answer.append("spoilt")
    return [0.0, 1.0]


def counts(prompts, completions, *, answer, **columns):
    assert prompts == PROMPTS and answer == ["yes", "yes"]
    return [float(text == "yes") for text in completions]


def test_a_reward_cannot_change_what_another_grades():
    columns = {"answer": ["yes", "yes"]}
    values = total([("spoils", 1.0, spoils), ("counts", 1.0, counts)], PROMPTS, ANSWERS, columns)
    assert values == [1.0, 1.0] and ANSWERS == ["yes", "no"] and columns == {"answer": ["yes", "yes"]}


def leaves(prompts, completions):
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (leaves, "failed: SystemExit: 0"),
        (lambda prompts, completions: [1e300, 0.0], "gave 1e+300"),
        (lambda prompts, completions: [-1e16, 0], "gave -1e+16"),
        (lambda prompts, completions: [float("inf"), 0.0], "no finite number"),
        (lambda prompts, completions: ["1.0", "0.0"], "no finite number"),
        (lambda prompts, completions: 1.0, "failed: TypeError"),
        (lambda prompts, completions: [1.0], "gave 1 values for 2 answers"),
    ],
)
def test_what_is_no_grade_is_refused_by_the_rewards_name(reward, said):
    with pytest.raises(PastError) as caught:
        graded("mine", reward, PROMPTS, ANSWERS, {})
    assert caught.value.message.startswith("reward 'mine' ") and said in caught.value.message
