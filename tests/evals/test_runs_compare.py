"""`past runs compare`: paired differences of agent and eval runs, gates, win rates with the order swapped."""

import json
from pathlib import Path

import pytest
from agent_tools import N, compared_runs

from pastcli.errors import UsageError
from pastcli.evals.paired import compare_tables, win_rate


@pytest.fixture
def agent_runs(workspace, past_json):
    return compared_runs(past_json)


def test_agent_runs_are_compared_query_by_query(agent_runs, past, past_json):
    done = past_json("runs", "compare", *agent_runs)
    assert done["reference"] == agent_runs[0] and done["comparable"] and done["reasons"] == []
    pair = done["differences"][agent_runs[1]]["solved"]
    assert (pair["n"], pair["reference"], pair["better"], pair["worse"], pair["test"]) == (N, 0.25, 7, 0, "McNemar")
    assert pair["difference"] == pytest.approx(7 / 12) and pair["low"] < 7 / 12 < pair["high"]
    assert pair["p"] == pytest.approx(2 / 2**7) and pair["p"] <= pair["p_holm"]
    assert "better/worse" in past("runs", "compare", *agent_runs).stdout


@pytest.mark.parametrize("bound", ["nan", "inf", "-inf", "1e999"])
def test_a_gate_that_nothing_can_fail_is_no_gate(agent_runs, past, bound):
    said = past("runs", "compare", *agent_runs[:2], "--gate", f"solved:{bound}", code=2).stderr
    assert "names no number" in said
    assert "--gate" in past("runs", "compare", *agent_runs[:2], "--alpha", "0.05", code=2).stderr, (
        "it would gate nothing"
    )
    assert "finite" in past("runs", "compare", *agent_runs[:2], "--gate", "solved:0", "--alpha", "nan", code=2).stderr


def test_gates_end_with_exit_code_4(agent_runs, past):
    first, second, third = agent_runs
    past("runs", "compare", first, second, third, "--gate", "solved:0.5", "--alpha", "0.05")
    assert "below --gate" in past("runs", "compare", first, second, "--gate", "solved:0.6", code=4).stderr
    assert (
        "above --alpha"
        in past("runs", "compare", second, third, "--gate", "solved:0", "--alpha", "0.05", code=4).stderr
    )
    assert "no metric" in past("runs", "compare", first, second, "--gate", "f1:0", code=2).stderr
    past("runs", "compare", first, code=2)


def test_runs_with_other_settings_are_said_to_be_not_comparable(agent_runs, past, past_json):
    words = ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--backend", "echo", "--model", "0.json")
    other = past_json(*words, "--max-turns", 3, "--limit", 5)["run"]
    done = past_json("runs", "compare", agent_runs[0], other)
    assert (
        not done["comparable"]
        and any("max_turns" in r for r in done["reasons"])
        and any("other queries" in r for r in done["reasons"])
    )
    assert done["differences"][other]["solved"]["n"] == 5
    assert "not comparable" in past("runs", "compare", agent_runs[0], other, "--gate", "solved:-1", code=4).stderr


def test_the_win_rate_counts_only_what_both_orders_say(agent_runs, past, past_json):
    """A judge that prefers an answer with crowns; of two such answers, whichever is shown first."""
    both = r'"first": \{[\s\S]*"final_answer": "It costs [^"]*"\}, "second"'
    rules = [{"match": both, "reply": '{"reason": "x", "better": "first"}'}]
    rules += [{"match": r'"final_answer": "It costs [^"]*"\}\}\n', "reply": '{"reason": "x", "better": "second"}'}]
    rules += [{"match": ".", "reply": '{"reason": "x", "better": "first"}'}]
    Path("judge.json").write_text(json.dumps(rules))
    words = (
        "runs",
        "compare",
        agent_runs[0],
        agent_runs[1],
        "--sowr",
        "--judge-backend",
        "echo",
        "--judge-model",
        "judge.json",
    )
    done = past_json(*words, env={"PAST_HOME": str(Path("home").resolve())})["sowr"]
    assert (done["wins"], done["losses"], done["ties"]) == (7, 0, 5)
    assert done["rate"] == pytest.approx((7 + 2.5) / 12) and done["p"] == pytest.approx(2 / 2**7)
    assert past_json(*words, env={"PAST_HOME": str(Path("home").resolve())})["sowr"] == done
    assert "--judge-model" in past("runs", "compare", *agent_runs[:2], "--sowr", code=2).stderr


def test_eval_runs_are_compared_question_by_question(workspace, past, past_json):
    rows = [{"question": f"q{n}?", "answer": f"a{n}", "doc": f"d{n % 8}"} for n in range(16)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = []
    for right in (4, 14):
        replies = [{"match": rf"q{n}\?", "reply": f" a{n}" if n < right else " no"} for n in reversed(range(16))]
        Path(f"e{right}.json").write_text(json.dumps(replies))
        names.append(
            past_json("eval", "--backend", "echo", "--model", f"e{right}.json", "--questions", "q.jsonl")["run"]
        )
    pair = past_json("runs", "compare", *names)["differences"][names[1]]["exact"]
    assert (pair["better"], pair["worse"], pair["n"]) == (10, 0, 16) and pair["p"] < 0.05


def test_pairing_by_hand():
    tables = {"a": {"m": {"1": 1.0, "2": 0.0, "3": None}}, "b": {"m": {"1": 1.0, "2": 1.0, "3": 1.0, "4": 1.0}}}
    pair = compare_tables(tables)["b"]["m"]
    assert (pair.n, pair.difference, pair.better, pair.p) == (2, 0.5, 1, 1.0)
    with pytest.raises(UsageError, match="in common"):
        compare_tables({"a": {"m": {"1": 1.0}}, "b": {"m": {"2": 1.0}}})
    rate = win_rate(
        [[pair] for pair in [("second", "first"), ("first", "first"), ("first", "second"), (None, "first")]]
    )
    assert (rate.wins, rate.losses, rate.ties, rate.rate) == (1, 1, 1, 0.5) and (rate.queries, rate.ungraded) == (3, 1)


def test_the_win_rate_counts_queries_and_not_attempts():
    """ToolEval's: a query is won by whoever has more of its votes, however many attempts there were."""
    won, lost, tied, failed = ("second", "first"), ("first", "second"), ("first", "first"), (None, "first")
    rate = win_rate([[won, won, won, won], [lost, tied], [won, lost], [failed, won], [failed, failed]])
    assert (rate.queries, rate.wins, rate.losses, rate.ties, rate.ungraded) == (4, 2, 1, 1, 1)
    assert rate.rate == pytest.approx(2.5 / 4)


def test_a_judge_that_fails_ties_nothing(agent_runs, past, past_json):
    """A preference that is not there is no draw: such pairs are left out and counted, and without any there is no rate."""
    Path("mad.json").write_text(json.dumps([{"match": ".", "reply": "Both are fine!"}]))
    how = ("--sowr", "--judge-backend", "echo", "--judge-model")
    home = {"PAST_HOME": str(Path("home").resolve())}
    said = past("runs", "compare", *agent_runs[:2], *how, "mad.json", env=home, code=1).stderr
    assert "no pair was judged" in said
    rules = [{"match": r"Fare of SK-1\?", "reply": "?"}, {"match": ".", "reply": '{"reason": "x", "better": "first"}'}]
    Path("half.json").write_text(json.dumps(rules))
    done = past_json("runs", "compare", *agent_runs[:2], *how, "half.json", env=home)["sowr"]
    assert (done["queries"], done["ungraded"], done["ties"]) == (11, 1, 11)
