"""Synthetic llamas of any size for the benches: config, bf16 shards with their index, and a LoRA skill."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

SIZES = {  # hidden, intermediate, layers, heads, key-value heads, vocabulary
    "small": (512, 1408, 8, 8, 4, 8000),
    "0.4b": (2048, 5632, 6, 32, 4, 32000),  # all of it fits the page cache of a small machine
    "1b": (2048, 5632, 22, 32, 4, 32000),
    "3b": (3200, 8640, 26, 32, 32, 32000),
}
SHARDS = 3
CHANGES = {"base": (), "sft": ((1, 2e-3),), "rl": ((1, 2e-3), (2, 1e-3)), "target": ((3, 2e-3),)}
"""What each model adds to the base: (which noise, how much of it)."""


def build(folder: Path, size: str, names: tuple[str, ...] = tuple(CHANGES)) -> dict[str, Path]:
    """bf16 models of one base, out of one pool of Gaussian numbers (drawing them all would take minutes)."""
    pool = np.random.default_rng(0).standard_normal((1 << 22) + 12345, dtype=np.float32)
    return {name: write_model(folder / name, size, pool, CHANGES[name]) for name in names}


def write_model(folder: Path, size: str, pool: np.ndarray, changes: tuple) -> Path:
    hidden, intermediate, layers, heads, kv_heads, vocab = SIZES[size]
    folder.mkdir()
    shapes = list(layout(hidden, intermediate, layers, hidden // heads * kv_heads, vocab).items())
    total, weight_map = sum(int(np.prod(shape)) for _, shape in shapes), {}
    shards, filled = [[] for _ in range(SHARDS)], 0
    for name, shape in shapes:
        shards[min(filled * SHARDS // total, SHARDS - 1)].append((name, shape))
        filled += int(np.prod(shape))
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        weight_map |= {name: file for name, _ in shard}
        write_shard(folder / file, shard, pool, changes)
    index = {"metadata": {"total_size": 2 * total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def layout(hidden: int, intermediate: int, layers: int, kv: int, vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj.weight": (hidden, hidden),
            f"{prefix}.self_attn.k_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.v_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": (intermediate, hidden),
            f"{prefix}.mlp.up_proj.weight": (intermediate, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, intermediate),
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def write_shard(path: Path, shard: list, pool: np.ndarray, changes: tuple) -> None:
    table, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shard:
        size = 2 * int(np.prod(shape))
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as handle:
        handle.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shard:
            seed = sum(name.encode())
            left = int(np.prod(shape))
            while left:
                step = min(left, 1 << 22)
                values = pool[seed : seed + step] * np.float32(0.02)
                for shift, scale in changes:
                    begin = (seed + 4001 * shift) % 12345
                    values = values + pool[begin : begin + step] * np.float32(scale)
                ((values.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16).tofile(handle)
                left, seed = left - step, (seed + 777) % 12345


def lora(folder: Path, models: dict[str, Path]) -> Path:
    """A rank-16 skill on all linear layers, made once from an adapter directory."""
    skill = folder / "lora.safetensors"
    if skill.exists():
        return skill
    from safetensors.numpy import save_file

    index = json.loads((models["sft"] / "model.safetensors.index.json").read_text())["weight_map"]
    size = json.loads((models["sft"] / "config.json").read_text())
    shapes = layout(
        size["hidden_size"],
        size["intermediate_size"],
        size["num_hidden_layers"],
        size["hidden_size"] // size["num_attention_heads"] * size["num_key_value_heads"],
        size["vocab_size"],
    )
    rng, tensors = np.random.default_rng(1), {}
    for name in index:
        if "_proj" in name:
            module, (rows, columns) = name.removesuffix(".weight"), shapes[name]
            tensors[f"base_model.model.{module}.lora_A.weight"] = (
                rng.standard_normal((16, columns), dtype=np.float32) * 0.02
            )
            tensors[f"base_model.model.{module}.lora_B.weight"] = (
                rng.standard_normal((rows, 16), dtype=np.float32) * 0.02
            )
    adapter = folder / "adapter"
    adapter.mkdir()
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": 16,
        "lora_alpha": 32,
        "base_model_name_or_path": str(models["sft"]),
        "bias": "none",
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "pastcli",
        "-C",
        folder,
        "extract",
        "--sft",
        models["sft"],
        "--rl",
        adapter,
        "-o",
        skill,
    ]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return skill
