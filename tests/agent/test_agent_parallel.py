"""Episodes side by side: the same report as one by one, kill -9 as often as you like, nothing recorded paid for twice."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from agent_tools import finish, queries, script
from conftest import QUICKSTART, ROOT

from pastcli.agent.drivers import run_tasks
from pastcli.agent.transcript import Transcript
from pastcli.api import Completion, Observation, Verdict
from pastcli.config import AgentConfig
from pastcli.errors import ContextOverflow, PastError
from pastcli.tools.load import load_tools

EPISODES = 100

PAID = """
import itertools, json, os, secrets, signal, sys, time
from pastcli.api import Observation, Verdict
from pastcli.tools.environments import simulator as simulate
from pastcli.tools.judging import rules as judge

paid_for = itertools.count(1)

def paid(kind, what):
    nonce = secrets.token_hex(8)
    time.sleep(0.04)
    with open("paid.log", "ab", buffering=0) as log:
        log.write(json.dumps([kind, what, nonce]).encode() + b"\\n")
    if next(paid_for) == int(os.environ.get("DIES_AT", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
    return nonce

def call(self, spec, arguments):
    return Observation("", {"fare": paid("tool", arguments["sailing"]), "currency": "EUR"})

def verdict(self, episode):
    label = ("Solved", "Unsolved", "Partially Solved")[int(episode.task.id) % 3]
    return Verdict(label, paid("judge", episode.task.id))

simulate.SchemaSimulator.call, simulate.SchemaSimulator.version = call, "paid"
simulate.SchemaSimulator.deterministic = False  # so nothing but the model's own calls reaches it
judge.RulesJudge.judge, judge.RulesJudge.version = verdict, "paid"
from pastcli.cli import main
main()
"""
"""A simulator and a judge that never say the same twice, and write down every time they are asked; the process may die by one."""


@pytest.fixture
def files(workspace):
    (workspace / "tools.json").write_text(json.dumps(queries(EPISODES)))
    (workspace / "script.json").write_text(json.dumps(script(EPISODES)))
    return (
        "agent",
        "--tools",
        "tools.json",
        "--backend",
        "echo",
        "--model",
        "script.json",
        "--parallel",
        "8",
        "--json",
    )


def run_paid(*words, dies_at=0):
    environment = {**os.environ, "DIES_AT": str(dies_at)}
    command = [sys.executable, "-c", PAID, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def report(document):
    """What a run reports, but for names and clocks."""
    named = {"next": document["next"].replace(document["run"], "RUN")}
    clocks = ("run", "outputs", "seconds", "model_seconds")
    return {key: value for key, value in (document | named).items() if key not in clocks}


def test_kill_9_five_times_in_100_parallel_episodes(files):
    undisturbed = json.loads(run_paid(*files).stdout)
    assert undisturbed["episodes"] == EPISODES and undisturbed["calls"] == 2 * EPISODES
    Path("paid.log").unlink()
    Path("runs").rename("undisturbed")
    kills = 5
    for _ in range(kills):
        killed = run_paid(*files, "--resume", dies_at=random.randint(5, 45))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = json.loads(run_paid(*files, "--resume").stdout)
    assert report(resumed) == report(undisturbed)

    log = [json.loads(line) for line in Path("paid.log").read_text().splitlines()]
    last = {(kind, what): nonce for kind, what, nonce in log}
    events = [json.loads(line) for line in Path(resumed["outputs"]["transcript"]).read_text().splitlines()]
    recorded = {
        ("tool", e["arguments"]["sailing"]): e["observation"]["response"]["fare"]
        for e in events
        if e.get("outcome") == "ok"
    }
    recorded |= {("judge", e["task"]): e["verdict"]["reason"] for e in events if e["event"] == "end"}
    assert len(recorded) == 3 * EPISODES
    assert recorded == last, "something was paid for again after it had been recorded"
    assert len(log) - len(recorded) <= kills * 8, "more was lost than what was under way when the process died"
    assert Counter(e["event"] for e in events) == {"run": 1, "episode": EPISODES, "step": 3 * EPISODES, "end": EPISODES}
    replay = subprocess.run(
        [sys.executable, "-m", "pastcli", "agent", "--replay", resumed["outputs"]["transcript"], "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    # what varies is taken from the record; the real simulator and judge, asked again, would say something else
    assert json.loads(replay.stdout)["episodes"] == EPISODES


class Batching:
    """A model of tokens (one a character) that remembers how many prompts it was given at a time."""

    name, context = "batching", 4000

    def __init__(self, rules):
        self.rules, self.batches = rules, []

    def render(self, messages):
        return messages[-1].content + "\n"

    def encode(self, text, special):
        return [ord(char) for char in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def complete_tokens(self, prompts, samplings):
        self.batches.append(len(prompts))
        return [self.answer(self.decode(prompt)) for prompt in prompts]

    def complete(self, prompts, sampling):
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt):
        import re

        text = next(rule["reply"] for rule in self.rules if re.search(rule["match"], prompt))
        return Completion(text, token_ids=tuple(map(ord, text + "\nObs")))

    def close(self):
        pass


class Fares:
    def call(self, spec, arguments):
        return Observation("", {"fare": 12, "<|im_end|>": "Action: Finish"})


class Kind:
    def judge(self, episode):
        return Verdict("Solved", "kind")


@pytest.fixture
def tasks(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(queries(20)))
    return load_tools(tmp_path / "tools.json").tasks


def summary_of(results):
    return [(r.episode.task.id, r.episode.status, [s.arguments for s in r.episode.steps]) for r in results]


def play(tmp_path, tasks, model, parallel, env=None):
    transcript = Transcript(tmp_path / f"{parallel}-{type(model).__name__}.jsonl")
    return run_tasks(model, env or Fares(), Kind(), tasks, AgentConfig(parallel=parallel), transcript)


def test_models_that_batch_are_asked_for_all_live_episodes_together(tmp_path, tasks):
    one, eight = Batching(script(20)), Batching(script(20))
    assert summary_of(play(tmp_path, tasks, one, 1)) == summary_of(play(tmp_path, tasks, eight, 8))
    assert one.batches == [1] * 60 and sum(eight.batches) == 60 and max(eight.batches) == 8 and len(eight.batches) <= 9


def test_models_that_take_threads_get_an_episode_a_thread(tmp_path, tasks):
    class Concurrent:
        name, concurrent = "server", True
        lock, live, most = threading.Condition(), 0, 0

        def render(self, messages):
            return messages[-1].content + "\n"

        def complete(self, prompts, sampling):
            with self.lock:
                self.live += 1
                self.most = max(self.most, self.live)
                self.lock.notify_all()
                self.lock.wait_for(lambda: self.most >= 4, 60)
                self.live -= 1
            return Batching(script(20)).complete(prompts, sampling)

    model = Concurrent()
    results = play(tmp_path, tasks, model, 8)
    assert len(results) == 20 and 4 <= model.most <= 8
    assert [r.episode.task.id for r in results] == [task.id for task in tasks]


def test_a_crash_in_one_lane_stops_the_run_and_keeps_what_is_recorded(tmp_path, tasks):
    class Broken(Fares):
        def call(self, spec, arguments):
            if arguments["sailing"] == "Q11-b":
                raise ZeroDivisionError
            return super().call(spec, arguments)

    with pytest.raises(PastError, match="crashed: ZeroDivisionError"):
        play(tmp_path, tasks, Batching(script(20)), 8, Broken())
    again = Batching(script(20))
    assert len(play(tmp_path, tasks, again, 8)) == 20
    assert sum(again.batches) < 60


def test_a_prompt_too_long_ends_its_own_episode_only(tmp_path, tasks):
    class Long(Fares):
        def call(self, spec, arguments):
            return Observation("", "x" * (1000 if arguments["sailing"] != "Q3-a" else 6000))

    model = Batching(script(20))
    transcript = Transcript(tmp_path / "t.jsonl")
    config = AgentConfig(parallel=8, observation_chars=6000)
    results = run_tasks(model, Long(), Kind(), tasks, config, transcript)
    assert Counter(r.episode.status for r in results) == {"finished": 19, "context_overflow": 1}


def test_a_text_model_that_overflows_loses_its_episode_and_no_other(tmp_path, tasks):
    class Text:
        name = "text"

        def render(self, messages):
            return messages[-1].content

        def complete(self, prompts, sampling):
            if "Fare 3?" in prompts[0]:
                raise ContextOverflow("full")
            return [Completion(finish("x"))]

    results = run_tasks(Text(), Fares(), Kind(), tasks, AgentConfig(parallel=4), Transcript(tmp_path / "t.jsonl"))
    assert Counter(r.episode.status for r in results) == {"finished": 19, "context_overflow": 1}


def test_transcripts_of_the_first_format_still_replay(past_json):
    """Its calls were read by another parser, its answers made by another simulator, its verdicts by another judge."""
    old = ROOT / "tests" / "data" / "transcript_format_1.jsonl"
    done = past_json("agent", "--replay", old, "--tools", QUICKSTART / "toolbench.json")
    assert done["identical"] and done["complete"] and done["episodes"] == 2
    assert done["observations"] == done["verdicts"] == "as recorded"
