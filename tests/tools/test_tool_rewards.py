"""What the rewards of episodes pay for, and what they do not."""

from __future__ import annotations

import pytest
from rl_tools import queries, write

from pastcli.api import Completion, Episode, ExpectedCall, Observation, Step, Task, ToolSpec
from pastcli.tools.baseline import know_nothing, step_of
from pastcli.tools.judging.rules import rules
from pastcli.tools.load import load_tools, open_environment
from pastcli.tools.rewards import first_calls, verdict
from pastcli.tools.rewards.behaviour import describe


@pytest.fixture
def table(tmp_path):
    """`run(*calls)` plays calls (name, arguments) of the first query; a name alone is a turn that could not be read."""
    file = write(tmp_path / "tools.json", queries())
    loaded = load_tools(file)
    task, env = loaded.tasks[0], open_environment(loaded, file)

    def run(*calls, answer=""):
        specs, steps = {spec.name: spec for spec in task.tools}, []
        for name, arguments in calls:
            seen = env.call(specs[name], arguments) if name in specs and arguments is not None else None
            outcome = (
                "malformed" if arguments is None else "unknown" if seen is None else "invalid" if seen.error else "ok"
            )
            steps.append(Step(len(steps), 0, Completion(""), "", name, arguments, (), "", outcome, seen))
        return Episode(task, 0, tuple(steps), "finished" if answer else "max_turns", answer)

    return run, task, env


def paid(episode):
    return first_calls([""], [""], episode=[episode])[0]


RIGHT = ("fare_for_skelvik", {"route": "Oslo"})


@pytest.mark.parametrize(
    ("calls", "earned"),
    [
        ([RIGHT], 1.0),
        ([RIGHT] * 10, 1 / 10),  # as much as once, before
        ([RIGHT, ("fare_for_skelvik", {"route": "OSLO"})], 1 / 2),
        ([RIGHT, ("fare_for_skelvik", {"Route": "Oslo"})], 1.0),  # refused: nothing is answered again
        ([RIGHT, ("news_for_skelvik", {})], 1 / 2),
        ([RIGHT, ("news_for_skelvik", {}), ("news_for_skelvik", {})], 1 / 3),
        ([RIGHT, ("news_for_skelvik", {}), ("crew_for_skelvik", {"ship": "Oslo"})], 1 / 3),
        ([RIGHT, ("fares", {})], 1 / 2),
        ([("fare_for_skelvik", {}), RIGHT], 0.0),  # told what was missing
        ([("fare_for_skelvik", None), RIGHT], 0.0),  # not even JSON at first
        ([("fare_for_skelvik", {"town": "Oslo"})], 0.0),
        ([("fare_for_skelvik", {"route": "Paris"})], 0.0),  # well-formed, and from nowhere
        ([("news_for_skelvik", {})], 0.0),
        ([], 0.0),
    ],
)
def test_only_right_first_calls_pay_and_needless_ones_cost(table, calls, earned):
    run, _, _ = table
    assert paid(run(*calls)) == pytest.approx(earned)


def test_a_program_that_knows_nothing_earns_nothing(table):
    _, task, env = table
    assert paid(know_nothing(task, env)) == 0.0


def test_the_figures_name_the_cheats(table):
    run, _, _ = table
    everything = describe(run(("news_for_skelvik", {}), ("crew_for_skelvik", {"ship": "Oslo"}), RIGHT))
    assert everything["strangers_called"] == 1.0 and everything["first_calls_right"] == 1.0
    dumped = run(RIGHT, answer="placeholder")
    shown = str(dumped.steps[0].observation.response)
    assert describe(run(RIGHT, answer=f"Here it is: {shown}"))["dumped"] == 1.0
    fare = dumped.steps[0].observation.response["fare"]
    assert describe(run(RIGHT, answer=f"The fare is {fare}."))["dumped"] == 0.0


FIND = ToolSpec(
    "find",
    "Ships",
    "Skelvik",
    "find",
    schema={
        "type": "object",
        "properties": {"town": {"type": "string"}, "limit": {"type": "integer", "default": 5}},
        "required": ["town"],
    },
)
OSLO, FOUND = {"town": "Oslo"}, {"ferries": 3}
DOWN = {"message": "error: the service is unavailable"}


def told(*calls, expected=()):
    """What `first_calls` gives an episode of calls (arguments, response) of one function that a query needs."""
    steps = tuple(
        step_of(n, "find", arguments, Observation("", response)) for n, (arguments, response) in enumerate(calls)
    )
    task = Task("1", "How many ferries are there in Oslo?", (FIND,), (FIND.key,), expected_calls=expected)
    return paid(Episode(task, 0, steps, "finished", "There are 3."))


