"""`past rl --tools`: GRPO on whole episodes, its rewards, its watchdog, and what it trains on."""

from __future__ import annotations

import json
import re

import pytest
from rl_tools import act, finish, queries, scripted, write
from typer.testing import CliRunner

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
        problem = f"{done.exception}"
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
