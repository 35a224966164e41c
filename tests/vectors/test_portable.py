"""Model directories as others read them: transformers 4 and 5 compute the same, and nothing of the parent's training is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from past_hf.portable import make_portable, portable_config, portable_tokenizer
from vectors_tools import write_adapter

V4 = ("transformers==4.57.6", "tokenizers>=0.22,<0.23", "huggingface_hub>=0.34,<1")
READ = """
import sys, torch, transformers, json
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {"version": transformers.__version__}
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.arange(3, 203)[None] % 300).logits
    torch.save(logits, folder + "/logits.pt")
    found[folder] = {"ids": tokenizer("the quick brown fox <|im_end|>")["input_ids"], "length": tokenizer.model_max_length,
                     "special": sorted(tokenizer.all_special_tokens)}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def version_4(tmp_path_factory):
    """A folder that holds transformers 4 and what it needs in other versions; everything else comes from here."""
    folder = tmp_path_factory.mktemp("transformers4")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *V4]
    if subprocess.run(command, capture_output=True, timeout=280).returncode:
        pytest.skip("transformers 4 cannot be installed here")
    return folder


def read_with(folders, path=None):
    """Run READ in a process of its own; {folder: what it found, logits included}."""
    import torch

    env = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(
        [sys.executable, "-c", READ, "-", *map(str, folders)], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return found["version"], {f: {**found[str(f)], "logits": torch.load(f / "logits.pt").numpy()} for f in folders}


def saved(arch, folder, tokenizer):
    """A tiny random model of an architecture with rotary settings that are not its defaults."""
    import torch
    import transformers as t

    sizes = dict(
        **dict(vocab_size=330, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4),
        **dict(num_key_value_heads=2, max_position_embeddings=512, pad_token_id=2, bos_token_id=0, eos_token_id=2),
    )
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    kinds = {
        "llama": t.LlamaConfig(**sizes, rope_theta=98765.0),
        "llama3": t.LlamaConfig(
            **sizes, rope_theta=5e5, rope_scaling={**llama3, "original_max_position_embeddings": 64}
        ),
        "gemma3": t.Gemma3TextConfig(
            **sizes,
            head_dim=16,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 12345.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 777777.0},
            },
        ),
        "phi3": t.Phi3Config(**sizes, rope_theta=50000.0, partial_rotary_factor=0.5),
        "qwen3_moe": t.Qwen3MoeConfig(
            **sizes, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, rope_theta=1e6
        ),
    }
    torch.manual_seed(0)
    t.AutoModelForCausalLM.from_config(kinds[arch]).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


ARCHITECTURES = ("llama", "llama3", "gemma3", "phi3", "qwen3_moe")


@pytest.mark.slow
def test_transformers_4_computes_what_5_does(version_4, tiny_tokenizer, tmp_path):
    """Under 4.57 our directories used to load with rope_theta 10,000 and no word of it; the tokenizer failed."""
    raw = [saved(arch, tmp_path / arch, tiny_tokenizer) for arch in ARCHITECTURES]
    five, wanted = read_with(raw)
    for folder in raw:
        make_portable(folder)
    assert five[0] == "5"
    four, found = read_with(raw, version_4)
    assert four == "4.57.6"
    again = read_with(raw)[1]
    for folder in raw:
        for other in (found[folder], again[folder]):
            np.testing.assert_allclose(other["logits"], wanted[folder]["logits"], atol=1e-5, err_msg=folder.name)
            assert (other["ids"], other["special"]) == (wanted[folder]["ids"], wanted[folder]["special"])
            assert other["length"] == 512


@pytest.mark.slow
def test_injected_directories_read_the_same_in_both(version_4, past, make_tiny, workspace):
    base = make_tiny(workspace / "base", rope_theta=98765.0)
    rng = np.random.default_rng(0)
    pair = rng.standard_normal((2, 32)).astype(np.float32), rng.standard_normal((32, 2)).astype(np.float32)
    write_adapter(workspace / "rl", {"model.layers.0.self_attn.q_proj.weight": pair}, base=base)
    past("extract", "--sft", base, "--rl", "rl", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", base, "-o", "made")
    made = workspace / "made"
    np.testing.assert_allclose(
        read_with([made])[1][made]["logits"], read_with([made], version_4)[1][made]["logits"], atol=1e-5
    )


def test_rotary_settings_stand_under_the_names_of_both_versions():
    flat = portable_config(
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5}}
    )
    assert (flat["rope_theta"], flat["partial_rotary_factor"]) == (5e5, 0.5) and "rope_scaling" not in flat
    scaled = portable_config({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}})
    assert scaled["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0} and scaled["rope_theta"] == 1e6
    old = {"rope_theta": 7.0, "rope_scaling": None}
    assert portable_config(old) == old, "what transformers 4 wrote is left alone"


def test_a_tokenizer_s_own_settings_are_kept():
    own = {"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072, "extra_special_tokens": {"image": "<i>"}}
    assert portable_tokenizer(own, 512) == own


def test_nothing_of_the_parent_s_training_goes_into_a_result(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    for name in ("trainer_state.json", "optimizer.pt", "README.md", "all_results.json", "training_args.bin"):
        (base / name).write_text("{}")
    write_adapter(
        workspace / "rl",
        {"model.layers.0.self_attn.q_proj.weight": (np.ones((1, 32), np.float32), np.ones((32, 1), np.float32))},
        base=base,
    )
    past("extract", "--sft", base, "--rl", "rl", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", base, "-o", "made")
    made = {file.name for file in Path(workspace / "made").iterdir()}
    assert {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    } <= made
    assert not made & {"trainer_state.json", "optimizer.pt", "all_results.json", "training_args.bin"}
