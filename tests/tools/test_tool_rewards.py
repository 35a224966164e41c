"""What the rewards of episodes pay for, and what they do not."""

from __future__ import annotations

import pytest
from rl_tools import queries, write

from pastcli.api import Completion, Episode, Step
from pastcli.tools.baseline import know_nothing
from pastcli.tools.load import load_tools, open_environment
from pastcli.tools.rewards import first_calls
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
        ([RIGHT, ("news_for_skelvik", {})], 1 / 2),
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
