"""Directories that are not what they seem to be: quantised without saying so, two models at once, files under other names."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys

import architectures
import numpy as np
import pytest
from test_checkpoints_found import one_layer_skill
from vectors_tools import factors_for, write_adapter


@pytest.mark.parametrize("sign", ["scales", "file", "integers"])
def test_quantised_checkpoints_that_do_not_say_so_are_refused(past, make_tiny, workspace, sign):
    """fp8 as NVIDIA's tools wrote it, and bitsandbytes' 8 bits without its config: transformers reads the weights without their scales, and
    so it was asked and trained."""
    import torch
    from safetensors.torch import load_file, save_file

    base = make_tiny(workspace / "base")
    if sign == "file":
        (base / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    else:
        tensors = load_file(base / "model.safetensors")
        name = "model.layers.0.self_attn.q_proj.weight"
        if sign == "scales":
            tensors |= {name: tensors[name].to(torch.float8_e4m3fn), f"{name}_scale": torch.tensor(0.01)}
        else:
            most = tensors[name].abs().amax(1)
            whole = (tensors[name] / most[:, None] * 127).round().to(torch.int8)
            tensors |= {name: whole, name.replace("weight", "SCB"): most}
        save_file(tensors, base / "model.safetensors", {"format": "pt"})
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    for words in (
        ("eval", "--model", base, "--questions", "q.jsonl", "--precision", "fp32"),
        ("sft", "d.md", "--base", base, "--mix", "none"),
        ("extract", "--sft", base, "--rl", make_tiny(workspace / "rl", seed=1), "-o", "v"),
    ):
        assert "is quantised" in past(*words, code=3).stderr


def halves(*shape):
    import torch

    return torch.ones(shape, dtype=torch.float16)


def whole(kind, *shape):
    import torch

    return torch.zeros(shape, dtype=getattr(torch, kind))


LAYERS = {
    "optimum-quanto, 8 bits": lambda: {"weight._data": whole("int8", 32, 32), "weight._scale": halves(32, 1)},
    "optimum-quanto, 4 bits": lambda: {
        "weight._data._data": whole("uint8", 16, 32),
        "weight._scale": halves(32, 1),
        "weight._shift": halves(32, 1),
    },
    "GPTQ": lambda: {"qweight": whole("int32", 4, 32), "qzeros": whole("int32", 1, 4), "scales": halves(1, 32)},
    "HQQ": lambda: {"W_q": whole("uint8", 8, 64), "scale": halves(16, 1), "zero": halves(16, 1)},
    "AQLM": lambda: {"codes": whole("int16", 32, 4, 1), "codebooks": halves(1, 256, 1, 8), "scales": halves(32, 1)},
    "EXL3": lambda: {"trellis": whole("int16", 2, 2, 64), "suh": halves(32), "svh": halves(32)},
    "MLX": lambda: {"weight": whole("uint32", 32, 4), "scales": halves(32, 1), "biases": halves(32, 1)},
}


@pytest.mark.parametrize("writer", LAYERS)
def test_packed_weights_under_names_of_their_own_are_no_buffers(past, make_tiny, workspace, writer):
    """They were carried along as integers that nothing can be added to, `inject` said that the whole skill was in the file, and scales
    were subtracted as if they were weights."""
    from safetensors.torch import load_file, save_file

    one, other = make_tiny(workspace / "one"), make_tiny(workspace / "other")
    for path in (one, other):
        tensors, layer = load_file(path / "model.safetensors"), "model.layers.0.self_attn.q_proj."
        del tensors[f"{layer}weight"]
        tensors |= {layer + name: value for name, value in LAYERS[writer]().items()}
        tensors["model.norm.weight"] += path == other
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
    if writer == "MLX":
        config = json.loads((one / "config.json").read_text())
        (one / "config.json").write_text(json.dumps(config | {"quantization": {"group_size": 32, "bits": 4}}))
    said = past("extract", "--sft", one, "--rl", other, "-o", "v.safetensors", code=3).stderr
    assert "is quantised" in said
    assert (
        writer != "MLX" or "(MLX)" in past("extract", "--sft", other, "--rl", one, "-o", "v.safetensors", code=3).stderr
    )
    assert not (workspace / "v.safetensors").exists()


def test_a_model_with_an_adapter_in_its_directory_is_neither(past, make_tiny, workspace):
    """It was the adapter on the base that this names, where transformers lays it over the model beside it (Granite Speech comes so)."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, other = make_tiny(workspace / "base"), make_tiny(workspace / "other", seed=5)
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(other), LoraConfig(r=2, target_modules=["q_proj"])
    ).save_pretrained(base)
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')
    for words in (
        ("eval", "--model", base, "--questions", "q.jsonl"),
        ("extract", "--sft", other, "--rl", base, "-o", "v.safetensors"),
    ):
        assert "holds a whole model and an adapter" in past(*words, code=3).stderr


