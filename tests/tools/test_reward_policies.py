"""What the default rewards of `past rl --tools` pay policies that are after the reward, beside an honest one, on made queries."""

import pytest
from conftest import ROOT
from policies import CALLS_WRONG, HANDS_OVER, HONEST, SAYS_NOTHING, SAYS_WRONG, playing

from pastcli.config import RlConfig
from pastcli.tools.environments.simulator import SchemaSimulator
from pastcli.tools.judging.rules import rules
from pastcli.tools.learning import queries
from pastcli.tools.learning.calls import invented
from pastcli.tools.load import read_tools
from pastcli.tools.rewards import first_calls, verdict

PARTS = {"first_calls": first_calls, "verdict": verdict}


@pytest.fixture(scope="module")
def pay():
    """`pay(policy)`: the mean of the rewards that a training takes by default, over a query for each API of three real tools."""
    specs = list(read_tools(ROOT / "tests" / "data" / "documentation.json").specs)
    env = SchemaSimulator(specs)
    tasks = []
    for n, spec in enumerate(specs):
        call = invented(spec, env, f"{n}")
        others = [one for one in specs if one.key != spec.key][:3]
        made = call and queries.asked(spec.name, call, others, queries.LEARNT, 1024, "0")
        # What holds one value or two can only be told whole.
        if made and len(list(queries._leaves(call.observation.response))) > 2:
            tasks.append(made.task)
    assert len(tasks) >= 15

    def paid(policy):
        total = 0.0
        for task in tasks:
            episode = playing(policy, task, env)
            label = rules.judge(episode)
            for part in RlConfig().tool_reward:
                name, _, weight = part.partition(":")
                total += float(weight) * PARTS[name]([""], [""], episode=[episode], verdict=[label])[0]
        return total / len(tasks)

    return paid


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_policy_is_paid_whole(pay, name):
    assert pay(HONEST[name]) >= 0.97


@pytest.mark.parametrize("name", [*HANDS_OVER, *SAYS_WRONG, *SAYS_NOTHING])
def test_a_right_call_with_another_answer_is_paid_for_the_call(pay, name):
    assert pay((HANDS_OVER | SAYS_WRONG | SAYS_NOTHING)[name]) <= 0.57


@pytest.mark.parametrize("name", CALLS_WRONG)
def test_whoever_calls_wrong_is_paid_next_to_nothing(pay, name):
    assert pay(CALLS_WRONG[name]) <= 0.2