@pytest.mark.parametrize(
    ("calls", "earned"),
    [
        ([(OSLO, FOUND), (OSLO, FOUND), (OSLO, FOUND)], 1 / 3),
        ([(OSLO, FOUND), ({"town": "Oslo", "limit": 5}, FOUND)], 1 / 2),  # the default, said
        (
            [(OSLO, FOUND), ({"town": " oslo"}, {"ferries": 2})],
            1 / 2,
        ),  # in another spelling, and a program answers otherwise
        ([(OSLO, FOUND), ({"town": "Oslo", "limit": 9}, FOUND)], 1.0),  # another question
        ([(OSLO, FOUND), (OSLO, DOWN), (OSLO, DOWN)], 1.0),  # nothing was answered
        ([(OSLO, FOUND), (OSLO, {"ferries": 2})], 1.0),  # one has left: a tool with a state is asked anew
        ([(OSLO, {"ferries": []}), ({"town": "OSLO"}, FOUND), ({"town": "OSLO"}, FOUND)], 1 / 2),
    ],
)
def test_a_call_made_again_costs_where_it_had_been_answered(calls, earned):
    assert told(*calls) == pytest.approx(earned)


def test_what_a_query_wants_done_twice_may_be_done_twice():
    once = ExpectedCall(FIND.key, {"town": ("Oslo",)})
    assert told((OSLO, FOUND), (OSLO, FOUND), expected=(once, once)) == 1.0
    assert told((OSLO, FOUND), (OSLO, FOUND), (OSLO, FOUND), expected=(once, once)) == pytest.approx(2 / 3)


HOTEL = {"stars": 4, "city": "Brno", "owner": "Ada Krol", "rooms": 71, "built": 1988, "phone": "5550188", "price": 90}


def judged(query, answer, response=HOTEL):
    """(what `verdict` pays, the judge's label, the figures) of an answer after one right call."""
    spec = ToolSpec("hotel", "Hotels", "Morava", "hotel")
    step = step_of(0, "hotel", {}, Observation("", response))
    episode = Episode(Task("1", query, (spec,), (spec.key,)), 0, (step,), "finished", answer)
    label = rules.judge(episode)
    return verdict([""], [""], episode=[episode], verdict=[label])[0], label.label, describe(episode)


PRICE = "Use Morava hotel. What is the price?"
PROSE = "The stars is 4. The city is Brno. The owner is Ada Krol. The price is 90."


def test_values_told_that_nobody_asked_for_cost_and_all_of_them_cost_all():
    assert judged(PRICE, "The price is 90.")[:2] == (1.0, "Solved")
    earned, label, figures = judged(PRICE, PROSE)
    assert (earned, label) == (1 / 4 * 3 / 6, "Solved")  # a quarter of what is told, and three of six others left out
    assert figures["told_asked"] == 1 / 4 and figures["to_the_point"] == earned and figures["dumped"] == 0.0
    both = {"price": 90, "note": "Bring a towel to the pool"}
    assert judged(PRICE, "The price is 90. The note is Bring a towel to the pool.", both)[:2] == (0.0, "Solved")


def test_what_is_read_out_in_the_tools_own_order_is_a_dump():
    read_out = "Stars 4, city Brno, owner Ada Krol, rooms 71, and the price is 90."
    for query in (PRICE, "Is there a good hotel near the lake?"):
        earned, _, figures = judged(query, read_out)
        assert earned == 0.0 and figures["dumped"] == 1.0
    asked = "Use Morava hotel. What are the stars, the city, the owner and the rooms?"
    assert judged(asked, "The stars are 4, the city is Brno, the owner is Ada Krol, the rooms are 71.")[0] == 1.0


def test_nearly_all_of_what_was_observed_is_no_answer_to_an_open_query_either():
    open_query, rest = "Is there a good hotel near the lake?", "71 rooms, built in 1988, phone 5550188"
    assert judged(open_query, f"Ada Krol has one of 4 stars in Brno with {rest}, for 90.")[::2][0] == 0.0
    assert judged(open_query, "The one of Ada Krol in Brno has 4 stars and costs 90.")[0] == 1.0


@pytest.mark.parametrize("answer", ["The price is not 90.", "It isn't 90.", "The city is 90.", "Owner: 90"])
def test_a_value_that_is_denied_or_said_of_something_else_is_not_told(answer):
    assert judged(PRICE, answer)[:2] == (0.0, "Unsolved")


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("Tell me about the hotel Morava.", PROSE),  # all of it was asked for
        ("Use Morava hotel. What is the price and the city?", "It costs 90, in Brno."),
        ("Use Morava hotel: who runs it, and how many rooms does it have?", "It has 71 rooms and is run by Ada Krol."),
        (PRICE, "It costs 90 a night at the Morava."),
        (PRICE, "The price of the hotel is 90.00."),
    ],
)
def test_an_honest_answer_is_paid_as_the_judge_says(query, answer):
    earned, label, _ = judged(query, answer)
    assert earned == {"Solved": 1.0, "Partially Solved": 0.5, "Unsolved": 0.0}[label] > 0


def test_a_value_inside_the_one_asked_for_is_not_told_beside_it():
    response = {"id": "I15-1", "share": 15.1}
    assert judged("Use Morava hotel. What is the id?", "It is I15-1.", response)[0] == 1.0
