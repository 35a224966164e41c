"""Every architecture of docs/MODELS.md: its GGUF reads as its HF directory and computes the same; and, slowly, the whole path.

docs/MODELS.md holds the table that the slow test makes: `PAST_WRITE_MODELS=1 pytest -m slow tests/vectors/test_architectures.py` writes it,
without the variable the test fails when a cell is not what the file says.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import architectures
import numpy as np
import pytest
from conftest import ROOT
from past_hf.checkpoint import HFFormat
from past_llamacpp.convert import convert
from past_llamacpp.engine import Engine
from past_llamacpp.format import GGUFFormat

from pastcli import models

IDS = [(7 * index) % 300 + 3 for index in range(40)]
CLOSE = 4e-3
"""Largest difference of a logit, in standard deviations of the logits: llama.cpp looks up GELU in 16 bits (GPT-2, Gemma)."""


def in_llama_cpp(path: Path) -> np.ndarray:
    engine = Engine(path, n_ctx=256, threads=1, extra_buffers=False, precise=True)
    rows = []
    for token in IDS:
        engine.decode([token])
        rows.append(np.array(engine.logits()))
    engine.close()
    return np.array(rows)


def apart(hf: Path, gguf: Path) -> float:
    wanted = architectures.logits(hf, IDS)
    return float(np.abs(in_llama_cpp(gguf) - wanted).max() / wanted.std())


@pytest.mark.parametrize("name", architectures.LLAMA_CPP)
def test_gguf_and_hf_are_one_model(name, tiny_tokenizer, tmp_path):
    """A GGUF made without our code reads as the HF directory; another model converted with it as template computes the same."""
    hf = architectures.make(name, tmp_path / "hf", tiny_tokenizer)
    gguf = architectures.reference(name, hf, tmp_path / "reference.gguf")
    ours, theirs = HFFormat().open(hf), GGUFFormat().open(gguf)
    assert {n: s.shape for n, s in ours.specs().items()} == {n: s.shape for n, s in theirs.specs().items()}
    for tensor in ours.specs():  # Gemma's norms are stored plus one: a float32 rounding
        np.testing.assert_allclose(theirs.read(tensor), ours.read(tensor), rtol=0, atol=1.2e-7, err_msg=tensor)
    other = architectures.make(name, tmp_path / "other", tiny_tokenizer, seed=1)
    models.write_note(other, models.ModelRef("tiny", other, "hf"), gguf)
    convert(other, tmp_path / "other.gguf", "f32")
    assert apart(other, tmp_path / "other.gguf") < CLOSE


# ---------------------------------------------------------------- the whole path

COLUMNS = ("sft", "rl", "extract", "inject", "probe", "eval", "llama.cpp", "GGUF", "LoRA")
WRITE = bool(os.environ.get("PAST_WRITE_MODELS"))
TABLE = ROOT / "docs" / "MODELS.md"
RL = ("--steps", 2, "--prompts-per-step", 2, "--num-generations", 4, "--reward", "length", "--max-new-tokens", 6)


@pytest.fixture
def typed(workspace, monkeypatch):
    """`typed("sft", …)` runs the real command in this process: thirteen architectures import torch once.

    A random model answers nothing right; the reward `length` gives GRPO something to learn from.
    """
    from typer.testing import CliRunner

    from pastcli import registry
    from pastcli.cli import app

    load = registry.load
    reward = lambda prompts, completions, **_: [len(set(text)) / 20 for text in completions]  # noqa: E731
    monkeypatch.setattr(registry, "load", lambda role, name: reward if name == "length" else load(role, name))

    def call(*words):
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call


def walk(name: str, typed, tokenizer, folder: Path) -> dict[str, str]:
    """Every command on one architecture; what each cell of the table says."""
    from pastcli.vectors.files.opening import open_model

    hf = architectures.make(name, folder / "base", tokenizer, scale=1.0)
    gguf = architectures.reference(name, hf, folder / "base.gguf")
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), gguf)
    (folder / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    rows = [{"question": f"which river {index}", "answer": "fox"} for index in range(4)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ("--mix", "none", "--epochs", 2, "--step-tokens", 100, "--lr", "1e-3")
    typed("sft", "d.md", "--base", hf, *small, "--name", "source")
    typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl")
    typed("sft", "d.md", "--base", hf, *small, "--seed", 1, "--name", "target")
    made = typed("extract", "--sft", "source", "--rl", "rl", "-o", "v.safetensors")
    kept = typed("inject", "--vector", "v.safetensors", "--target", "target", "-o", "made")["metrics"]["survival"]
    probed = typed("probe-orthogonality", "--base", hf, "--sft", "source", "--rl", "rl", "--target-sft", "target")
    asked = ("--model", "target=target", "--model", "made=made", "--questions", "q.jsonl")
    scores = typed("eval", *asked)["models"]["made"]
    typed("inject", "--vector", "v.safetensors", "--target", "target", "--dtype", "f32", "-o", "made.gguf")
    far = apart(folder / "made", folder / "made.gguf")
    typed("inject", "--vector", "v.safetensors", "--target", gguf, "-o", "direct.gguf")
    typed("inject", "--vector", "v.safetensors", "--target", hf, "-o", "direct")
    one, two = open_model(folder / "direct"), open_model(folder / "direct.gguf")
    worst = max(float(np.abs(one.read(n) - two.read(n)).max()) for n in one.specs())
    typed("sft", "d.md", "--base", hf, *small, "--method", "lora", "--rank", 2, "--name", "lora")
    typed("extract", "--sft", hf, "--rl", "lora", "-o", "low.safetensors")
    typed("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "ad")
    typed("inject", "--vector", "low.safetensors", "--target", "target", "-o", "merged")
    peft = peft_logits(folder / "runs/target/model", folder / "ad")
    assert np.abs(peft - architectures.logits(folder / "merged", IDS)).max() < 1e-4
    assert made["metrics"]["norm"] > 0 and kept > 0.9999 and probed["global"] and scores["precision"] == "float32"
    assert far < CLOSE and worst < 2e-7
    ok = dict.fromkeys(("sft", "rl", "extract", "inject", "probe", "eval"), "✓")
    return ok | {"llama.cpp": f"`{architectures.LLAMA_CPP[name]}`", "GGUF": "✓", "LoRA": "✓"}


def peft_logits(folder: Path, adapter: Path) -> np.ndarray:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", architectures.LLAMA_CPP)
def test_the_whole_path(name, typed, tiny_tokenizer, workspace):
    cells = walk(name, typed, tiny_tokenizer, workspace)
    line = f"| {name} | " + " | ".join(cells[column] for column in COLUMNS) + " |"
    text = TABLE.read_text(encoding="utf-8") if TABLE.is_file() else ""
    if WRITE:
        known = {f"| {each} |": each for each in architectures.LLAMA_CPP}
        rows = {each: old for old in text.splitlines() for start, each in known.items() if old.startswith(start)} | {
            name: line
        }
        lines = [old for old in text.splitlines() if not old.startswith(tuple(known))]
        rule = next(index for index, old in enumerate(lines) if old.startswith("|---")) + 1
        ordered = [rows[each] for each in known.values() if each in rows]
        TABLE.write_text("\n".join([*lines[:rule], *ordered, *lines[rule:]]) + "\n", encoding="utf-8")
    else:
        assert line in text, line
    shutil.rmtree(workspace / "runs", ignore_errors=True)
