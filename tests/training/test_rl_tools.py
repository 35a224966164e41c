"""`past rl --tools`: GRPO on whole episodes, its rewards, its watchdog, and what it trains on."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from rl_tools import act, finish, queries, scripted, write
from typer.testing import CliRunner

from pastcli.api import Verdict

SMALL = (
    "--steps",
    "2",
    "--prompts-per-step",
    "2",
    "--num-generations",
    "4",
    "--precision",
    "fp32",
    "--turn-tokens",
    "24",
    "--lr",
    "1e-3",
)


@pytest.fixture(scope="module")
def model(make_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools") / "tiny"
    make_tiny(folder, max_position_embeddings=4096)
    return folder


@pytest.fixture
def run_here(workspace):
    """`run_here("rl", …, code=0)` types a command into this process, where a policy can be scripted."""
    from pastcli import cli

    def call(*words, code=0):
        done = CliRunner().invoke(cli.app, [*map(str, words)])
        problem = f"{done.exception} ({getattr(done.exception, 'hint', '')})"
        assert (done.exit_code == 0) == (code == 0), f"{done.output}\n{done.exception!r}"
        return done.output + problem

    return call


def right_or_wrong(prompt, number):
    """Half of the episodes call what is needed and answer, the others invent an argument."""
    if '"response"' in prompt.rsplit("<|im_start|>", 1)[-1]:
        fare = re.search(r'"fare": (\d+), "currency": "(\w+)"', prompt.replace("'", '"'))
        return finish(f"The fare is {fare[1]} {fare[2]}." if fare else "It is known.")
    town = re.search(r"the route (\w+)\?", prompt)[1]
    return act("fare_for_skelvik", {"route": town if number % 4 < 2 else "nowhere"})


def test_a_training_on_episodes_keeps_them_whole_with_what_each_part_of_the_reward_gave(
    run_here, workspace, model, monkeypatch
):
    write(workspace / "tools.json", queries())
    scripted(monkeypatch, right_or_wrong)
    run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--name", "calls")
    log = [json.loads(line) for line in (workspace / "runs/calls/log.jsonl").read_text().splitlines()]
    assert len(log) == 2
    for entry in log:
        assert entry["rewards/first_calls"] == pytest.approx(0.5) and entry["episodes/first_calls_right"] == 0.5
        assert entry["episodes/finished"] == 1.0 and entry["episodes/finished_at_once"] == 0.0
        assert entry["dead_groups"] < 1.0 and entry["rollout_tokens"] > 0
    sampled = [json.loads(line) for line in (workspace / "runs/calls/rollouts.jsonl").read_text().splitlines()]
    assert {len(one["episode"]["steps"]) for one in sampled} == {2}
    assert {one["rewards"]["first_calls"] for one in sampled} == {0.0, 1.0}
    for one in sampled:
        paid = one["rewards"]["first_calls"]
        assert ("nowhere" in one["completion"]) == (paid == 0.0), "a well-formed wrong call does not pay"


# ---------------------------------------------------------------- the policy


@pytest.fixture
def policy(model):
    import contextlib

    import torch
    from past_hf.materialize import load_model, load_tokenizer
    from past_hf.training.policy import Policy

    weights = load_model(model, torch.float32, "eager").eval()
    return Policy(weights, load_tokenizer(model), lambda part: contextlib.nullcontext())


def seeded(tokens, seed, temperature=1.0):
    from pastcli.api import Sampling

    return Sampling(tokens, temperature, stop=("\nObservation",), seed=seed)


def test_what_was_read_is_gone_with_the_step_without_a_search_for_garbage(policy):
    """Keys and values of a step are as large as the model: kept in a ring of references they grew by 0.2 GB a step."""
    import gc
    import weakref

    gc.disable()
    try:
        opening = list(range(3, 30))
        for turn in range(2):
            policy.complete_tokens([opening] * 3, [seeded(4, seed + turn) for seed in range(3)])
        kept = [weakref.ref(part) for layer in policy._lines.layers for part in (layer.keys, layer.values)]
        policy.begin()
        assert kept and not [ref for ref in kept if ref() is not None]
    finally:
        gc.enable()


def alone(policy, prompt, sampling):
    """What transformers says of one prompt, read from its beginning."""
    from past_hf.chat import HFChat

    policy._prefixes = None
    return HFChat.complete_tokens(policy, [prompt], [sampling])[0].token_ids


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_episodes_decoded_together_say_what_each_would_say_alone(policy, temperature):
    texts = ["the quick brown fox", "the quick brown fox", "seven wizards brew", "a", "the quick brown fox jumps over"]
    prompts = [policy.encode(text, special=True) for text in texts]
    for turn in range(3):
        samplings = [seeded(9, 10 * turn + place, temperature) for place in range(len(prompts))]
        answers = policy.complete_tokens(prompts, samplings)
        assert [a.token_ids for a in answers] == [alone(policy, *pair) for pair in zip(prompts, samplings)]
        # An episode drops out, the others drop a part of what they said and are shown something of another length.
        kept = [place for place in range(len(prompts)) if place != turn]
        prompts = [
            [
                *prompts[place],
                *answers[place].token_ids[: 9 - place],
                *policy.encode(" brew" * (place + 1), special=False),
            ]
            for place in kept
        ]


def test_a_prompt_is_read_once_for_its_group_and_a_turn_reads_only_what_is_new(policy):
    one, other = (policy.encode(text, special=True) for text in ("the quick brown fox", "seven wizards"))
    first = policy.complete_tokens([one, one, other, one], [seeded(4, n) for n in range(4)])
    assert [a.evaluated_tokens for a in first] == [len(one), 0, len(other), 0]
    more = [[*prompt, *answer.token_ids, 5, 6, 7] for prompt, answer in zip((one, one, other, one), first, strict=True)]
    again = policy.complete_tokens(more, [seeded(4, n) for n in range(4)])
    assert [a.evaluated_tokens for a in again] == [4] * 4, "the last token that was sampled, and what came after it"
    policy.begin()
    assert [a.evaluated_tokens for a in policy.complete_tokens(more[:1], [seeded(4, 0)])] == [len(more[0])]


# ---------------------------------------------------------------- cheating


def called_so_far(prompt):
    return prompt.rsplit("<|im_start|>", 1)[-1].count("Observation:")


def calls_everything(prompt, number):
    town = re.search(r"the route (\w+)\?", prompt)[1]
    calls = [
        act("news_for_skelvik", {}),
        act("crew_for_skelvik", {"ship": town}),
        act("fare_for_skelvik", {"route": town}),
        finish("There is a fare."),
    ]
    return calls[called_so_far(prompt)]


def dumps_observations(prompt, number):
    if called_so_far(prompt):
        return finish(prompt.rsplit("Observation: ", 1)[1].split("\nThought")[0])
    return act("fare_for_skelvik", {"route": re.search(r"the route (\w+)\?", prompt)[1]})


def calls_again(prompt, number):
    if called_so_far(prompt) < 2:
        return act("fare_for_skelvik", {"route": re.search(r"the route (\w+)\?", prompt)[1]})
    return right_or_wrong(prompt, number)


def finishes_at_once(prompt, number):
    return finish("The fare is 100 NOK.")


@pytest.mark.parametrize(
    ("policy_of", "said", "first_calls", "most_verdict"),
    [
        (calls_everything, "called everything", 1 / 3, 0.5),
        (calls_again, "asked again what had been answered", 1 / 2, 1.0),
        (dumps_observations, "dumps of the observations", 1.0, 0.0),
        (finishes_at_once, "finished at once", 0.0, 0.0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_policy_that_cheats_is_paid_less_and_stopped_by_name(
    run_here, workspace, model, monkeypatch, policy_of, said, first_calls, most_verdict
):
    write(workspace / "tools.json", queries())
    scripted(monkeypatch, policy_of)
    words = ("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--steps", "4", "--patience", "2", "--name", "bad")
    output = run_here(*words, code=1)
    assert "stopped at step 2" in output and said in output
    (log,) = workspace.glob("runs/.partial/bad/log.jsonl")
    for entry in map(json.loads, log.read_text().splitlines()):
        assert entry["rewards/first_calls"] == pytest.approx(first_calls)
        assert entry["rewards/verdict"] <= most_verdict
    assert not (workspace / "runs" / "bad").exists()


def answers_or_tells_everything(prompt, number):
    """Half of the answers say what was asked, the others all that was seen, in sentences."""
    if not called_so_far(prompt):
        return act("fare_for_skelvik", {"route": re.search(r"the route (\w+)", prompt.rsplit("Question", 1)[-1])[1]})
    seen = json.loads(prompt.rsplit("Observation: ", 1)[1].split("\nThought")[0])["response"]
    told = [f"The {name} is {value}." for name, value in seen.items() if name == "fare" or number % 4 > 1]
    return finish(" ".join(told))


def test_saying_a_whole_observation_in_sentences_is_paid_for_the_call_alone(run_here, workspace, model, monkeypatch):
    asked = [{**one, "query": f"Ask Skelvik for {one['query'][20:-1]}. What is the fare?"} for one in queries()]
    for one in asked:
        one["api_list"][0]["template_response"] = {"fare": "int", "deck": "int", "berths": "int", "cabins": "int"}
    write(workspace / "tools.json", asked)
    scripted(monkeypatch, answers_or_tells_everything)
    run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--name", "calls")
    sampled = [json.loads(line) for line in (workspace / "runs/calls/rollouts.jsonl").read_text().splitlines()]
    paid = {("deck" in one["episode"]["answer"]): one["rewards"]["verdict"] for one in sampled}
    assert paid == {False: 1.0, True: 0.0}
    log = [json.loads(line) for line in (workspace / "runs/calls/log.jsonl").read_text().splitlines()]
    assert all(entry["episodes/told_asked"] == pytest.approx(5 / 8) for entry in log)
    assert all(entry["episodes/to_the_point"] == pytest.approx(1 / 2) for entry in log)


# ---------------------------------------------------------------- crashes


class Leaves:
    """Somebody else's code that ends the process as if all had been done."""

    def __call__(self, *_):
        raise SystemExit(0)


