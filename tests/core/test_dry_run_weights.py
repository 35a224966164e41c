"""A weight that is no number: whatever a real run refuses of a model's numbers, its dry run refuses in the same words."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from gguf_tools import reference_gguf
from vectors_tools import moved, read_model, write_adapter, write_file

UP, DOWN = "model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"


def refusal(said):
    assert "error:" in said, said
    return said[said.rindex("error:") :]


def spoilt(folder, name=UP, value=np.nan):
    """The weights of a model directory with one of them replaced, far from where a sample would look."""
    tensors = read_model(folder)
    tensors[name][-1, -1] = value
    (folder / "model.safetensors").unlink()
    write_file(folder / "model.safetensors", tensors)
    return folder


@pytest.fixture
def ready(workspace, past, make_tiny):
    """Sound models and a skill of one base, a broken one of each, questions, documents, tools."""
    make_tiny(workspace / "base")
    for name, seed in (("sft", 1), ("rl", 2)):
        make_tiny(workspace / name)
        tensors = moved(read_model(workspace / "base"), seed, 1e-3)
        (workspace / name / "model.safetensors").unlink()
        write_file(workspace / name / "model.safetensors", tensors)
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors")
    spoilt(make_tiny(workspace / "bad"))
    reference_gguf(workspace / "bad", workspace / "bad.gguf")
    (workspace / "a.txt").write_text("The bridge over the river was founded in 1843.")
    (workspace / "q.jsonl").write_text(json.dumps({"question": "Which river?", "answer": "fox", "doc": "a"}) + "\n")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    (workspace / "tools.json").write_text(json.dumps([tool]))
    return workspace


AGENT = ("agent", "--tools", "tools.json", "--query", "2 + 2?")
REFUSED = {
    "extract sft": ("extract", "--sft", "bad", "--rl", "rl"),
    "extract rl": ("extract", "--sft", "sft", "--rl", "bad"),
    "inject": ("inject", "--vector", "skill.safetensors", "--target", "bad"),
    "inject into a GGUF": ("inject", "--vector", "skill.safetensors", "--target", "bad.gguf", "-o", "x.gguf"),
    "sweep": ("sweep", "--vector", "skill.safetensors", "--target", "bad", "--questions", "q.jsonl"),
    "probe": ("probe-orthogonality", "--base", "base", "--sft", "sft", "--rl", "bad", "--no-figures"),
    "export": ("export", "--model", "bad", "--to", "hf", "--dtype", "bf16"),
    "export of a GGUF": ("export", "--model", "bad.gguf", "--to", "gguf", "--dtype", "q8_0"),
    "sft": ("sft", "a.txt", "--base", "bad", "--mix", "none"),
    "rl": ("rl", "--sft", "bad", "--questions", "q.jsonl"),
    "distill": ("distill", "a.txt", "--questions", "q.jsonl", "--base", "bad", "--rounds", "1"),
    "eval": ("eval", "--questions", "q.jsonl", "--model", "bad"),
    "eval of a GGUF": ("eval", "--questions", "q.jsonl", "--model", "bad.gguf", "--backend", "llamacpp"),
    "agent": (*AGENT, "--model", "bad", "--backend", "hf"),
    "generate": ("generate", "a.txt", "--kind", "self_qa", "--model", "bad", "--backend", "hf"),
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_weight_that_is_no_number_is_refused_by_both(ready, past, words):
    planned, real = (past(*words, *more, code=3).stderr for more in (["--dry-run"], []))
    assert refusal(planned) == refusal(real)
    assert "holds NaN or infinity" in planned and UP in planned and "bad" in planned
    assert not list((ready / "runs" / ".partial").glob("*")) and not (ready / "x.gguf").exists()


@pytest.mark.parametrize("command", ["inject", "eval", "sweep"])
def test_a_skill_that_is_no_number_is_refused_by_both(ready, past, command):
    spoil = read_skill(ready / "skill.safetensors")
    broken = ready / "broken.safetensors"
    broken.write_bytes(spoil)
    words = {
        "inject": ("inject", "--vector", broken, "--target", "sft"),
        "eval": ("eval", "--questions", "q.jsonl", "--model", "sft", "--vector", broken),
        "sweep": ("sweep", "--vector", broken, "--target", "sft", "--questions", "q.jsonl"),
    }[command]
    planned, real = (past(*words, *more, code=3).stderr for more in (["--dry-run"], []))
    assert refusal(planned) == refusal(real) and "the skill holds NaN or infinity in tensor" in planned


STUDY = """
title = "T"
base = "{base}"
seeds = [0]
[target]
documents = "a.txt"
questions = "q.jsonl"
[vectors.v]
kind = "file"
file = "{skill}"
[arms.SFT]
model = "sft"
[arms."SFT + v"]
model = "{model}"
add = ["v"]
"""


@pytest.mark.parametrize("model", ["sft", "base"])
@pytest.mark.parametrize("broken", ["base", "vector", "another base"])
def test_a_study_is_refused_for_what_it_begins_with_before_anything_is_made(ready, past, make_tiny, model, broken):
    """Models and skills that it names; in the words of the stage that would stop hours later."""
    (ready / "broken.safetensors").write_bytes(read_skill(ready / "skill.safetensors"))
    make_tiny(ready / "other", seed=77)
    base = {"base": "bad", "vector": "base", "another base": "other"}[broken]
    skill = "broken.safetensors" if broken == "vector" else "skill.safetensors"
    (ready / "study.toml").write_text(STUDY.format(base=ready / base, skill=skill, model=model))
    planned, real = (past("study", "run", "study.toml", *more, code=3).stderr for more in (["--dry-run"], []))
    wanted = {"base": f"tensor {UP} holds NaN", "vector": "the skill holds NaN", "another base": "another base than"}
    assert refusal(planned) == refusal(real) and wanted[broken] in planned, planned
    assert not (ready / "studies").exists() and not list((ready / "runs").glob("sft-*"))


def read_skill(path):
    """The file with infinity as its very last weight."""
    return path.read_bytes()[:-4] + np.float32(np.inf).tobytes()


def test_what_was_found_sound_is_looked_at_again_when_one_bit_changes(ready, past):
    past("eval", "--questions", "q.jsonl", "--model", "sft", "--dry-run")
    file = ready / "sft" / "model.safetensors"
    stamp, sound = file.stat(), file.read_bytes()
    file.write_bytes(sound[:-4] + np.float32(np.nan).tobytes())
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "holds NaN" in past("eval", "--questions", "q.jsonl", "--model", "sft", "--dry-run", code=3).stderr


def test_an_adapter_is_looked_at_down_to_its_base(ready, past):
    rng = np.random.default_rng(0)
    factors = {DOWN: (rng.standard_normal((2, 64)).astype(np.float32), rng.standard_normal((32, 2)).astype(np.float32))}
    write_adapter(ready / "over", factors, base=str(ready / "bad"))
    told = past("eval", "--questions", "q.jsonl", "--model", "over", "--dry-run", code=3).stderr
    assert f"tensor {UP} holds NaN" in told


def test_a_configuration_without_weights_can_still_be_planned_for(workspace, past_json, tiny_model):
    (workspace / "planned").mkdir()
    (workspace / "planned" / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    (workspace / "a.txt").write_text("The bridge over the river was founded in 1843.")
    assert past_json("sft", "a.txt", "--base", "planned", "--mix", "none", "--dry-run")["parameters"] > 0


def test_a_configuration_with_its_tokenizer_is_planned_for_by_its_tokens(workspace, past_json, tiny_model):
    """The small files of a model that is not fetched yet: they were refused for want of weights, where the configuration alone was not."""
    (workspace / "planned").mkdir()
    for file in tiny_model.iterdir():
        if file.suffix != ".safetensors":
            (workspace / "planned" / file.name).write_bytes(file.read_bytes())
    (workspace / "a.txt").write_text("The bridge over the river was founded in 1843.")
    words = ("sft", "a.txt", "--mix", "none", "--dry-run", "--base")
    assert past_json(*words, "planned")["tokens"] == past_json(*words, tiny_model)["tokens"]


def test_a_quantised_model_is_left_to_who_loads_it(workspace, past, tiny_model, make_tiny):
    """Its weights are no numbers to look at; that is no reason to say they are none."""
    model = make_tiny(workspace / "packed")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    (workspace / "q.jsonl").write_text('{"question": "Which river?", "answer": "fox"}\n')
    past("eval", "--questions", "q.jsonl", "--model", "packed", "--dry-run")


def test_half_a_model_is_no_model_for_an_evaluation_either(workspace, past, make_tiny):
    """Headers are read by the check of the weights: a file cut short shows in the dry run."""
    model = make_tiny(workspace / "cut")
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (workspace / "q.jsonl").write_text('{"question": "Which river?", "answer": "fox"}\n')
    planned, real = (
        past("eval", "--questions", "q.jsonl", "--model", "cut", *more, code=3).stderr for more in (["--dry-run"], [])
    )
    assert refusal(planned) == refusal(real) and "truncated" in planned
