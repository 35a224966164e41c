"""What a judge could not grade: a SoPR is then a range, pairs with it are left out and counted, and a floor that it hides is none."""

import json
import re
from pathlib import Path

import pytest
from agent_tools import call, finish

TOOLS = [
    {"name": "get_fare_for_skelvik", "parameters": {"type": "object", "properties": {"sailing": {"type": "string"}}}}
]


@pytest.fixture
def ask(workspace, past, past_json):
    """Asks four queries of which two say what is expected: the model is right on the first `right` of these."""
    Path("tools.json").write_text(json.dumps(TOOLS))
    known = [{"id": f"t{n}", "query": f"Fare of SK-{n}?", "expected_answer": f"{n}.5 crowns"} for n in range(2)]
    unknown = [{"id": f"t{n}", "query": f"Fare of SK-{n}?"} for n in (2, 3)]
    Path("tasks.json").write_text(json.dumps([*known, *unknown]))

    def run(right):
        lines = [
            {"match": f'SK-{n}"}}\\s+Observation', "reply": finish(f"{n if n < right else 9}.5 crowns")}
            for n in range(4)
        ]
        lines += [{"match": f"SK-{n}", "reply": call(f"SK-{n}")} for n in range(4)]
        Path(f"{right}.json").write_text(json.dumps(lines))
        words = ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--backend", "echo", "--model")
        return past_json(*words, f"{right}.json"), past(*words, f"{right}.json")

    return run


def test_a_share_that_could_not_be_graded_makes_the_success_rate_a_range(ask, past):
    done, shown = ask(1)
    assert done["labels"] == {"Solved": 1, "Unsolved": 1, "Ungraded": 2}
    assert (done["sopr"], done["sopr_at_most"], done["ungraded"]) == (0.25, 0.75, 0.5)
    assert "had never met" not in done["judgement"], (
        "what tasks expect is compared, and no judge of words errs about it"
    )
    assert "50% could not be graded, so up to 75% may be" in done["judgement"]
    assert re.search(r"sopr at most +0.75", shown.stdout)
    past("runs", "report", done["run"], "-o", "page.html")
    assert "up to 0.750" in Path("page.html").read_text(encoding="utf-8")


def test_nothing_is_said_of_a_range_where_all_is_graded(ask):
    whole = json.loads(Path("tasks.json").read_text())[:2]
    Path("tasks.json").write_text(json.dumps(whole))
    done, shown = ask(1)
    assert done["sopr"] == done["sopr_at_most"] == 0.5
    assert "graded" not in done["judgement"] and "sopr at most" not in shown.stdout


def test_pairs_that_could_not_be_graded_are_left_out_and_counted(ask, past, past_json):
    first, second = (ask(right)[0]["run"] for right in (0, 2))
    done = past_json("runs", "compare", first, second)
    pair = done["differences"][second]["sopr"]
    assert (pair["n"], pair["ungraded"], pair["better"]) == (2, 2, 2)
    assert "2 more could not be graded" in done["judgement"]
    assert "ungraded" in past("runs", "compare", first, second).stdout


def test_a_floor_that_nobody_could_grade_is_none(ask, past_json, monkeypatch, tmp_path):
    """By `rules` no query without expectations can be graded: its 0 was held for what a program that knows nothing scores."""
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "home"))
    Path("tasks.json").write_text(json.dumps([{"id": "t0", "query": "Fare of SK-0?"}]))
    ask(1)
    Path("judge.json").write_text(json.dumps([json.dumps({"reason": "it is", "answer_status": "Solved"})]))
    words = ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--backend", "echo", "--model", "1.json")
    judge = ("--judge", "llm", "--judge-backend", "echo", "--judge-model", "judge.json", "--judge-votes", "1")
    done = past_json(*words, *judge)
    assert done["sopr"] == 1.0 and done["know_nothing"] == {"sopr": None, "ungraded": 1.0}
    assert "knows nothing" not in done["judgement"]
