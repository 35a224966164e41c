"""The rules judge on runs that are right or wrong by construction: made from documentation alone, and their wrong twins."""

from collections import Counter
from dataclasses import replace

import pytest
from conftest import QUICKSTART, ROOT

from pastcli.tools.environments.simulator import SchemaSimulator
from pastcli.tools.judging.rules import rules
from pastcli.tools.learning import calls, queries, wording
from pastcli.tools.learning.calls import Call, invented
from pastcli.tools.load import read_tools
from pastcli.tools.validate import check

DOCUMENTATION = {
    "toolbench": ROOT / "tests" / "data" / "documentation.json",
    "quickstart": QUICKSTART / "toolbench.json",
    "functions": QUICKSTART / "functions.json",
}
SEEDS = 8


def made(path, seeds=SEEDS):
    """(run, its call, another call of the same API) for each API and seed."""
    specs = list(read_tools(path).specs)
    env = SchemaSimulator(specs)
    for spec in specs:
        for seed in range(seeds):
            call, other = invented(spec, env, f"{seed}|x"), invented(spec, env, f"{seed}|y")
            rest = [one for one in specs if one.key != spec.key][:4]
            one = call and queries.asked(f"{spec.name}{seed}", call, rest, queries.LEARNT + queries.HELD_OUT, 1024, "0")
            if one:
                yield one, call, other


def twins(one, call, other):
    """(kind, run) of the same query, each wrong for one reason."""
    run, said = one.episode, one.episode.answer.split(" is ")[0]
    given = {str(value).casefold() for value in call.arguments.values()}
    others = [
        (name, value)
        for name, value, _ in queries._leaves(call.observation.response)
        if wording.said(value) != one.task.reference.answer
        and not isinstance(value, bool)
        and str(value).casefold() not in given
        and str(value).casefold() not in one.task.query.casefold()
    ]
    if others:
        yield "another field's value", replace(run, answer=f"{said} is {wording.said(others[0][1])}.")
        name, value = others[-1]
        yield "another field", replace(run, answer=f"The {wording.named(name)} is {wording.said(value)}.")
    strange = [name for name, _ in others if not set(wording.named(name).split()) & set(said.casefold().split())]
    if strange:
        told = one.task.reference.answer
        yield "under another field's name", replace(run, answer=f"The {wording.named(strange[-1])} is {told}.")
    yield "denied", replace(run, answer=f"{said} is not {one.task.reference.answer}.")
    yield "made up", replace(run, answer=f"{said} is Blue Falcon 771.")
    yield "refusal", replace(run, answer="I am sorry, I could not find that information.")
    yield "the query said back", replace(run, answer=one.task.query)
    told = dict(queries.askable(other, 1024)).get(said.removeprefix("The ")) if other else None
    if told is not None and other.arguments and not given & {str(v).casefold() for v in other.arguments.values()}:
        yield "another call", queries.solved(one.task, other, f"{said} is {wording.said(told)}.")


@pytest.mark.parametrize("source", DOCUMENTATION)
def test_runs_made_from_documentation_are_solved(source):
    refused, count = [], 0
    for one, _, _ in made(DOCUMENTATION[source]):
        verdict = rules.judge(one.episode)
        count += 1
        if verdict.label != "Solved":
            refused.append((one.task.query, one.episode.steps[0].arguments, one.episode.answer, verdict.reason))
    assert count >= 20 and len(refused) <= 0.03 * count, (len(refused), count, refused[:12])


@pytest.mark.parametrize("source", DOCUMENTATION)
def test_their_wrong_twins_are_not(source):
    solved, counts = [], Counter()
    for one, call, other in made(DOCUMENTATION[source], 4):
        for kind, run in twins(one, call, other):
            counts[kind] += 1
            if rules.judge(run).label == "Solved":
                solved.append((kind, one.task.query, run.steps[0].arguments, run.answer))
    assert len(counts) >= 5 and len(solved) <= 0.03 * sum(counts.values()), (counts, len(solved), solved[:12])


def without_one(env, one, call):
    """Runs of the same query whose call leaves out one optional value that it gives, and which tell what that call said."""
    said = one.episode.answer.split(" is ")[0]
    for parameter in call.spec.parameters:
        rest = {name: value for name, value in call.arguments.items() if name != parameter.name}
        if parameter.required or len(rest) == len(call.arguments) or check(call.spec, rest)[0]:
            continue
        less = Call(call.spec, rest, env.call(call.spec, rest))
        told = dict(queries.askable(less, 1024)).get(said.removeprefix("The "))
        if told is not None:
            yield queries.solved(one.task, less, f"{said} is {wording.said(told)}.")


def test_most_runs_that_leave_out_a_value_which_the_query_gives_are_not_solved(monkeypatch):
    """Not all: whether a bare `2` or `plum` is an argument, only who knows the API can tell. Before `rules/10` all were."""
    monkeypatch.setattr(calls, "OPTIONAL", 0.6)
    count, solved = 0, []
    for path in DOCUMENTATION.values():
        env = SchemaSimulator(list(read_tools(path).specs))
        for one, call, _ in made(path, 4):
            for run in without_one(env, one, call):
                count += 1
                if rules.judge(run).label == "Solved":
                    solved.append((one.task.query, call.arguments, run.steps[0].arguments))
    assert count >= 30 and len(solved) <= 0.45 * count, (count, len(solved), solved[:12])
