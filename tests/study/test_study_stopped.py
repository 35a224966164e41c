"""Ctrl-C in a study: what trains keeps its step, and the study goes on from there as if nobody had stopped it."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from study_tools import records

STUDY = """
title = "tiny"
base = "../base"
seeds = [0, 1]
[target]
documents = "target.json"
[sft]
mix = ["none"]
epochs = 20
batch_tokens = 200
step_tokens = 200
lr = 0.0005
precision = "fp32"
[eval]
max_new_tokens = 2
[arms.SFT]
"""
WORDS = ("study", "run", "study.toml", "-o", "out", "--jobs", 2)


def folder_of(workspace, name):
    folder = workspace / name
    folder.mkdir()
    (folder / "target.json").write_text(json.dumps(records("Harsk", 3, questions=1)))
    (folder / "study.toml").write_text(STUDY)
    return folder


def hashes(folder):
    made = (json.loads(file.read_text()) for file in folder.glob("runs/sft-*/manifest.json"))
    return sorted(one["metrics"]["final_hash"] for one in made)


def until(condition, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.mark.timeout(900)
def test_ctrl_c_in_a_study_keeps_the_step_of_every_training_under_way(begin, past, make_tiny, workspace, monkeypatch):
    make_tiny(workspace / "base")
    whole, stopped = (folder_of(workspace, name) for name in ("whole", "stopped"))
    past(*WORDS, cwd=whole)
    assert len(set(hashes(whole))) == 2
    monkeypatch.chdir(stopped)
    (held := workspace / "held").mkdir()
    holding = {"HOLDING": "past_hf.training.watch:Watch.on_log 3", "HOLDING_IN": str(held)}
    with begin(*WORDS, env=holding) as command:
        until(lambda: len(list(held.iterdir())) == 2)
        os.kill(command.pid, signal.SIGINT)
        done = command.wait()
    assert done.returncode == 130 and "run the same command again" in done.stderr and "Traceback" not in done.stderr
    assert "waiting for 2 under way to keep what they have" in done.stderr
    kept = list(stopped.glob("runs/.partial/sft-*/state/checkpoint-*"))
    assert len(kept) == 2 and not list(stopped.glob("runs/.study/claims/[!.]*"))
    past(*WORDS, cwd=stopped)
    said = "".join(log.read_text() for log in stopped.glob("runs/.study/logs/sft-*.log"))
    assert all(f"going on from step {one.name.split('-')[1]}\n" in said for one in kept)
    assert hashes(stopped) == hashes(whole), "as if nobody had stopped it"
