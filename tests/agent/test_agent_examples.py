"""Episodes as training rows: the tokens learnt are those that the agent would have to sample. And figures by attempt."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pastcli.agent.drivers import form_of, run_tasks
from pastcli.agent.examples import row
from pastcli.agent.figures import figures
from pastcli.agent.forms import React
from pastcli.agent.player import Result
from pastcli.agent.tokens import TokenLine
from pastcli.api import Completion, ExpectedCall, Parameter, Reference, Task, ToolSpec, Verdict, object_schema
from pastcli.config import AgentConfig
from pastcli.errors import UsageError
from pastcli.ingest import read_pairs
from pastcli.tools.environments.simulator import SchemaSimulator, simulated
from pastcli.tools.judging.reference import reference
from pastcli.tools.judging.rules import rules

FARE = ToolSpec(
    "get_fare_for_ferries",
    "Travel",
    "Ferries",
    "Get Fare",
    schema=object_schema(Parameter("sailing", required=True), Parameter("class")),
    response_template={"fare": "int"},
)
SHIP = ToolSpec("ship_for_ferries", "Travel", "Ferries", "Ship", schema=object_schema(Parameter("name", required=True)))
KNOWN = Reference((ExpectedCall(FARE.key, {"sailing": ("SK-104",)}),), "12")
TASK = Task("7", "What is the fare of SK-104?", (FARE, SHIP), (FARE.key,), reference=KNOWN)
CALL = ' I look it up.\nAction: get_fare_for_ferries\nAction Input: {"sailing": "SK-104"}'


def finish(answer):
    return (
        f' Done.\nAction: Finish\nAction Input: {{"return_type": "give_answer", "final_answer": {json.dumps(answer)}}}'
    )


class Tokens:
    """A model that says given turns in tokens, the stop string cut off as the real ones do."""

    context = 4096

    def __init__(self, tokenizer, lines):
        self.tokenizer, self.lines, self.prompts = tokenizer, list(lines), []

    def render(self, messages):
        turns = [message.to_dict() for message in messages]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def encode(self, text, special):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]

    def decode(self, ids):
        return self.tokenizer.decode(list(ids))

    def complete_tokens(self, prompts, samplings):
        self.prompts += [list(ids) for ids in prompts]
        text = self.lines.pop(0)
        stopped = "Finish" not in text
        ids = self.encode(text + ("\nObservation" if stopped else ""), special=False)
        return [Completion(text, "stop", token_ids=tuple(ids))]


class Events:
    header, replay, format = None, False, 2

    def recorded(self, key):
        from pastcli.agent.transcript import Recorded

        return Recorded()

    def attempts(self):
        return iter(())

    def write(self, event):
        pass


def played(tokenizer, *lines, config):
    model = Tokens(tokenizer, lines)
    [result] = run_tasks(model, SchemaSimulator(TASK.tools), rules, [TASK], config, Events())
    return result, model


@pytest.mark.parametrize("prompt", ["full", "brief"])
def test_the_row_of_an_episode_has_the_tokens_of_the_agents_prompt_and_learns_what_it_samples(tiny_tokenizer, prompt):
    from past_hf.training.sft import IGNORED, tokenize

    config = AgentConfig(prompt=prompt, observation_chars=200)
    result, model = played(tiny_tokenizer, CALL, finish("The fare is 12."), config=config)
    made = row(result.episode, form_of(config), config.observation_chars)
    [example] = tokenize([made], tiny_tokenizer, 4096)
    last = model.prompts[-1]
    said = model.encode(finish("The fare is 12."), special=False)
    assert example["input_ids"] == last + said + [tiny_tokenizer.eos_token_id]
    line = TokenLine(model)
    line.extend(form_of(config).opening(model.render(form_of(config).messages(TASK))))
    opening = len(line.ids)
    first = model.encode(CALL + "\nObservation", special=False)
    labels = example["labels"]
    assert labels[:opening] == [IGNORED] * opening
    assert labels[opening : opening + len(first)] == first
    observed = labels[opening + len(first) : len(last)]
    assert observed and set(observed) == {IGNORED}
    assert labels[len(last) :] == [*said, tiny_tokenizer.eos_token_id]


def test_a_brief_prompt_says_the_names_and_nothing_of_their_parameters():
    full, brief = (React(False, 99, prompt).messages(TASK)[0].content for prompt in ("full", "brief"))
    assert "get_fare_for_ferries" in brief and "ship_for_ferries" in brief and "Finish" in brief
    assert "sailing" not in brief and "sailing" not in full and len(brief) < len(full) / 5
    with pytest.raises(UsageError, match="brief"):
        form_of(AgentConfig(format="native", prompt="brief"))


def test_rows_with_parts_are_read_as_they_are_and_broken_ones_are_named(tmp_path, capsys):
    good = {"messages": [{"role": "user", "content": "q"}], "parts": [{"text": " a", "learn": True}]}
    bad = [{**good, "parts": [{"text": " a", "learn": False}]}, {**good, "parts": [{"text": 1, "learn": True}]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in [good, *bad]))
    assert read_pairs(file) == [good]
    assert "line 2" in capsys.readouterr().err


def test_an_episode_cannot_smuggle_control_tokens_into_training(tiny_tokenizer):
    from past_hf.training.sft import tokenize

    parts = [{"text": " a", "learn": True}, {"text": ": <|im_end|> x", "learn": False}, {"text": " b", "learn": True}]
    [example] = tokenize([{"messages": [{"role": "user", "content": "q"}], "parts": parts}], tiny_tokenizer, 500)
    ends = [place for place, token in enumerate(example["input_ids"]) if token == tiny_tokenizer.eos_token_id]
    template = tiny_tokenizer.apply_chat_template(
        [{"role": "user", "content": "q"}], tokenize=False, add_generation_prompt=True
    )
    assert len(ends) == template.count("<|im_end|>") + 1 and ends[-1] == len(example["input_ids"]) - 1


def judged(tokenizer, *lines):
    result, _ = played(tokenizer, *lines, config=AgentConfig())
    return result, reference.judge(result.episode).label


def test_the_reference_judge_wants_the_known_call_and_the_known_value(tiny_tokenizer):
    other = CALL.replace("SK-104", "SK-105")
    assert judged(tiny_tokenizer, CALL, finish("It costs 12."))[1] == "Solved"
    assert judged(tiny_tokenizer, CALL, finish("It costs 125."))[1] == "Partially Solved"
    for denied in (
        "It is not 12.",
        "It doesn't cost 12. It isn't 12.",
        "It is 41 rather than 12.",
        "It is no longer at '12'.",
    ):
        assert judged(tiny_tokenizer, CALL, finish(denied))[1] == "Partially Solved", denied
    for said in ("It is not 41 but 12.", "Not a problem: 12.", "It is not free, it costs 12.", "Not 12? It is 12."):
        assert judged(tiny_tokenizer, CALL, finish(said))[1] == "Solved", said
    assert judged(tiny_tokenizer, CALL, finish("x " * 400 + "12"))[1] == "Partially Solved"
    assert judged(tiny_tokenizer, other, finish("It costs 12."))[1] == "Unsolved"
    assert judged(tiny_tokenizer, finish("It costs 12."))[1] == "Unsolved"
    more = CALL.replace('"SK-104"', '"SK-104", "class": "b"')
    assert judged(tiny_tokenizer, more, finish("12"))[1] == "Unsolved"


def test_the_reference_judge_shares_no_code_with_rules():
    import ast
    import inspect

    from pastcli.tools.judging import reference as module

    names = [n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.ImportFrom)]
    assert {name.module for name in names} == {"__future__", "typing", "api"}


def test_a_first_call_that_was_never_made_counts_as_nothing_recalled(tiny_tokenizer):
    silent, _ = judged(tiny_tokenizer, finish("It costs 12."))
    found = figures(silent, {"reference": Verdict("Unsolved", "")}, None)
    assert (found["first_call_recall"], found["first_call_valid"], found["right_function"]) == (0.0, 0.0, 0.0)
    wrong = CALL.replace('"sailing"', '"ship"')
    late, _ = judged(tiny_tokenizer, wrong, CALL, finish("It costs 12."))
    found = figures(Result(late.episode, late.verdict), {}, 1.0)
    assert (found["first_call_recall"], found["first_call_valid"], found["valid_calls"]) == (0.0, 0.0, 1)
    assert (found["category"], found["tool"], found["right_function"]) == ("Travel", "Ferries", 1.0)


def test_whoever_names_all_that_a_function_might_require_gains_recall_alone(tiny_tokenizer):
    """First-call recall asks what is missing: with the 32 parameters of another category in every call it was 0.28, above SFT."""
    bag = CALL.replace('"SK-104"', '"SK-104", ' + ", ".join(f'"{name}": "x"' for name in ("q", "id", "url")))
    for first, recall, f1 in ((CALL, 1.0, 1.0), (bag, 1.0, 2 * 0.25 / 1.25), (finish("It costs 12."), 0.0, 0.0)):
        played, _ = judged(tiny_tokenizer, first, finish("It costs 12."))
        found = figures(played, {}, None)
        assert (found["first_call_recall"], found["first_call_f1"]) == (recall, pytest.approx(f1))
    assert figures(judged(tiny_tokenizer, bag, finish("12."))[0], {}, None)["first_call_valid"] == 0.0


def test_a_toolbench_file_carries_whole_schemas_and_a_reference(tmp_path):
    from pastcli.tools.load import load_tools

    schema = {"type": "object", "properties": {"at": {"type": "object", "properties": {"lat": {"type": "number"}}}}}
    api = {
        "category_name": "Maps",
        "tool_name": "Geo",
        "api_name": "look",
        "api_description": "",
        "method": "GET",
        "required_parameters": [],
        "optional_parameters": [],
        "function_name": "geo.look",
        "json_schema": schema,
        "response_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    known = {"calls": [{"api": ["Geo", "look"], "arguments": {"at": {"lat": 1.5}}}], "answer": "Oslo"}
    entry = {"query": "Where?", "query_id": "1", "api_list": [api], "relevant APIs": [["Geo", "look"]]}
    file = tmp_path / "q.json"
    file.write_text(json.dumps([{**entry, "reference": known}, {**entry, "query_id": "2", "reference": {"calls": 3}}]))
    loaded = load_tools(file)
    [task, other] = loaded.tasks
    assert task.tools[0].name == "geo.look" and task.tools[0].schema["properties"]["at"] == schema["properties"]["at"]
    assert task.reference == Reference((ExpectedCall(("Maps", "Geo", "look"), {"at": ({"lat": 1.5},)}),), "Oslo")
    assert other.reference is None and "T07" in loaded.warnings.counts()


# ---------------------------------------------------------------- mistakes


def a_run():
    from pastcli.tools.learning.calls import Call
    from pastcli.tools.learning.queries import solved

    env = SchemaSimulator([FARE, SHIP], [TASK])
    seen = env.call(FARE, {"sailing": "SK-104"})
    return solved(TASK, Call(FARE, {"sailing": "SK-104"}, seen), f"The fare is {seen.response['fare']}.")


def test_a_mistake_is_read_and_its_mending_learnt():
    """The run is the same after it, still solved for both judges; shares and draws are by query and seed."""
    from pastcli.agent.examples import rows_of_runs
    from pastcli.config import LessonsConfig

    run = a_run()
    kinds = set()
    for seed in range(20):
        [told] = rows_of_runs([run], LessonsConfig(mistakes=1.0, seed=seed, prompt="brief"), simulated)
        [plain] = rows_of_runs([run], LessonsConfig(prompt="brief"), simulated)
        assert told["messages"] == plain["messages"] and len(told["parts"]) == len(plain["parts"]) + 2
        slip, answer, mended = told["parts"][1:4]
        assert not slip["learn"] and '"error"' in answer["text"] and not answer["learn"]
        assert mended["learn"] and "I mend it." in mended["text"] and '{"sailing": "SK-104"}' in mended["text"]
        assert told["parts"][4:] == plain["parts"][2:]
        kinds.add("unknown function" if "unknown function" in answer["text"] else "refused")
        assert [told] == rows_of_runs([run], LessonsConfig(mistakes=1.0, seed=seed, prompt="brief"), simulated)
    assert kinds == {"unknown function", "refused"}


def test_a_value_of_another_type_is_a_mistake_where_the_function_refuses_it():
    """Numbers and truths in quotes, lists as one text; a text as a list. What the simulator takes all the same is none."""
    from pastcli.agent.mistakes import _wrong, with_mistake
    from pastcli.tools.learning.calls import Call
    from pastcli.tools.learning.queries import solved

    kinds = {"seats": "integer", "price": "number", "direct": "boolean", "ports": "array", "name": "string"}
    right = {"seats": 3, "price": 2.5, "direct": True, "ports": ["Oslo", "Bergen"], "name": "Ann"}
    wrong = {"seats": "3", "price": "2.5", "direct": "yes", "ports": "Oslo, Bergen", "name": ["Ann"]}
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}
    book = dataclasses.replace(SHIP, name="book", schema=schema)
    task = dataclasses.replace(TASK, tools=(book,), relevant=(book.key,))
    env = SchemaSimulator([book], [task])
    run = solved(task, Call(book, right, env.call(book, right)), "Booked.")
    assert run.steps[0].outcome == "ok"
    made = [arguments for _, arguments in _wrong(run.steps[0], run)]
    assert [{**right, name: wrong[name]} for name in kinds] == made
    slips = [with_mistake(run, 1.0, seed, lambda task: SchemaSimulator([book], [task])).steps[0] for seed in range(30)]
    assert {slip.outcome for slip in slips} == {"invalid"}
    assert {name for slip in slips for name in kinds if slip.arguments[name] != right[name]} >= {"direct", "ports"}


def test_runs_with_a_mistake_are_judged_as_without_it():
    from pastcli.agent.mistakes import with_mistake

    for seed in range(10):
        run = with_mistake(a_run(), 1.0, seed, simulated)
        assert [step.index for step in run.steps] == [0, 1, 2] and run.steps[0].outcome in ("unknown", "invalid")
        assert rules.judge(run).label == "Solved" and reference.judge(run).label == reference.judge(a_run()).label
    made = [with_mistake(a_run(), 0.5, seed, simulated) for seed in range(60)]
    assert 15 < sum(len(run.steps) == 3 for run in made) < 45 and with_mistake(a_run(), 0.0, 0, simulated) == a_run()
