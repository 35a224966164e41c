"""What a training holds does not grow with its hours."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HOLES = """
import torch
from pastcli.environment import give_back_freed_memory, keep_freed_memory, resident_bytes
keep_freed_memory(2**30, 2**31 - 1)
blocks = [torch.ones(2_000_000) for _ in range(80)]
full = resident_bytes()
del blocks[::2]
kept = resident_bytes()
give_back_freed_memory()
print(full, kept, resident_bytes())
"""


def test_what_is_freed_between_blocks_in_use_is_kept_until_it_is_given_back():
    """Forty holes of eight megabytes each."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, kept, left = (int(word) / 1e6 for word in done.stdout.split())
    assert kept > full - 30 and left < kept - 250


def test_freed_memory_goes_back_when_a_training_has_grown_by_a_tenth(monkeypatch):
    from past_hf.training import freed

    held, calls = iter([400, 450, 430, 470, 494, 496, 300, 460, 500]), []
    monkeypatch.setattr(freed, "resident_bytes", lambda: next(held))
    monkeypatch.setattr(freed, "give_back_freed_memory", lambda: calls.append(callback.steps))
    callback = freed.FreedMemory()
    for _ in range(9):
        callback.on_step_end(None, None, None)
    assert calls == [6, 9], "496 and 500, of at most 450 in the first three steps"


LONG = """
import json, random, resource, sys
from pathlib import Path
from past_hf.materialize import hf_directory
from past_hf.planning import plan
from past_hf.quiet import quiet
from past_hf.training import HFTrainer
from pastcli import models
from pastcli.api import TrainJob
from pastcli.config import SftConfig
quiet()
folder, rng = Path(sys.argv[1]), random.Random(0)
words = "the bridge of Velmora was founded by Ada Krol in 1843 and stood for ninety years over river Oder".split()
rows = [{"text": " ".join(rng.choices(words, k=rng.randint(10, 500)))} for _ in range(110)]
config = SftConfig(epochs=1, step_tokens=900, save_every=10**6)
(folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
model = hf_directory(models.resolve("smol").path)
said = plan("sft", model, rows, config)
HFTrainer().sft(TrainJob(model, folder / "rows.jsonl", folder / "out", folder / "state", config))
print(json.dumps([said["memory_gb"]["peak"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, said["steps"]]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_peak_is_bounded_over_many_steps_of_all_lengths(tmp_path):
    """It grew by 50 MB a step: 8.8 GB after 120 steps where 4.6 were planned. What freed blocks leave is given back now, and the scores
    of long rows, whose sizes are as many as there are lengths, are kept no more: 1.13 times the plan after 25 steps. (Of all 66 only the
    way before that, with all scores, was seen to its end: 1.34 times.)"""
    done = subprocess.run([sys.executable, "-c", LONG, str(tmp_path)], capture_output=True, text=True, check=True)
    planned, measured, steps = json.loads(done.stdout.splitlines()[-1])
    print(f"planned {planned:.2f} GB, measured {measured:.2f} GB over {steps} steps")
    assert steps >= 60 and 0.8 * planned < measured < 1.5 * planned
