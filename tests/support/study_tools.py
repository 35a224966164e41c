"""A study so small that a tiny model runs it in a minute."""

from __future__ import annotations

STUDY = """
title = "tiny"
base = "{base}"
seeds = [0]
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
