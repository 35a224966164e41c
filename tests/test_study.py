"""`past study`: one file in, the table out; nothing trained twice, stopped anywhere and continued."""

from __future__ import annotations

import json

import pytest

STUDY = """
title = "tiny"
base = "{base}"
seeds = [0, 1]
[source]
documents = "source.json"
held_out = 0.25
[target]
documents = "target.json"
dev = 0.25
[sft]
epochs = 2
batch_tokens = 200
lr = 0.0005
precision = "fp32"
[imitation]
epochs = 1
batch_tokens = 200
[format]
mix = ["none"]
epochs = 1
[rl]
steps = 2
prompts_per_step = 3
num_generations = 4
max_new_tokens = 4
lr = 0.001
[eval]
max_new_tokens = 4
[arms.SFT]
sft = {{ mix = ["none"] }}
[arms."SFT + v"]
sft = {{ mix = ["none"] }}
add = ["rl"]
test = true
[arms."SFT + random"]
sft = {{ mix = ["none"] }}
add = ["rl"]
control = "random"
"""


def records(name, count, questions=4):
    rivers = ("fox", "dog")
    return [
        {
            "title": f"{name} {n}",
            "context": f"{name} {n} lies on the river {rivers[n % 2]}. Seven wizards brew potions there.",
            "questions": [{"question": f"Which river {q}?", "answer": rivers[(n + q) % 2]} for q in range(questions)],
        }
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def warmed(tiny_model, tmp_path_factory):
    """A tiny base that answers some questions, so that GRPO has something to reward."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("warmed")
    pairs = [{"prompt": f"Question: Which river {i}?\nAnswer:", "completion": " dog" if i % 2 else " fox"} for i in range(6)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    words = ["sft", "pairs.jsonl", "--base", str(tiny_model), "--mix", "none", "--epochs", "40", "--lr", "0.01", "--name", "warm"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PAST_") or k == "PAST_HOME"}
    subprocess.run([sys.executable, "-m", "pastcli", *words], cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "runs" / "warm" / "model"


@pytest.fixture
def study(workspace, warmed):
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    (workspace / "study.toml").write_text(STUDY.format(base=warmed))
    return workspace


def test_a_study_runs_and_finds_everything_again(past, study):
    past("study", "run", "study.toml")
    found = json.loads((study / "studies" / "study" / "results.json").read_text())
    assert set(found["arms"]) == {"SFT", "SFT + v", "SFT + random"}
    made = {path.name: path.stat().st_mtime_ns for path in (study / "runs").iterdir()}
    again = past("study", "run", "study.toml")
    assert "is here already" in again.stderr or "results are here" in again.stderr
    assert made == {path.name: path.stat().st_mtime_ns for path in (study / "runs").iterdir()}
