"""What a task expects, and who tries to have it without knowing it: lists of candidates, denials, choices, calls by the dozen."""

import json

import pytest
from agent_tools import compared_runs, finish

from pastcli.api import Completion, Episode, ExpectedCall, Observation, Parameter, Step, Task, ToolSpec, object_schema
from pastcli.tools.judging.rules import rules

BOUGHT = [
    ("Cost?", "42 crowns", "It is not 42 crowns"),
    ("Cost?", "42 crowns", "It isn't 42 crowns, I am sure."),
    ("Cost?", "42 crowns", "40 crowns 41 crowns 42 crowns 43 crowns 44 crowns"),
    ("Cost?", "42 crowns", "Either 42 or 43 crowns"),
    ("Cost?", "42 crowns", "42 dollars"),
    ("Cost?", "42", "The cost: 4.2"),
    ("Cost?", "42", "1 2 3 42 100"),
    ("Cost?", "42", "Cost?"),
    ("Cost?", "42", ""),
    ("Is it open?", "yes", "no, yes"),
    ("Is it open?", "Yes, it is open", "It's closed, not open"),
    ("Who?", "Juan Rulfo", "Juan Rulfo or Carlos Fuentes or Pedro"),
    ("When?", "2024-03-05", "3 or 4 or 5 March 2024"),
    ("Capital?", "Oslo", "Not Oslo but Bergen"),
    ("Capital?", "Oslo", "I think Oslo is wrong"),
    ("Capital?", "Oslo", "Oslo, Bergen, Stavanger, Trondheim, Tromsø"),
    ("List", "a, b and c", "a and b"),
    ("Score?", "3-1", "1-3"),
]
RIGHT = [
    ("When?", "2024-03-05", "5 March 2024"),
    ("When?", "14:30", "It doesn't leave before 2:30 pm"),
    ("Cost?", "42 crowns", "Not cheap: 42 crowns"),
    ("Cost?", "41.50 crowns", "No, it is 41.5 crowns now"),
    ("Cost of 2?", "84 crowns", "2 × 42 = 84 crowns"),
    ("Capital?", "Oslo", "Oslo, not Bergen"),
    ("Who?", "Juan Rulfo", "Pedro Páramo was written by Juan Rulfo in 1955."),
    ("Is it open?", "yes", "Yes, it is open until 18:00."),
    ("Is it late?", "no", "No. It is on time."),
    ("Open?", "not open", "It is not open"),
    ("Tea or coffee?", "coffee", "coffee"),
    ("How many?", "7", "There are 7 rooms, from 3 to 5 beds"),
    ("Which language?", "C++", "C++"),
    ("How cold?", "-7 degrees", "It will be -7 degrees"),
    ("Share?", "45 %", "45 percent of all"),
    ("List", "Kraken, Gemini and OKX", "We list Kraken, Gemini and OKX."),
    ("Score?", "3-1", "Ajax won 3:1."),
]


@pytest.mark.parametrize(
    ("query", "expected", "answer", "label"),
    [(*row, "Unsolved") for row in BOUGHT] + [(*row, "Solved") for row in RIGHT],
)
def test_an_expected_answer_is_stated_or_it_is_not_given(query, expected, answer, label):
    episode = Episode(Task("1", query, (), expected_answer=expected), 0, (), "finished", answer)
    assert rules.judge(episode).label == label


FARE = ToolSpec("fare", "", "", "fare", schema=object_schema(Parameter("sailing", required=True)))


def step(number, sailing, response):
    return Step(number, 0, Completion(""), "", "fare", {"sailing": sailing}, (), "", "ok", Observation("", response))


def test_what_was_observed_may_stand_beside_the_expected_value():
    """The cheapest of two that a tool named is told with the other; that of two hundred is not found by telling them all."""
    task = Task("1", "What does a cabin cost?", (FARE,), expected_answer="42 crowns")
    steps = (step(0, "SK-1", {"deck": 30, "cabin": 42, "others": list(range(50, 60))}),)
    beside = Episode(task, 0, steps, "finished", "A cabin costs 42 crowns, the deck 30 crowns.")
    assert rules.judge(beside).label == "Solved"
    everything = ", ".join(f"{price} crowns" for price in (30, 42, *range(50, 60)))
    assert rules.judge(Episode(task, 0, steps, "finished", everything)).label == "Unsolved"
    guessed = Episode(task, 0, (), "finished", "A cabin costs 42 crowns, the deck 30 crowns.")
    assert rules.judge(guessed).label == "Unsolved"


def test_calls_by_the_dozen_are_not_the_expected_one():
    task = Task("1", "Fare of SK-7?", (FARE,), expected_calls=(ExpectedCall(FARE.key, {"sailing": ("SK-7",)}),))
    steps = tuple(step(number, f"SK-{number}", {"fare": number}) for number in range(12))
    assert rules.judge(Episode(task, 0, steps, "finished", "")).label == "Unsolved"
    assert rules.judge(Episode(task, 0, steps[6:8], "finished", "")).label == "Solved"  # found at the second attempt


def test_past_agent_pays_nothing_for_all_candidates(workspace, past_json):
    """The whole command, with a model that names every fare there is."""
    compared_runs(past_json)
    every = " ".join(f"{number}.5 crowns" for number in range(12))
    (workspace / "guesser.json").write_text(json.dumps([{"match": ".", "reply": finish(every)}]))
    ask = ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--backend", "echo", "--model", "guesser.json")
    assert past_json(*ask)["sopr"] == 0
