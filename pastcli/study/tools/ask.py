"""What a model of a study of tools is asked: the target's queries by `past agent`, its schemas and what it kept by `past eval`.

Or what the know-nothing program does on the same queries: the floor under every figure.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ... import config as configs
from ... import runs
from ...agent.figures import figures
from ...agent.player import Result
from ...files import read_lines, write_json
from ...tools.baseline import know_nothing
from ...tools.environments.simulator import SchemaSimulator
from ...tools.judging.evidence import argument_grounding
from ...tools.judging.reference import reference
from ...tools.judging.rules import rules
from ...tools.load import load_tools
from ..command import passing
from ..execute import injection
from ..node import Node
from ..store import Store


def ask(node: Node, store: Store) -> None:
    """Make one node of answers; its models are asked by ordinary commands, whose runs go when they were read."""
    began = time.monotonic()
    inputs = dict(node.inputs)
    found = _model(node, store, inputs) if "model" in inputs else _program(Path(inputs["tests"]))
    document = {
        "label": node.label,
        "seconds": round(time.monotonic() - began, 1),
        "injection": injection(inputs["model"], store) if "model" in inputs else None,
        "settings": configs.to_dict(node.config),
        "versions": runs.versions(),
        **found,
    }
    store.answers.mkdir(parents=True, exist_ok=True)
    write_json(store.answers_of(node), document)


def _model(node: Node, store: Store, inputs: dict[str, Any]) -> dict[str, Any]:
    model = store.output(inputs["model"])
    with passing(node, store, "agent", "--tools", str(inputs["tests"]), "--model", str(model)) as agent:
        attempts = read_lines(Path(agent["outputs"]["figures"]))
        samples = _samples(Path(agent["outputs"]["transcript"]))
    with passing(node, store, "eval", "--questions", str(inputs["recall"]), "--model", f"arm={model}") as told:
        rows = read_lines(Path(told["outputs"]["answers"]) / "1.jsonl")
    recall = [{key: row[key] for key in ("id", "prediction", "exact", "f1")} for row in rows]
    return {
        "figures": attempts,
        "recall": recall,
        "retained": told["models"]["arm"].get("retained"),
        "tokens": {name: agent[name] for name in ("prompt_tokens", "completion_tokens", "model_seconds")},
        "samples": samples,
    }


SAMPLES = 5


def _samples(transcript: Path) -> list[dict[str, Any]]:
    """The first few episodes as they were said, for reading."""
    found: dict[str, dict[str, Any]] = {}
    for line in transcript.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "episode" and len(found) < SAMPLES:
            found[event["task"]] = {"query": event["messages"][-1]["content"], "said": [], "verdict": ""}
        elif event.get("task") in found and event["event"] == "step":
            found[event["task"]]["said"].append([event["completion"]["text"], event["outcome"]])
        elif event.get("task") in found and event["event"] == "end":
            found[event["task"]]["verdict"] = f"{event['verdict']['label']}: {event['verdict']['reason']}"
    return list(found.values())


def _program(tests: Path) -> dict[str, Any]:
    loaded = load_tools(tests)
    env = SchemaSimulator(loaded.specs, loaded.tasks)
    attempts = []
    for task in loaded.tasks:
        episode = know_nothing(task, env)
        told = {"reference": reference.judge(episode)}
        attempts.append(figures(Result(episode, rules.judge(episode)), told, argument_grounding([episode])))
    return {"figures": attempts, "recall": [], "retained": None, "tokens": None, "samples": []}
