"""What the tests of RL on tools share: a few documented tools with queries, and policies that follow a script."""

from __future__ import annotations

import json

from pastcli.api import Completion


def parameter(name, default="", kind="STRING"):
    return {"name": name, "type": kind, "description": "", "default": default}


def row(category, tool, api, *required, template=None):
    return {
        "category_name": category,
        "tool_name": tool,
        "api_name": api,
        "api_description": f"{api} of {tool}",
        "method": "GET",
        "required_parameters": list(required),
        "optional_parameters": [],
        "template_response": template or {"fare": "int", "currency": "str"},
    }


def queries(category="Ships", tool="Skelvik", count=4, first=1):
    """ToolBench queries of one category: each needs `fare`, and is shown two functions more."""
    apis = [
        row(category, tool, "fare", parameter("route")),
        row(category, tool, "news"),
        row(category, tool, "crew", parameter("ship")),
    ]
    towns = ["Oslo", "Bergen", "Tromso", "Molde", "Narvik", "Bodo", "Alta", "Hamar"]
    return [
        {
            "query": f"What is the fare of the route {towns[n % len(towns)]}?",
            "query_id": first + n,
            "api_list": apis,
            "relevant APIs": [[tool, "fare"]],
        }
        for n in range(count)
    ]


def write(path, *groups):
    path.write_text(json.dumps([query for group in groups for query in group]))
    return path


def act(action, arguments, thought="I call it."):
    return f" {thought}\nAction: {action}\nAction Input: {json.dumps(arguments)}\nObservation"


def finish(answer):
    return act("Finish", {"return_type": "give_answer", "final_answer": answer}, "I have it.")


def scripted(monkeypatch, say):
    """Every policy under training says `say(prompt text, number)`, `number` counting the prompts of all turns so far."""
    from past_hf.training.policy import Policy

    asked = []

    def complete_tokens(self, prompts, samplings):
        answers = []
        for prompt in prompts:
            asked.append(self.decode(prompt))
            text = say(asked[-1], len(asked) - 1)
            ids = tuple(self.encode(text, special=False))
            answers.append(
                Completion(text.removesuffix("\nObservation"), "stop", len(prompt), len(ids), len(prompt), 0.0, ids)
            )
        self.sampled += sum(answer.completion_tokens for answer in answers)
        return answers

    monkeypatch.setattr(Policy, "complete_tokens", complete_tokens)
    return asked
