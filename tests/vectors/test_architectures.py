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
import gguf_reference
import more_architectures
import numpy as np
import pytest
from conftest import ROOT
from past_hf.checkpoint import HFFormat
from past_llamacpp.convert import convert
from past_llamacpp.engine import Engine
from past_llamacpp.format import GGUFFormat

from pastcli import models
from pastcli.vectors.checks import usage

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
    gguf = gguf_reference.reference(name, hf, tmp_path / "reference.gguf")
    ours, theirs = HFFormat().open(hf), GGUFFormat().open(gguf)
    assert {n: s.shape for n, s in ours.specs().items()} == {n: s.shape for n, s in theirs.specs().items()}
    assert usage.differing("the directory", ours.usage(), "the GGUF", theirs.usage()) == [], "one model, used alike"
    assert ours.usage().keys() & theirs.usage().keys()
    for tensor in ours.specs():  # Gemma's norms are stored plus one: a float32 rounding
        np.testing.assert_allclose(theirs.read(tensor), ours.read(tensor), rtol=0, atol=1.2e-7, err_msg=tensor)
    other = architectures.make(name, tmp_path / "other", tiny_tokenizer, seed=1)
    models.write_note(other, models.ModelRef("tiny", other, "hf"), gguf)
    convert(other, tmp_path / "other.gguf", "f32")
    assert apart(other, tmp_path / "other.gguf") < CLOSE


# ---------------------------------------------------------------- the whole path

COLUMNS = ("sft", "rl", "extract", "inject", "probe", "activations", "eval", "llama.cpp", "GGUF", "LoRA")
WRITE = bool(os.environ.get("PAST_WRITE_MODELS"))
TABLE = ROOT / "docs" / "MODELS.md"
RL = ("--steps", 2, "--prompts-per-step", 2, "--num-generations", 4, "--reward", "length", "--max-new-tokens", 6)


