"""Whatever happens to the process or the disk, nothing is left that looks like a finished model or skill."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys

import dying
import numpy as np
import pytest
from past_hf.checkpoint import HFFormat
from vectors_tools import moved, weights, write_model

from pastcli.errors import PastError
from pastcli.vectors import extract_skill, open_skill

BIG = {"layers": 4, "hidden": 256, "vocab": 4000}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A pair of models of 4 million weights, and their skill: large enough to be killed in the middle of."""
    folder = tmp_path_factory.mktemp("faults")
    base = weights(**BIG)
    sft = moved(base, 1, 1e-3)
    for name, tensors in {"sft": sft, "rl": moved(sft, 2, 1e-3), "target": moved(base, 3, 1e-3)}.items():
        write_model(folder / name, tensors, vocab=BIG["vocab"], shards=2)
    extract_skill(folder / "sft", folder / "rl", folder / "skill")
    return folder


SCRIPT = """
import sys, pathlib
begin = globals().get("begin", lambda: None)
from pastcli.vectors import extract_skill, inject_skill
what, folder, out = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
begin()
if what == "extract":
    extract_skill(folder / "sft", folder / "rl", out)
else:
    inject_skill([(folder / "skill", 1.0)], folder / "target", out)
"""


def opens(path):
    """True if a reader would take it for a whole model or skill."""
    try:
        (HFFormat().open(path) if HFFormat().accepts(path) else open_skill(path)).close()
    except (PastError, OSError):
        return False
    return True


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()} if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("what", ["extract", "inject"])
def test_kill_at_any_point_leaves_nothing_that_can_be_opened(models, tmp_path, what):
    """At every step, and between them. Unless the kill came after the last byte: then all of it is there."""
    rng, midway = random.Random(what), 0
    steps = dying.steps_of(SCRIPT, what, models, tmp_path / "whole")
    whole = content(tmp_path / "whole")
    points = [(step, 0.0) for step in range(1, steps + 1)] + [
        (rng.randint(1, steps), rng.uniform(0, 0.02)) for _ in range(4)
    ]
    for number, (step, after) in enumerate(points):
        out = tmp_path / f"out{number}"
        assert dying.cut_short(SCRIPT, what, models, out, at=step, after=after) or after
        if opens(out):
            assert content(out) == whole
        else:
            midway += out.exists()
    assert midway >= 2, "no kill came in the middle of the work: the test has lost its point"


@pytest.mark.parametrize("what", ["extract", "inject"])
def test_a_full_disk_is_an_error_and_leaves_nothing(models, tmp_path, what):
    """RLIMIT_FSIZE stands in for a full disk: the space is claimed before the work, so it fails at once."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what, models, tmp_path / "out"],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=60,
    )
    assert done.returncode != 0 and "File too large" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_read_only_output_folder_is_an_error(models, tmp_path):
    if os.geteuid() == 0:
        out = "/proc/skill"  # root may write anywhere but here
    else:
        (tmp_path / "closed").mkdir(mode=0o500)
        out = tmp_path / "closed" / "skill"
    with pytest.raises(OSError):
        extract_skill(models / "sft", models / "rl", out)


def test_an_input_cut_short_while_it_is_read_is_an_error_that_names_the_tensor(models, tmp_path, monkeypatch):
    opened = HFFormat().open(models / "sft")
    name = next(iter(opened.specs()))
    real = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:8]], offset) if offset % 3 else 0
    )
    with pytest.raises(PastError, match=name):
        for start in range(0, 4096, 256):
            opened.read(name, start, start + 256)


def test_short_reads_and_writes_are_continued(models, tmp_path, monkeypatch):
    """A signal or a network file system may give part of what was asked."""
    opened = HFFormat().open(models / "sft")
    name = "model.norm.weight"
    whole = opened.read(name)
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:100]], offset))
    assert np.array_equal(opened.read(name), whole)


ELSEWHERE = """
import ctypes, mmap, os, sys
class Elsewhere(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "sync_file_range":
            raise AttributeError(name)
        return super().__getattr__(name)
ctypes.CDLL = Elsewhere
for module, name in ((os, "sched_getaffinity"), (os, "posix_fallocate"), (os, "preadv"), (mmap, "MADV_DONTNEED")):
    delattr(module, name)
from pastcli import cli
sys.argv = ["past", *sys.argv[1:]]
cli.main()
"""


def test_systems_without_linuxs_own_calls_get_the_same_bytes(models, workspace, past):
    """macOS has none of them; they are taken away before `past` starts."""
    sft, rl, target = (models / name for name in ("sft", "rl", "target"))
    past("extract", "--sft", sft, "--rl", rl, "-o", "here.safetensors")
    past("inject", "--vector", "here.safetensors", "--target", target, "-o", "here")
    for words in (
        ("extract", "--sft", sft, "--rl", rl, "-o", "there.safetensors"),
        ("inject", "--vector", "here.safetensors", "--target", target, "-o", "there"),
        ("doctor", "--fast"),
    ):
        done = subprocess.run([sys.executable, "-c", ELSEWHERE, *map(str, words)], capture_output=True, text=True)
        assert "Traceback" not in done.stderr and (done.returncode == 0 or words[0] == "doctor"), done.stderr
    shards = sorted(file.name for file in (workspace / "here").glob("*.safetensors"))
    assert len(shards) == 2
    for name in shards:
        assert (workspace / "here" / name).read_bytes() == (workspace / "there" / name).read_bytes()
    here, there = open_skill(workspace / "here.safetensors"), open_skill(workspace / "there.safetensors")
    assert all(np.array_equal(here.block(name), there.block(name)) for name in here.parts)