@pytest.mark.parametrize(
    "broken",
    [
        "pastcli.tools.environments.simulator.SchemaSimulator.call",
        "pastcli.tools.judging.rules.RulesJudge.judge",
        "pastcli.tools.rewards.score",
    ],
)
def test_code_that_exits_ends_no_training_as_if_it_were_done(run_here, workspace, model, monkeypatch, broken):
    write(workspace / "tools.json", queries())
    scripted(monkeypatch, right_or_wrong)
    monkeypatch.setattr(broken, Leaves())
    said = run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--name", "broken", code=1)
    assert "SystemExit: 0" in said and not (workspace / "runs" / "broken").exists()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            "pastcli.tools.environments.simulator.SchemaSimulator.call",
            "environment 'simulator' crashed: KeyError: 'boom'",
        ),
        ("pastcli.tools.judging.rules.RulesJudge.judge", "judge 'rules' crashed: KeyError: 'boom'"),
        ("pastcli.tools.rewards.score", "reward 'first_calls' failed: KeyError: 'boom'"),
    ],
)
def test_a_crash_of_tools_judge_or_reward_stops_the_run_and_scores_nothing(
    run_here, workspace, model, monkeypatch, broken, said
):
    def crash(*_):
        raise KeyError("boom")

    write(workspace / "tools.json", queries())
    scripted(monkeypatch, right_or_wrong)
    monkeypatch.setattr(broken, crash)
    assert said in run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--name", "broken", code=1)
    assert not (workspace / "runs" / "broken").exists()
    assert not list(workspace.glob("runs/**/rollouts.jsonl")), "no episode was scored"


