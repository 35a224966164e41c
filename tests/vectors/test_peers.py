"""What others make of the same models: mergekit, PEFT, llama.cpp's LoRA, TRL. Kept as they were measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from gguf_tools import reference_gguf
from safetensors.numpy import load_file
from vectors_tools import moved, read_model, weights, write_adapter, write_model

from pastcli.vectors import extract_skill, inject_skill

MERGEKIT = os.environ.get("PAST_MERGEKIT") or shutil.which("mergekit-yaml")
"""mergekit wants other versions than we do: name its `mergekit-yaml` in PAST_MERGEKIT."""

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"


@pytest.mark.skipif(not MERGEKIT, reason="mergekit-yaml is not on the path (PAST_MERGEKIT names it)")
def test_mergekit_s_task_arithmetic_is_the_same_formula(make_tiny, tmp_path):
    """base = source SFT, models = target (weight 1) and RL (weight λ): target + λ (RL - SFT)."""
    folders = {name: make_tiny(tmp_path / name) for name in ("sft", "rl", "target")}
    rng = np.random.default_rng(0)
    for name in ("rl", "target"):
        file = folders[name] / "model.safetensors"
        from safetensors.numpy import save_file

        near = {k: v + rng.normal(0, 1e-3, v.shape).astype(np.float32) for k, v in load_file(file).items()}
        save_file(near, file, metadata={"format": "pt"})
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(folders["sft"]),
        "models": [
            {"model": str(folders["target"]), "parameters": {"weight": 1.0}},
            {"model": str(folders["rl"]), "parameters": {"weight": 0.7}},
        ],
        "dtype": "float32",
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    command = [*MERGEKIT.split(), str(tmp_path / "recipe.yaml"), str(tmp_path / "theirs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    extract_skill(folders["sft"], folders["rl"], tmp_path / "skill")
    inject_skill([(tmp_path / "skill", 0.7)], folders["target"], tmp_path / "ours")
    ours, theirs = read_model(tmp_path / "ours"), read_model(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-8, err_msg=name)


def test_peft_s_cat_of_two_adapters_is_our_difference(make_tiny, tmp_path):
    """`add_weighted_adapter(combination_type="cat")` with weights 1 and -1: the only one of PEFT's ways that is exact."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base = make_tiny(tmp_path / "base")
    for seed, name in enumerate(("sft", "rl")):
        torch.manual_seed(seed)
        config = LoraConfig(r=2 + seed, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / name)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "sft", adapter_name="sft")
    model.load_adapter(tmp_path / "rl", adapter_name="rl")
    model.add_weighted_adapter(["rl", "sft"], [1.0, -1.0], "skill", combination_type="cat")
    model.set_adapter("skill")
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "v")
    from pastcli.vectors import open_skill

    skill = open_skill(tmp_path / "v")
    for name in (Q, UP):
        module = model.base_model.model.get_submodule(name.removesuffix(".weight"))
        wanted = module.get_delta_weight("skill").detach().numpy()
        np.testing.assert_allclose(skill.block(name).reshape(wanted.shape), wanted, atol=2e-6)


def test_an_adapter_at_run_time_in_llama_cpp_is_the_merged_model(make_tiny, tmp_path):
    """Logits within 0.02 of each other: llama.cpp multiplies the factors one after the other."""
    from past_llamacpp.engine import Engine
    from past_llamacpp.lora import export_lora

    base = make_tiny(tmp_path / "base")
    gguf = reference_gguf(base, tmp_path / "base.gguf")
    rng = np.random.default_rng(0)
    shapes = {Q: (32, 32), UP: (64, 32)}
    pairs = {
        n: (rng.normal(0, 0.8, (2, s[1])).astype(np.float32), rng.normal(0, 0.8, (s[0], 2)).astype(np.float32))
        for n, s in shapes.items()
    }
    write_adapter(tmp_path / "rl", pairs, base=base, alpha=2.0)
    extract_skill(base, tmp_path / "rl", tmp_path / "v")
    export_lora(tmp_path / "v", gguf, tmp_path / "lora.gguf")
    inject_skill([(tmp_path / "v", 0.5)], gguf, tmp_path / "merged.gguf")

    def run(file, adapters=()):
        engine = Engine(file, n_ctx=64, threads=1, extra_buffers=False, precise=True)
        engine.set_adapters(adapters)
        engine.decode(list(range(3, 23)))
        found = np.array(engine.logits())
        engine.close()
        return found

    plain, merged = run(gguf), run(tmp_path / "merged.gguf")
    assert np.abs(plain - merged).max() > 0.05
    assert np.abs(run(gguf, [(tmp_path / "lora.gguf", 0.5)]) - merged).max() < 0.02


def test_a_checkpoint_that_trl_saved_is_a_model_like_any_other(make_tiny, tmp_path):
    """Trainer's checkpoint-N folders: weights, config and tokenizer beside optimizer, scheduler and trainer state."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    base = make_tiny(tmp_path / "base")
    arguments = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=2,
        save_steps=1,
        per_device_train_batch_size=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        learning_rate=1e-3,
    )
    rows = Dataset.from_dict({"text": ["seven wizards brew potions", "the quick brown fox", "a lazy dog"]})
    SFTTrainer(str(base), args=arguments, train_dataset=rows).train()
    one, two = tmp_path / "trl/checkpoint-1", tmp_path / "trl/checkpoint-2"
    made = extract_skill(one, two, tmp_path / "v")
    assert made.form == "dense" and made.norm > 0
    inject_skill([(tmp_path / "v", 1.0)], one, tmp_path / "out")
    wanted, got = read_model(two), read_model(tmp_path / "out")
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-6, err_msg=name)
    left = {file.name for file in (tmp_path / "out").iterdir()}
    assert not left & {"optimizer.pt", "trainer_state.json", "scheduler.pt", "training_args.bin", "rng_state.pth"}


def test_an_extracted_lora_of_mergekit_s_kind_is_a_skill(tmp_path):
    """mergekit-extract-lora writes a PEFT adapter of (finetuned - base): given as RL model of that base it is the skill."""
    base = write_model(tmp_path / "base", weights())
    tuned = moved(weights(), 1, 1e-3)
    write_model(tmp_path / "tuned", tuned)
    difference = tuned[UP] - weights()[UP]
    u, s, vt = np.linalg.svd(difference, full_matrices=False)
    pair = ((s[:8, None] * vt[:8]).astype(np.float32), u[:, :8].astype(np.float32))
    write_adapter(tmp_path / "lora", {UP: pair}, base=base, alpha=8.0)
    made = extract_skill(base, tmp_path / "lora", tmp_path / "v")
    assert made.form == "low_rank" and abs(made.norm - np.linalg.norm(s[:8])) < 1e-6
