"""Gemma 3n with its towers, of which timm makes the one that sees: the whole path on text, where timm is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_architectures import SMALL

HOLLOW = '''
"""timm imports torchvision for its images, and no text goes through these: any name of it is there, and empty. The real one is built
for one version of torch each, and serves the same purpose here."""
import importlib.abc, importlib.machinery, sys, types

class Empty(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name

class Hollow(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name, (), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Hollow(spec.name)
    def exec_module(self, module):
        module.__version__ = "0.28.0"

sys.meta_path.insert(0, Finder())
'''
BUILD = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import audio, families
from transformers import AutoModelForImageTextToText
torch.manual_seed(0)
model = AutoModelForImageTextToText.from_config(audio.gemma3n()).float()
families.moved(model, 0.02, 1).save_pretrained(sys.argv[2])
"""
READ = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText as Auto
def read(folder, adapter=None):
    model, found = Auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"], found
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 43)[None]).logits[0]
base, merged, laid = read("base"), read("merged"), read("base", "adapter")
moved, off = (merged - base).abs().max(), (laid - merged).abs().max()
assert off < 1e-2 * moved > 0, (off, moved)
"""


@pytest.fixture(scope="module")
def timm(tmp_path_factory):
    """A folder that holds timm; everything else comes from here."""
    folder = tmp_path_factory.mktemp("timm")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "timm"]
    if subprocess.run(command, capture_output=True, timeout=280).returncode:
        pytest.skip("timm cannot be installed here")
    (folder / "sitecustomize.py").write_text(HOLLOW)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_gemma_3n_with_its_towers_goes_the_whole_path(timm, workspace, tiny_tokenizer):
    """What is trained and injected has every byte of its towers, and an adapter of it gives what the injected model gives."""

    def run(*words):
        env = {**os.environ, "PYTHONPATH": str(timm)}
        done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, env=env)
        assert done.returncode == 0, (words, done.stderr[-2000:])

    def past(*words):
        run("-m", "pastcli", *words)

    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')
    run("-c", BUILD, Path(__file__).parent.parent / "support", "base")
    tiny_tokenizer.save_pretrained(workspace / "base")
    past("sft", "d.md", "--base", "base", *SMALL, "--name", "source")
    past("extract", "--sft", "base", "--rl", "source", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "base", "-o", "made")
    past("eval", "--model", "made", "--questions", "q.jsonl", "--max-new-tokens", 2)
    past("sft", "d.md", "--base", "base", *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
    past("extract", "--sft", "base", "--rl", "lora", "-o", "low.safetensors")
    past("inject", "--vector", "low.safetensors", "--target", "base", "--as", "adapter", "-o", "adapter")
    past("inject", "--vector", "low.safetensors", "--target", "base", "-o", "merged")
    base, source, made = (load_file(workspace / place / "model.safetensors") for place in PLACES)
    towers = {name for name in base if any(part in name for part in ("vision_tower", "audio_tower", "embed_vision"))}
    moved = {name for name in base if not torch.equal(base[name], source[name])}
    assert base.keys() == source.keys() == made.keys() and len(towers) > 50
    assert moved and moved.isdisjoint(towers)
    assert all(torch.allclose(made[name], source[name], atol=1e-6) for name in base)
    one, two = (json.loads((workspace / place / "config.json").read_text()) for place in PLACES[:2])
    assert one["architectures"] == two["architectures"] and one["vision_config"] == two["vision_config"]
    run("-c", READ)


PLACES = ("base", "runs/source/model", "made")
