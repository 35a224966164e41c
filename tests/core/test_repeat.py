"""A run's config.toml repeats it: the same command with `--config runs/X/config.toml` makes the same weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from agent_tools import queries

from pastcli import runs


@pytest.fixture
def docs(workspace):
    (workspace / "docs").mkdir()
    text = " ".join(f"The bridge {n} over a river was founded in {1800 + n}." for n in range(12))
    (workspace / "docs" / "a.txt").write_text(text)
    return workspace


def hashes(name):
    return runs.find(name).manifest["metrics"]["final_hash"]


def test_sft_from_a_runs_own_config_gives_the_same_weights(docs, past, tiny_model):
    """Settings from three places, and passages cut as another stage's settings say."""
    (docs / "past.toml").write_text("[sft]\nlr = 0.01\n[ingest]\nmax_chars = 90\n")
    words = ("sft", "docs", "--base", tiny_model, "--epochs", "1", "--mix", "none")
    past(*words, "--name", "first", env={"PAST_SFT_SEED": "5"})
    (docs / "past.toml").unlink()
    past("sft", "docs", "--config", "runs/first/config.toml", "--name", "again")
    assert hashes("again") == hashes("first")
    past(*words, "--name", "other", "--seed", "5", "--lr", "0.01")
    assert hashes("other") != hashes("first"), "[ingest] decides as well"


def test_another_cut_of_the_documents_is_another_work(docs, past, tiny_model):
    words = ("sft", "docs", "--base", tiny_model, "--epochs", "1", "--mix", "none", "--resume")
    past(*words)
    again = past(*words).stderr
    assert "already finished" in again and "another state" not in again
    (manifest,) = (docs / "runs").glob("sft-*/manifest.json")
    manifest.write_text(re.sub(r'"code": "\w+"', '"code": "0123456789ab"', manifest.read_text()))
    assert "another state of past's code made sft-" in past(*words).stderr
    (docs / "past.toml").write_text("[ingest]\nmax_chars = 90\n")
    assert "already finished" not in past(*words).stderr


# ---------------------------------------------------------------- every stage of the path

SETTINGS = """
[rl]
steps = 6
num_generations = 8
lr = 0.003
[extract]
rank = 3
[inject]
scale = 0.7
control = "shuffled"
[probe]
subspaces = 2
[eval]
limit = 4
[agent]
temperature = 1.0
max_turns = 2
backend = "hf"
[distill]
rounds = 2
[sft]
mix = ["none"]
lr = 0.002
epochs = 2.0
"""
"""Of the file; the environment and the flags decide more, and a run from its own config.toml is told none of the three."""

ENVIRONMENT = {
    "PAST_RL_SEED": "3",
    "PAST_RL_PROMPTS_PER_STEP": "3",
    "PAST_RL_MAX_NEW_TOKENS": "3",
    "PAST_EXTRACT_SEED": "3",
    "PAST_INJECT_SEED": "3",
    "PAST_PROBE_SEED": "3",
    "PAST_EVAL_SEED": "3",
    "PAST_EVAL_MAX_NEW_TOKENS": "3",
    "PAST_AGENT_SEED": "3",
    "PAST_AGENT_MAX_NEW_TOKENS": "12",
    "PAST_DISTILL_SEED": "3",
    "PAST_SFT_SEED": "3",
}


@pytest.fixture
def trained(workspace, past, warmed):
    """Questions, an SFT model, an RL model and a skill, all made under `SETTINGS` and `ENVIRONMENT`."""
    rows = [
        {"question": f"Which river {n}?", "answer": "dog" if n % 3 else "fox", "doc": f"d{n % 2}"} for n in range(6)
    ]
    (workspace / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workspace / "docs").mkdir()
    for n in range(2):
        (workspace / "docs" / f"d{n}.txt").write_text(f"The bridge {n} over a river was founded in 184{n}.")
    (workspace / "tools.json").write_text(json.dumps(queries(2)))
    (workspace / "past.toml").write_text(SETTINGS)
    past("sft", "docs", "--base", warmed, "--name", "s", env=ENVIRONMENT)
    past("rl", "--sft", "s", "--questions", "questions.jsonl", "--name", "r", env=ENVIRONMENT)
    past("extract", "--sft", "s", "--rl", "r", "--name", "v", env=ENVIRONMENT)
    return warmed


