"""Quantised checkpoints as their real writers leave them: refused everywhere, with a command that helps when it is typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import more_architectures
import pytest
import torch
from safetensors.torch import load_file, save_file

from pastcli.errors import NoArithmeticError

SMALL = ("--mix", "none", "--epochs", 1, "--precision", "fp32")
SIZES = dict(hidden_size=128, intermediate_size=256)


def bits_of_bitsandbytes(base, made, **how):
    """As transformers writes it with bitsandbytes."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(**how)).save_pretrained(made)


def fp8(base, made):
    """As DeepSeek and Qwen publish it: blocks of 128 x 128, each with the inverse of its scale."""
    tensors = load_file(base / "model.safetensors")
    for name in [name for name in tensors if "proj" in name]:
        rows, columns = tensors[name].shape
        high, wide = min(128, rows), min(128, columns)
        blocks = tensors[name].reshape(rows // high, high, columns // wide, wide)
        scale = blocks.abs().amax((1, 3)) / 448
        tensors[name] = (blocks / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
        tensors[name + "_scale_inv"] = scale
    made.mkdir()
    save_file(tensors, made / "model.safetensors", {"format": "pt"})
    settings = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    config = json.loads((base / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))


def four_bits_of_compressed_tensors(base, made):
    """As llm-compressor writes them."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    how = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
    config = QuantizationConfig(
        config_groups={"all": QuantizationScheme(targets=["Linear"], weights=how)},
        ignore=["lm_head"],
        quantization_status="compressed",
        format="pack-quantized",
    )
    apply_quantization_config(model, config)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            most = module.weight.reshape(module.weight.shape[0], -1, 32).abs().amax(-1)
            module.weight_scale.data = (most / 7).to(module.weight_scale.dtype)
    writer = ModelCompressor(quantization_config=config)
    writer.compress_model(model)
    model.save_pretrained(made)
    writer.update_config(made)


FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
"""The eight values of E2M1 from 0 on; the codes from 8 on are theirs below 0."""


def mxfp4(base, made):
    """As OpenAI publishes gpt-oss: experts transposed, in blocks of 32 values of four bits, each with a power of two."""
    tensors = load_file(base / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        value = tensors.pop(name).transpose(1, 2)
        blocks = value.reshape(*value.shape[:2], -1, 32)
        power = (blocks.abs().amax(-1) / 6).log2().ceil()
        steps = blocks / 2 ** power[..., None]
        codes = (steps.abs()[..., None] - torch.tensor(FP4)).abs().argmin(-1) + 8 * (steps < 0)
        tensors[f"{name}_blocks"] = (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8)
        tensors[f"{name}_scales"] = (power + 127).to(torch.uint8)
    made.mkdir()
    save_file(tensors, made / "model.safetensors", {"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    settings = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    config = json.loads((base / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))


def pickled(base, made):
    made.mkdir()
    torch.save(load_file(base / "model.safetensors"), made / "pytorch_model.bin")
    shutil.copy(base / "config.json", made)


@pytest.fixture
def rows(workspace):
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')


def saved_as(make_tiny, workspace, write, **how):
    """(the model, the same as `write` leaves it, in a folder whose name a shell takes apart)."""
    base = make_tiny(workspace / "base", **SIZES)
    return base, packed(base, workspace, write, **how)


def packed(base, workspace, write, **how):
    made = workspace / "it's 1 packed $HOME"
    write(base, made, **how)
    for file in (*base.glob("tokenizer*"), *base.glob("chat_template*")):
        shutil.copy(file, made)
    return made


@pytest.mark.parametrize(
    ("write", "how", "lost"),
    [
        (pickled, {}, 0),
        (fp8, {}, 0.04),
        pytest.param(four_bits_of_compressed_tensors, {}, 0.12, marks=pytest.mark.slow),
        pytest.param(bits_of_bitsandbytes, dict(load_in_4bit=True), 0.2, marks=pytest.mark.slow),
        pytest.param(
            bits_of_bitsandbytes, dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"), 0.12, marks=pytest.mark.slow
        ),
        pytest.param(bits_of_bitsandbytes, dict(load_in_8bit=True), 0.02, marks=pytest.mark.slow),
    ],
)
def test_the_command_of_the_refusal_makes_a_model_that_goes_on(past, make_tiny, workspace, rows, write, how, lost):
    """It left the tokenizer behind, so that what it had made was refused as well."""
    base, made = saved_as(make_tiny, workspace, write, **how)
    types_the_command(past, workspace, base, made, lost)


@pytest.mark.slow
def test_the_command_for_gpt_oss_makes_a_model_that_goes_on(past, tiny_tokenizer, workspace, rows):
    base = more_architectures.make("gpt-oss", workspace / "base", tiny_tokenizer)
    types_the_command(past, workspace, base, packed(base, workspace, mxfp4), 0.2)


def types_the_command(past, workspace, base, made, lost):
    """What the refusal of `made` advises is typed: it gives the weights of `base`, but for `lost` of their norm."""
    said = past("eval", "--model", made, "--questions", "q.jsonl", code=3).stderr
    command = said[said.index("python -c ") :].strip()
    path = os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ["PATH"]]
    )  # as of whoever activated the environment
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=workspace,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (written,) = workspace.glob(f"{made.name}-*")
    before, after = load_file(base / "model.safetensors"), load_file(written / "model.safetensors")
    assert before.keys() == after.keys()
    error = [(after[name].float() - value).norm() / value.norm() for name, value in before.items() if value.any()]
    assert max(error) <= lost
    past("sft", "d.md", "--base", written, *SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("how", [dict(load_in_4bit=True), dict(load_in_8bit=True)])
def test_a_packed_checkpoint_is_refused_wherever_it_is_named(past, make_tiny, workspace, rows, how):
    base, made = saved_as(make_tiny, workspace, bits_of_bitsandbytes, **how)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "after")
    past("extract", "--sft", base, "--rl", "runs/after/model", "-o", "v.safetensors")
    for words in (
        ("sft", "d.md", "--base", made, *SMALL),
        ("sft", "d.md", "--base", made, *SMALL, "--method", "lora", "--quantize", "4bit"),
        ("rl", "--sft", made, "--questions", "q.jsonl", "--steps", 1),
        ("extract", "--sft", made, "--rl", "runs/after/model", "-o", "w.safetensors"),
        ("extract", "--sft", base, "--rl", made, "-o", "w.safetensors"),
        ("inject", "--target", made, "--vector", "v.safetensors", "-o", "made"),
        ("probe-orthogonality", "--base", made, "--sft", base, "--rl", "runs/after/model"),
        ("eval", "--model", made, "--vector", "v.safetensors", "--questions", "q.jsonl"),
        ("export", "--model", made, "--to", "hf", "-o", "made"),
        ("ask", "--model", made, "which river?"),
    ):
        assert "is quantised (bitsandbytes)" in past(*words, code=3).stderr, words
    assert not [*workspace.glob("made*"), *workspace.glob("w.*")]


@pytest.mark.parametrize("stage", [("sft", "d.md", "--base"), ("rl", "--questions", "q.jsonl", "--sft")])
def test_a_dry_run_refuses_what_the_training_would(past, make_tiny, workspace, rows, stage):
    """It planned the training of packed weights, and ended with the command that refuses them."""
    _, made = saved_as(make_tiny, workspace, fp8)
    assert "is quantised (fp8)" in past(*stage, made, "--dry-run", code=3).stderr
    (made / "model.safetensors").unlink()
    planned = past(*stage, made, "--dry-run")
    assert "warning: " in planned.stderr and "planned as for the 16-bit checkpoint" in planned.stderr


def test_integers_are_no_weights_whatever_lies_beside_them(tmp_path):
    from past_hf.folder import refuse_scaled

    refuse_scaled(tmp_path, {"model.embed_tokens.weight": "BF16", "h.0.attn.bias": "U8", "position_ids": "I64"})
    for kind in ("I8", "U8", "I32"):
        with pytest.raises(NoArithmeticError, match=f"stored as {kind}"):
            refuse_scaled(tmp_path, {"model.layers.0.mlp.up_proj.weight": kind})
