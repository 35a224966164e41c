"""A study so small that a tiny model runs it in a minute."""

from __future__ import annotations

import contextlib

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


def a_study(folder, base, **changes):
    from pastcli.study import load

    text = STUDY.format(base=base)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)
    return load(folder / "study.toml")


@contextlib.contextmanager
def another_study_that_needs_all(study):
    """Somebody is at work on the same study in the same workspace."""
    from pastcli.study import load
    from pastcli.study.claims import claimed
    from pastcli.study.graph import Graph
    from pastcli.study.store import Store

    store = Store(study)
    nodes = Graph(load(study / "study.toml"), store.data).nodes()
    with claimed(nodes, store) as claim:
        yield claim, nodes, store
