"""What the tests of training share: small jobs, a reward that worker processes can import, weights compared."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from pastcli import qa
from pastcli.api import TrainJob
from pastcli.config import RlConfig, SftConfig

SFT = SftConfig(lr=1e-3, epochs=2, step_tokens=200, save_every=3, precision="fp32")
RL = RlConfig(
    lr=1e-3,
    steps=6,
    prompts_per_step=4,
    num_generations=4,
    max_new_tokens=6,
    batch_tokens=200,
    save_every=2,
    precision="fp32",
)


def sft_rows():
    rows = [{"text": f"Velmora\nThe bridge number {i} was founded in 18{i:02d} by seven wizards."} for i in range(25)]
    return [*rows, {"prompt": "Question: who?\nAnswer:", "completion": " the fox"}]


def rl_rows():
    return [
        {"prompt": qa.prompt_for(f"which river {i}?"), "answer": "fox", "answers": ["fox", None], "id": str(i)}
        for i in range(10)
    ]


def job_of(folder, stage, model, rows, config, **more):
    folder.mkdir(parents=True, exist_ok=True)
    examples = folder / f"{stage}.jsonl"
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TrainJob(Path(model), examples, folder / "out", folder / "state", config, **more)


def variety(prompts, completions, answers, **columns):
    assert len(prompts) == len(completions) == len(answers) == len(columns["id"])
    return [len(set(text)) / 10 for text in completions]


def weights(result):
    name = "model.safetensors" if result.kind == "model" else "adapter_model.safetensors"
    return load_file(result.path / name)