@pytest.mark.parametrize(
    ("broken", "given", "said"),
    [
        ("environments.simulator.SchemaSimulator.call", None, "environment 'simulator' gave no Observation, but None"),
        (
            "environments.simulator.SchemaSimulator.close",
            None,
            "closing environment 'simulator' crashed: KeyError: 'boom'",
        ),
        ("judging.rules.RulesJudge.judge", "Solved", "judge 'rules' gave no Verdict, but a str"),
        ("judging.rules.RulesJudge.judge", Verdict("solved", ""), "judge 'rules' gave the label 'solved'"),
        ("rewards.score", 10**400, "reward 'first_calls' gave something that is no finite number"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_tools_judge_or_reward_should_not_give_stops_the_run_by_name(
    run_here, workspace, model, monkeypatch, broken, given, said
):
    """A judge whose label nobody knows was taken for one that cannot tell: its weight went to the other reward, unsaid."""

    def gives(*_):
        if broken.endswith("close"):
            raise KeyError("boom")
        return given

    write(workspace / "tools.json", queries())
    scripted(monkeypatch, right_or_wrong)
    monkeypatch.setattr(f"pastcli.tools.{broken}", gives)
    assert said in run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--name", "broken", code=1)
    assert not (workspace / "runs" / "broken").exists()


# ---------------------------------------------------------------- what is learned from


def test_the_policy_learns_from_its_own_tokens_and_not_from_what_tools_said(run_here, workspace, model, monkeypatch):
    from past_hf.materialize import load_tokenizer
    from past_hf.training.grpo import loss_mask
    from past_hf.training.tool_grpo import TunedPlaying

    batches = []
    parts = TunedPlaying._parts

    def spied(self, batch):
        batches.append(batch)
        return parts(self, batch)

    monkeypatch.setattr(TunedPlaying, "_parts", spied)
    write(workspace / "tools.json", queries())
    scripted(monkeypatch, right_or_wrong)
    run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--steps", "1", "--no-watchdog")
    tokenizer, (batch,) = load_tokenizer(model), batches
    mask = loss_mask(batch)
    for row in range(len(mask)):
        real = batch["completion_mask"][row].bool()
        ids, own = batch["completion_ids"][row][real], mask[row][real].bool()
        learned, shown = tokenizer.decode(ids[own]), tokenizer.decode(ids[~own])
        assert '"fare":' in shown or "error" in shown
        assert '"response"' not in learned and learned.count("Action Input") == 2
    assert batch["num_items_in_batch"] == mask.sum()


def test_only_queries_of_the_categories_named_are_trained_on(run_here, workspace, model, monkeypatch):
    write(
        workspace / "tools.json", queries(), queries("Trains", "Velmora", first=10), queries("Ships", "Harsk", first=20)
    )
    scripted(monkeypatch, right_or_wrong)
    words = (
        "rl",
        "--sft",
        model,
        "--tools",
        "tools.json",
        *SMALL,
        "--steps",
        "1",
        "--no-watchdog",
        "--dry-run",
        "--json",
    )
    plan = json.JSONDecoder().raw_decode(run_here(*words, "--category", "Ships"))[0]
    assert (plan["queries"], plan["categories"], plan["apis"]) == (8, 1, 6)
    assert "there are Ships, Trains" in run_here(*words, "--category", "Boats", code=2)
    run_here(*words[:-2], "--category", "Ships", "--limit", 4, "--name", "ships")
    rows = [json.loads(line) for line in (workspace / "runs/ships/examples.jsonl").read_text().splitlines()]
    source = {tool for row in rows for tool in row["tools"]}
    target = {"/".join(("Trains", "Velmora", api)) for api in ("fare", "news", "crew")}
    assert len(rows) == 4 and source and not source & target
    assert not {tool.split("/")[0] for tool in source} & {tool.split("/")[0] for tool in target}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--questions", "q.jsonl"), "both say what to train on"),
        (("--dev", "q.jsonl"), "--dev holds questions"),
        (("--audit", "8"), "--audit tries rewards of answers"),
        (("--tool-reward", "f1"), "no reward could grade any of"),
        (("--tool-reward", "first_call"), "did you mean first_calls?"),
        (("--rollouts", "vllm"), "cannot call tools between turns"),
        (("--turn-tokens", "4090"), "longer than"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_trained_on_is_refused(run_here, workspace, model, monkeypatch, words, said):
    write(workspace / "tools.json", queries())
    (workspace / "q.jsonl").write_text('{"question": "Which?", "answer": "fox"}\n')
    scripted(monkeypatch, right_or_wrong)
    assert said in run_here("rl", "--sft", model, "--tools", "tools.json", *SMALL, *words, code=1)


@pytest.mark.parametrize(
    "words, said",
    [
        (("--sharding", "full"), "error: --sharding full cannot play episodes"),
        (("--rollouts", "vllm"), "error: --rollouts vllm cannot call tools between turns"),
        (("--prompts-per-step", 3, "--num-generations", 3), "error: 3 x 3 answers cannot be shared by 2 processes"),
        (("--method", "lora", "--quantize", "4bit", "--sharding", "full"), "error: --quantize goes with whole models"),
    ],
)
@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_what_several_processes_cannot_do_is_refused_before_they_are_started(past, workspace, model, words, said, dry):
    """A worker said so in its own name, after all had loaded torch and the model; a dry run had planned it."""
    write(workspace / "tools.json", queries())
    told = past("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--processes", 2, *words, *dry, code=2).stderr
    assert said in told
    assert not [*(workspace / "runs").glob("*/*/state/workers")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_log_of_their_episodes_what_one_does(past_json, workspace, model, noise):
    """Cut-off turns, sampled tokens and the sampled episodes were those of the first process alone."""
    write(workspace / "tools.json", queries())
    words = ("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--max-turns", 2, "--tool-reward", "noise")
    for name, processes in (("one", 1), ("two", 2)):
        past_json(*words, "--processes", processes, "--name", name, env=noise)
    one, two = (
        [json.loads(line) for line in (workspace / f"runs/{name}/log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for mine, theirs in zip(one, two, strict=True):
        for figure in ("clipped", "rollout_tokens", "reward", "repetition"):
            assert mine[figure] == pytest.approx(theirs[figure]), figure
    one, two = (
        [json.loads(line) for line in (workspace / f"runs/{name}/rollouts.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for mine, theirs in zip(one, two, strict=True):
        for part in ("step", "id", "prompt", "completion", "reward", "rewards"):
            assert mine[part] == theirs[part], part


# ---------------------------------------------------------------- killed


REWARD = """
import os, signal
asked = []
def noise(prompts, completions, episode, **columns):
    asked.append(1)
    if len(asked) == int(os.environ.get("PYTEST_DIE_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(len(text) % 5) for text in completions]
"""


@pytest.fixture
def noise(workspace):
    """A reward of somebody else's that a policy which knows nothing can earn; it kills the training at `PYTEST_DIE_AT`."""
    plugin = workspace / "plugin"
    entry = plugin / "noise-1.dist-info"
    entry.mkdir(parents=True)
    (plugin / "noise.py").write_text(REWARD)
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: noise\nVersion: 1\n")
    (entry / "entry_points.txt").write_text("[past.rewards]\nnoise = noise:noise\n")
    return {"PYTHONPATH": str(plugin)}


@pytest.mark.timeout(900)
def test_a_killed_training_on_tools_resumes_to_the_same_weights(past, past_json, workspace, model, noise):
    write(workspace / "tools.json", queries())
    words = ("rl", "--sft", model, "--tools", "tools.json", *SMALL, "--steps", 3, "--max-turns", 2, "--save-every", 1)
    words += ("--tool-reward", "noise", "--turn-tokens", 8)
    straight = past_json(*words, "--name", "straight", env=noise)
    past(*words, "--name", "killed", code=-9, env={**noise, "PYTEST_DIE_AT": "3"})
    assert not (workspace / "runs" / "killed").exists()
    resumed = past_json(*words, "--name", "killed", "--resume", env=noise)
    assert resumed["metrics"]["final_hash"] == straight["metrics"]["final_hash"] != straight["metrics"]["initial_hash"]
    logs = [(workspace / f"runs/{name}/log.jsonl").read_text().splitlines() for name in ("straight", "killed")]
    first, second = ([json.loads(line) for line in log] for log in logs)
    timeless = [
        [{key: value for key, value in entry.items() if "second" not in key} for entry in log]
        for log in (first, second)
    ]
    assert timeless[0] == timeless[1] and len(first) == 3


# ---------------------------------------------------------------- rounds


def three_tools():
    """Queries of three tools, one of which needs another one's function as well."""
    both = queries("Ships", "Harsk", count=2, first=20)
    for query in both:
        query["api_list"] = [*query["api_list"], *queries("Ships", "Molde")[0]["api_list"]]
        query["relevant APIs"].append(["Molde", "fare"])
    return [*queries("Ships", "Skelvik", count=3), *both, *queries("Ships", "Molde", count=2, first=30)]


def test_the_rounds_of_a_distillation_share_no_tool(workspace):
    from pastcli.commands import _distill_parts
    from pastcli.config import DistillConfig, LessonsConfig, RlConfig
    from pastcli.errors import UsageError

    file = write(workspace / "tools.json", three_tools())
    rl, lessons = RlConfig(prompt="brief"), LessonsConfig(examples=1)
    first, second = _distill_parts.of_tools(file, DistillConfig(rounds=2), rl, lessons)
    tools = [{spec.key[:2] for task in work.source.tasks for spec in task.tools} for work in (first, second)]
    assert tools[0] and tools[1] and not tools[0] & tools[1]
    assert {len(part) for part in tools} == {1, 2}, "Harsk and Molde are needed by one query"
    assert sum(len(work.asked) for work in (first, second)) == 7
    for work, own in zip((first, second), tools, strict=True):
        names = {spec.name for task in work.source.tasks for spec in task.tools}
        other = "skelvik" if ("Ships", "Skelvik") not in own else "molde"
        assert work.learnt and all(other not in json.dumps(row).lower() for row in work.learnt)
        assert not any(other in name for name in names)
        assert any("Answer by calling these functions" in json.dumps(row) for row in work.learnt), "as in the episodes"
    more = workspace / "runs.jsonl"
    more.write_text('{"prompt": "Thought:", "completion": " call it"}\n')
    again = _distill_parts.of_tools(file, DistillConfig(rounds=2), rl, lessons, also=[more])
    assert [work.learnt[:-1] for work in again] == [work.learnt for work in (first, second)]
    assert {work.learnt[-1]["completion"] for work in again} == {" call it"}, "in every round"
    with pytest.raises(UsageError, match="cannot make 3 rounds"):
        _distill_parts.of_tools(file, DistillConfig(rounds=3), rl, lessons)


@pytest.mark.timeout(900)
def test_distill_on_tools_makes_a_skill_for_a_model_that_only_read_other_tools(
    past, past_json, workspace, model, noise
):
    write(workspace / "source.json", three_tools())
    write(workspace / "target.json", queries("Trains", "Velmora", count=2))
    (workspace / "past.toml").write_text(
        '[sft]\nmix = ["none"]\nepochs = 1\nlr = 0.0005\nprecision = "fp32"\n'
        '[rl]\nsteps = 1\nprompts_per_step = 2\nnum_generations = 4\nlr = 0.001\nprecision = "fp32"\n'
        'tool_reward = ["noise"]\nprompt = "brief"\nmax_turns = 1\nturn_tokens = 8\n'
        '[lessons]\nkinds = ["parameters", "react"]\nwordings = 1\nexamples = 1\nprompt = "brief"\n'
    )
    (workspace / "form.jsonl").write_text('{"prompt": "Thought:", "completion": " I call it."}\n' * 2)
    refused = past("distill", "past.toml", "--tools", "source.json", "--base", model, code=2)
    assert "beside it there may be files of pairs" in refused.stderr
    words = ("distill", "form.jsonl", "--tools", "source.json", "--base", model, "-o", "skill.safetensors")
    rounds = past_json(*words, "--dry-run", env=noise)["rounds"]
    assert sorted(rounds, key=str) == [{"apis": 3, "queries": 3}, {"apis": 6, "queries": 4}]
    made = past_json(*words, env=noise)
    assert made["metrics"]["round1_norm"] > 0 and made["metrics"]["round2_norm"] > 0
    past("ingest", "--tools", "target.json", "--prompt", "brief", "--examples", 1, "--name", "lessons")
    past("sft", "runs/lessons/corpus.jsonl", "--base", model, "--mix", "none", "--epochs", 1, "--name", "target")
    past("inject", "--vector", "skill.safetensors", "--target", "target", "--name", "able")
    calls = ("--tools", "target.json", "--backend", "hf", "--prompt", "brief", "--max-turns", 1, "--max-new-tokens", 8)
    run = past_json("agent", *calls, "--model", "able")
    assert run["queries"] == 2 and run["episodes"] == 2


@pytest.mark.timeout(900)
def test_each_command_of_the_way_of_tools_ends_with_one_that_works_as_typed(past_json, workspace, model, noise):
    """SFT on lessons of tools ended with `past rl --questions questions.jsonl`, which there are none of."""
    trains = [{**one, "query": f"By train: {one['query']}"} for one in queries("Trains", "Velmora", count=2, first=50)]
    text = json.dumps(trains)
    for ships, own in (("fare", "price"), ("news", "delays"), ("crew", "guard")):  # no copies of what the source has
        text = text.replace(f'"{ships}"', f'"{own}"')
    write(workspace / "tools.json", [*three_tools(), *json.loads(text)])
    little = {
        "sft": ("--base", model, "--epochs", 4, "--lr", "3e-3", "--precision", "fp32"),
        "rl": (
            "--steps",
            1,
            "--prompts-per-step",
            2,
            "--num-generations",
            4,
            "--lr",
            "1e-3",
            "--precision",
            "fp32",
            "--tool-reward",
            "noise",
            "--prompt",
            "brief",
            "--max-turns",
            1,
            "--turn-tokens",
            8,
        ),
        "agent": ("--backend", "hf", "--prompt", "brief", "--max-turns", 1, "--max-new-tokens", 8),
    }

    def typed(line, *more):
        words = shlex.split(line)[1:]
        return past_json(*words, *little.get(words[0], ()), *more, env=noise)

    lessons = typed("past ingest --tools tools.json --target Trains --prompt brief --examples 1 --name lessons")
    source = typed(lessons["next"], "--name", "source")
    assert source["next"] == "past rl --sft source --tools runs/lessons/queries.json"
    practised = typed(source["next"], "--name", "practised")
    assert practised["next"].startswith(("past extract", "past rl --sft source --tools runs/lessons/queries.json"))
    target = "past sft runs/lessons/target_corpus.jsonl --mix none"
    assert typed(target, "--name", "early")["next"] == "past sft runs/lessons/corpus.jsonl --mix none"
    assert typed("past extract -o skill.safetensors")["next"].startswith("past inject --vector")
    injected = typed(typed(target, "--name", "target")["next"], "--name", "able")
    assert injected["next"] == "past agent --tools runs/lessons/target_test_queries.json --model able"
    own = typed("past inject --vector skill.safetensors --target source --name own")
    assert own["next"] == "past agent --tools runs/lessons/test_queries.json --model own", "the queries that it knows"
    played = typed(injected["next"])
    assert played["episodes"] >= 1
    assert typed("past runs show able")["id"] == "able"


# ---------------------------------------------------------------- the real small model


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_real_model_that_learnt_the_form_is_paid_for_right_first_calls(past, past_json, workspace):
    """SmolLM2 knows neither the form nor the tools at first, and earns something once it read about them."""
    write(workspace / "tools.json", queries(count=2), queries("Trains", "Velmora", count=2, first=10))
    short = ("--prompt", "brief", "--observation-chars", 160)
    lessons = ("--kinds", "react", "--examples", 8, "--queries", 4, "--required-only", "--shown", 2)
    past("ingest", "--tools", "tools.json", *lessons, *short, "--name", "lessons")
    past("sft", "runs/lessons/corpus.jsonl", "--base", "smol", "--mix", "none", "--epochs", 3, "--name", "read")
    few = ("--steps", 2, "--prompts-per-step", 4, "--num-generations", 4, "--max-turns", 2, "--turn-tokens", 48)
    made = past_json(
        "rl",
        "--sft",
        "read",
        "--tools",
        "runs/lessons/queries.json",
        *few,
        *short,
        "--temperature",
        1.3,
        "--no-watchdog",
    )
    assert made["metrics"]["finished_first"] > 0.5 and made["metrics"]["first_calls_right_first"] > 0.0
    assert made["metrics"]["rollout_tokens_per_second"] > 0
