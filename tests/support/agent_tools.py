"""One API of fares, queries for it, and models that are scripts: what the tests of agents share."""

import json
from pathlib import Path

API = {
    "category_name": "Ferries",
    "tool_name": "Skelvik",
    "api_name": "Get Fare",
    "api_description": "d",
    "method": "GET",
    "required_parameters": [{"name": "sailing", "type": "STRING", "description": "", "default": ""}],
    "optional_parameters": [],
}


def call(sailing):
    return f' Ask.\nAction: get_fare_for_skelvik\nAction Input: {{"sailing": "{sailing}"}}'


def finish(answer):
    return f" Done.\nAction: Finish\nAction Input: {json.dumps({'final_answer': answer})}"


def queries(count):
    return [
        {"query": f"Fare {n}?", "query_id": n, "api_list": [API], "relevant APIs": [["Skelvik", "Get Fare"]]}
        for n in range(count)
    ]


def script(count):
    """Two calls and an answer for every query, decided by what its prompt holds."""
    rules = []
    for n in range(count):
        rules += [
            {"match": rf"Fare {n}\?[\s\S]*Q{n}-b\"}}\nObservation", "reply": finish("It is so.")},
            {"match": rf"Fare {n}\?[\s\S]*Q{n}-a\"}}\nObservation", "reply": call(f"Q{n}-b")},
            {"match": rf"Fare {n}\?", "reply": call(f"Q{n}-a")},
        ]
    return rules


N = 12
ASK = ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--backend", "echo", "--model")
"""`past agent` on the files that `compared_runs` writes; the model comes next."""


def partly_right(right):
    """A model that gives the right answer to the queries numbered in `right`, and something else to the others."""
    rules = []
    for n in range(N):
        answer = f"It costs {n}.5 crowns." if n in right else "I do not know."
        rules.append({"match": rf"Fare of SK-{n}\?[\s\S]*SK-{n}\"}}\nObservation", "reply": finish(answer)})
        rules.append({"match": rf"Fare of SK-{n}\?", "reply": call(f"SK-{n}")})
    return rules


def compared_runs(past_json):
    """Three runs on the same queries: 3, 10 and all of them right. Their ids."""
    tools = [
        {
            "name": "get_fare_for_skelvik",
            "parameters": {"type": "object", "properties": {"sailing": {"type": "string"}}},
        }
    ]
    Path("tools.json").write_text(json.dumps(tools))
    Path("tasks.json").write_text(
        json.dumps([{"id": f"t{n}", "query": f"Fare of SK-{n}?", "expected_answer": f"{n}.5 crowns"} for n in range(N)])
    )
    names = []
    for right in (range(3), range(10), range(N)):
        Path(f"{len(names)}.json").write_text(json.dumps(partly_right(right)))
        names.append(past_json(*ASK, f"{len(names)}.json")["run"])
    return names
