"""Two threads that wait for each other beside 0, 1 and 2 busy programs: libgomp's own busy loop and the one of `past`, in turn.

Forward and backward of SmolLM2-135M in torch, 15 rows of 60 tokens, bfloat16; and a token of llama.cpp, plain weights.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from pastcli import models
from pastcli.environment import SPINS

ROUNDS, THREADS = 3, 2
OWN = "300000"
"""What libgomp takes where nobody says, as its manual has it."""

TORCH = """
import sys, time, torch
from pathlib import Path
from past_hf.materialize import hf_directory, load_model
torch.set_num_threads(int(sys.argv[1]))
model = load_model(hf_directory(Path(sys.argv[2])), torch.bfloat16).train()
ids = torch.randint(0, 40000, (15, 60))
def once():
    began = time.perf_counter()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - began
once()
print(once())
"""

LLAMA = """
import sys
from pathlib import Path
from past_llamacpp.engine import Engine
engine = Engine(Path(sys.argv[2]), n_ctx=256, threads=int(sys.argv[1]), extra_buffers=False)
engine.decode([0])
print(engine._decode_seconds(int(sys.argv[1])))
"""


@contextlib.contextmanager
def busy(count):
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def seconds(code, model, spins):
    words = [sys.executable, "-c", code, str(THREADS), str(model)]
    environment = {**os.environ, "GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(THREADS)}
    return float(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.split()[-1])


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what, code", [("torch, a pass", TORCH), ("llama.cpp, a token", LLAMA)])
def test_threads_that_sleep_early_lose_little_and_do_not_stand_still_where_all_processors_are_taken(what, code):
    model = models.resolve("smol").path
    print()
    for others in (0, 1, 2):
        taken = {OWN: [], SPINS: []}
        for _ in range(ROUNDS):
            for spins, found in taken.items():
                with busy(others):
                    found.append(seconds(code, model, spins))
        own, early = (sorted(taken[spins]) for spins in (OWN, SPINS))
        shown = (f"{one[ROUNDS // 2]:.3f} ({one[0]:.3f} to {one[-1]:.3f})" for one in (own, early))
        print(f"{what} beside {others} busy: {' s, '.join(shown)} s")
        assert early[ROUNDS // 2] < 2 * own[ROUNDS // 2]
        if others == THREADS:
            assert early[ROUNDS // 2] < own[ROUNDS // 2]