def test_what_is_written_of_a_lone_file_of_another_name_is_found_by_transformers(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    vector = one_layer_skill(past, base, workspace, "model.layers.0.mlp.up_proj.weight", (64, 32))
    target = shutil.copytree(base, workspace / "target")
    (target / "model.safetensors").rename(target / "model.fp16.safetensors")
    past("inject", "--vector", vector, "--target", target, "-o", "made")
    past("inject", "--vector", vector, "--target", base, "-o", "again")
    ids = list(range(3, 40))
    made, again = (architectures.logits(workspace / name, ids) for name in ("made", "again"))
    np.testing.assert_array_equal(made, again)


def test_code_that_comes_with_a_model_is_not_run(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "code.py").write_text(f"open({str(workspace / 'ran')!r}, 'w')\nfrom transformers import LlamaConfig as X\n")
    (base / "config.json").write_text(json.dumps(config | {"model_type": "x", "auto_map": {"AutoConfig": "code.X"}}))
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')
    said = past("eval", "--model", base, "--questions", "q.jsonl", code=3).stderr
    assert "code of its own, which past does not run" in said and not (workspace / "ran").exists()


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.self_attn.q_proj.weight"])
def test_what_lies_in_a_shard_is_part_of_the_model_whether_its_index_names_it_or_not(past, make_tiny, workspace, name):
    """transformers loads it: what was injected lacked it, and got an output layer at random where it was loaded."""
    sft, rl = (make_tiny(workspace / place, seed=place == "rl", tied=False, shard="60KB") for place in ("sft", "rl"))
    for folder in (sft, rl):
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        del index["weight_map"][name]
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    past("extract", "--sft", sft, "--rl", rl, "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", sft, "-o", "made")
    ids = list(range(3, 40))
    wanted = architectures.logits(rl, ids)
    assert np.abs(architectures.logits(workspace / "made", ids) - wanted).max() < 1e-4 * wanted.std()


def test_two_tensors_of_one_name_are_refused(past, make_tiny, workspace):
    """Of two shards transformers took another one's than past; of an adapter's factors the last of the file was taken."""
    from safetensors.torch import load_file, save_file

    sft, rl = (make_tiny(workspace / place, seed=place == "rl", tied=False, shard="60KB") for place in ("sft", "rl"))
    index = json.loads((sft / "model.safetensors.index.json").read_text())["weight_map"]
    name = "model.layers.0.mlp.up_proj.weight"
    other = next(file for file in index.values() if file != index[name])
    once = load_file(sft / index[name])[name]
    save_file(load_file(sft / other) | {name: once.clone()}, sft / other, {"format": "pt"})
    past("extract", "--sft", sft, "--rl", rl, "-o", "v.safetensors")
    save_file(load_file(sft / other) | {name: once + 1}, sft / other, {"format": "pt"})
    said = past("extract", "--sft", sft, "--rl", rl, "-o", "w.safetensors", code=3).stderr
    assert "hold different tensors of the name" in said and name in said
    adapter = write_adapter(workspace / "lora", factors_for([name], hidden=32), base="../rl")
    factors = load_file(adapter / "adapter_model.safetensors")
    again = {key.removeprefix("base_model.model."): value + 1 for key, value in factors.items()}
    save_file(factors | again, adapter / "adapter_model.safetensors", {"format": "pt"})
    assert "two factors" in past("extract", "--sft", rl, "--rl", adapter, "-o", "w.safetensors", code=3).stderr


def test_an_adapter_in_a_pickle_is_refused_with_a_command_that_helps(past, make_tiny, workspace):
    """It was the command for whole models, which wrote the base model without its tokenizer, or nothing."""
    import torch
    from safetensors.torch import load_file

    base, name = make_tiny(workspace / "base"), "model.layers.0.mlp.up_proj.weight"
    adapter = write_adapter(workspace / "it's $HOME", factors_for([name], hidden=32), base="../base")
    kept = load_file(adapter / "adapter_model.safetensors")
    torch.save(kept, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    said = past("extract", "--sft", base, "--rl", adapter, "-o", "v.safetensors", code=3).stderr
    command = said[said.index("python -c ") :].strip().replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["bash", "-c", command], cwd=workspace, check=True, timeout=120)
    past("extract", "--sft", base, "--rl", adapter, "-o", "v.safetensors")
    made = load_file(adapter / "adapter_model.safetensors")
    assert made.keys() == kept.keys() and all(torch.equal(made[key], kept[key]) for key in kept)