def result(name):
    """What a run made and measured, without what tells of the clock."""
    record = runs.find(name)
    metrics = {key: value for key, value in record.manifest["metrics"].items() if not CLOCK.search(key)}
    hashes = {key: record.manifest["outputs"][key]["hash"] for key in WEIGHTS & record.manifest["outputs"].keys()}
    said = [path for name in SAID for path in sorted(record.path.rglob(name))]
    return metrics, hashes, [_timeless(_read(path)) for path in said]


def _read(path):
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def _timeless(told):
    """A document without times and names of runs."""
    if isinstance(told, dict):
        return {key: _timeless(value) for key, value in told.items() if not CLOCK.search(key)}
    return [_timeless(one) for one in told] if isinstance(told, list) else told


CLOCK = re.compile("second|time|memory|path|version|run")
WEIGHTS = {"skill"}
SAID = ("1.jsonl", "2.jsonl", "transcript.jsonl", "probe.json")

ASKED = {
    "rl": ("--sft", "s", "--questions", "questions.jsonl"),
    "extract": ("--sft", "s", "--rl", "r"),
    "inject": ("--target", "s", "--vector", "v"),
    "probe-orthogonality": ("--base", "BASE", "--sft", "s", "--rl", "r", "--no-figures"),
    "eval": ("--questions", "questions.jsonl", "--model", "s", "--model", "r"),
    "agent": ("--tools", "tools.json", "--model", "r"),
    "distill": ("docs", "--questions", "questions.jsonl", "--base", "BASE"),
}
"""The inputs of each stage: what `--config` does not hold."""

NEEDED = {"agent": ("--backend", "hf")}
"""Settings without which a stage cannot run on a tiny model at all."""


def repeats(past, stage, base, *flags):
    """Run a stage by file, environment and flags, then by its own config.toml alone; with none of these it does something else."""
    words = [str(base) if word == "BASE" else word for word in ASKED[stage]]
    made = {}
    place = Path("past.toml")
    own = ("--config", "runs/first/config.toml")
    for name, more, env in (("first", flags, ENVIRONMENT), ("again", own, {}), ("plain", NEEDED.get(stage, ()), {})):
        hidden = place.rename("hidden") if name != "first" else None
        past(stage, *words, *more, "--name", name, env=env)
        made[name] = result(name)
        if hidden:
            hidden.rename(place)
    assert made["again"] == made["first"], stage
    assert made["plain"] != made["first"], f"{stage}: what is compared does not depend on the settings"
    past("runs", "rm", *made)
    return made["first"]


def test_every_stage_of_the_path_is_repeated_by_its_own_config(trained, past, workspace):
    found = {
        "rl": repeats(past, "rl", trained, "--prompts-per-step", "2"),
        "extract": repeats(past, "extract", trained, "--rank", "2"),
        "inject": repeats(past, "inject", trained, "--rounding", "stochastic", "--dtype", "bf16"),
        "probe": repeats(past, "probe-orthogonality", trained, "--seed", "4"),
        "eval": repeats(past, "eval", trained, "--limit", "3"),
        "agent": repeats(past, "agent", trained, "--max-turns", "1"),
    }
    assert found["rl"][0]["final_hash"] and found["extract"][1]["skill"] and found["inject"][0]
    assert len(found["eval"][2][0]) == 3 and found["agent"][2][0], "what was said is compared, word by word"


@pytest.mark.slow
def test_distill_is_repeated_by_its_own_config(trained, past, workspace):
    """The settings of [sft] and [rl] are in its config.toml as well."""
    metrics, hashes, _ = repeats(past, "distill", trained, "--rounds", "2")
    assert hashes["skill"] and metrics["round2_norm"] > 0