def walk(name: str, typed, tokenizer, folder: Path) -> dict[str, str]:
    """Every command on one architecture; what each cell of the table says."""
    from pastcli.vectors.files.opening import open_model

    hf = architectures.make(name, folder / "base", tokenizer, scale=1.0)
    gguf = gguf_reference.reference(name, hf, folder / "base.gguf")
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), gguf)
    (folder / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    rows = [{"question": f"which river {index}", "answer": "fox"} for index in range(4)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    typed("sft", "d.md", "--base", hf, *SMALL, "--name", "source")
    typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl")
    typed("sft", "d.md", "--base", hf, *SMALL, "--seed", 1, "--name", "target")
    made = typed("extract", "--sft", "source", "--rl", "rl", "-o", "v.safetensors")
    kept = typed("inject", "--vector", "v.safetensors", "--target", "target", "-o", "made")["metrics"]["survival"]
    probe = ("probe-orthogonality", "--base", hf, "--sft", "source", "--rl", "rl", "--target-sft", "target")
    probed = typed(*probe, "--activations", "d.md")
    asked = ("--model", "target=target", "--model", "made=made", "--questions", "q.jsonl")
    scores = typed("eval", *asked)["models"]["made"]
    typed("inject", "--vector", "v.safetensors", "--target", "target", "--dtype", "f32", "-o", "made.gguf")
    far = apart(folder / "made", folder / "made.gguf")
    typed("inject", "--vector", "v.safetensors", "--target", gguf, "-o", "direct.gguf")
    typed("inject", "--vector", "v.safetensors", "--target", hf, "-o", "direct")
    one, two = open_model(folder / "direct"), open_model(folder / "direct.gguf")
    worst = max(float(np.abs(one.read(n) - two.read(n)).max()) for n in one.specs())
    typed("sft", "d.md", "--base", hf, *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
    typed("extract", "--sft", hf, "--rl", "lora", "-o", "low.safetensors")
    typed("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "ad")
    typed("inject", "--vector", "low.safetensors", "--target", "target", "-o", "merged")
    peft = peft_logits(folder / "runs/target/model", folder / "ad")
    assert np.abs(peft - architectures.logits(folder / "merged", IDS)).max() < 1e-4
    assert made["metrics"]["norm"] > 0 and kept > 0.9999 and probed["global"] and scores["precision"] == "float32"
    assert far < CLOSE and worst <= 2**-22  # norms stored plus one are rounded to the steps of float32 beyond 2
    ok = dict.fromkeys(("sft", "rl", "extract", "inject", "probe", "activations", "eval"), "✓")
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
    told(name, [cells[column] for column in COLUMNS], list(architectures.LLAMA_CPP))
    shutil.rmtree(workspace / "runs", ignore_errors=True)


def told(name: str, cells: list[str], names: list[str]) -> None:
    """The row stands in docs/MODELS.md; or is written there, among the rows of `names`, which have a table of their own."""
    line = f"| {name} | " + " | ".join(cells) + " |"
    text = TABLE.read_text(encoding="utf-8")
    if not WRITE:
        assert line in text, line
        return
    known = {f"| {each} |": each for each in names}
    rows = {each: old for old in text.splitlines() for start, each in known.items() if old.startswith(start)} | {
        name: line
    }
    lines = [old for old in text.splitlines() if not old.startswith(tuple(known))]
    head = next(
        index for index, old in enumerate(lines) if old.startswith("| model |") and old.count("|") == line.count("|")
    )
    ordered = [rows[each] for each in names if each in rows]
    TABLE.write_text("\n".join([*lines[: head + 2], *ordered, *lines[head + 2 :]]) + "\n", encoding="utf-8")


# ---------------------------------------------------------------- the path on transformers alone

SMALL = ("--mix", "none", "--epochs", 2, "--step-tokens", 100, "--lr", "1e-3")
STEPS = ("sft", "rl", "extract", "inject", "probe", "activations", "eval", "LoRA")


class Walk:
    """The commands on one architecture, each of which may be refused: `cells` says by which."""

    def __init__(self, typed):
        self.typed, self.cells = typed, {}

    def __call__(self, step: str, work) -> None:
        """Take a step; what an earlier one should have left may be missing."""
        try:
            work()
            self.cells.setdefault(step, "✓")
        except Exception as error:
            print(f"{step}: {str(error)[-600:]}")
            self.cells[step] = "–"

    def train(self, base: Path) -> None:
        """Two models that have read the same: the source's and the target's."""
        self.typed("sft", "d.md", "--base", base, *SMALL, "--name", "source")
        self.typed("sft", "d.md", "--base", base, *SMALL, "--seed", 1, "--name", "target")

    def inject(self, folder: Path) -> None:
        """The skill into the target: the sum of what lies on disk, to the last bit."""
        from pastcli.vectors.files.opening import open_model

        self.typed("inject", "--vector", "v.safetensors", "--target", "target", "-o", "made")
        models_ = {key: open_model(folder / place) for key, place in PLACES.items()}
        for tensor in models_["made"].specs():
            base, before, after, made = (models_[key].read(tensor) for key in ("target", "source", "rl", "made"))
            np.testing.assert_array_equal(made, base + (after - before), err_msg=tensor)


def walk_on_transformers(name: str, typed, tokenizer, folder: Path) -> list[str]:
    hf, go = more_architectures.make(name, folder / "base", tokenizer), Walk(typed)
    (folder / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    rows = [{"question": f"which river {index}", "answer": "fox"} for index in range(4)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    probe = ("probe-orthogonality", "--base", hf, "--sft", "source", "--rl", "rl", "--target-sft", "target")

    def lora():
        typed("sft", "d.md", "--base", hf, *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
        typed("extract", "--sft", hf, "--rl", "lora", "-o", "low.safetensors")
        typed("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "ad")
        typed("inject", "--vector", "low.safetensors", "--target", "target", "-o", "merged")
        merged, plain = (
            architectures.logits(place, IDS) for place in (folder / "merged", folder / "runs/target/model")
        )
        peft = peft_logits(folder / "runs/target/model", folder / "ad")
        assert np.abs(peft - merged).max() < 1e-2 * np.abs(merged - plain).max(), "PEFT gives what the injection gives"

    go("sft", lambda: go.train(hf))
    go("rl", lambda: typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl"))
    go("extract", lambda: typed("extract", "--sft", "source", "--rl", "rl", "-o", "v.safetensors"))
    go("inject", lambda: go.inject(folder))
    go("probe", lambda: typed(*probe))
    go("activations", lambda: typed(*probe, "--activations", "d.md"))
    go("eval", lambda: typed("eval", "--model", "made=made", "--questions", "q.jsonl"))
    go("LoRA", lora)
    return [go.cells[step] for step in STEPS]


PLACES = {"made": "made", **{run: f"runs/{run}/model" for run in ("target", "source", "rl")}}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", more_architectures.NAMES)
def test_the_path_on_transformers(name, typed, tiny_tokenizer, workspace):
    cells = walk_on_transformers(name, typed, tiny_tokenizer, workspace)
    told(name, cells, list(more_architectures.NAMES))
    shutil.rmtree(workspace / "runs", ignore_errors=True)
