"""Directories that are not what they seem to be: quantised without saying so, two models at once, files under other names."""

from __future__ import annotations

import json
import shutil

import architectures
import numpy as np
import pytest
from test_checkpoints_found import one_layer_skill


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
