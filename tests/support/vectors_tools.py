"""Small checkpoints out of numpy arrays, without torch: model directories, adapters, and how they are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pastcli.vectors.files.safetensors import SafeWriter, header_text
from pastcli.vectors.numbers.arithmetic import narrow

HIDDEN, VOCAB = 16, 40


def llama_shapes(layers=2, hidden=HIDDEN, vocab=VOCAB, tied=True):
    shapes = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        p = f"model.layers.{layer}"
        shapes |= {f"{p}.self_attn.{m}.weight": (hidden, hidden) for m in ("q_proj", "k_proj", "v_proj", "o_proj")}
        shapes |= {f"{p}.mlp.up_proj.weight": (2 * hidden, hidden), f"{p}.mlp.down_proj.weight": (hidden, 2 * hidden)}
        shapes |= {f"{p}.input_layernorm.weight": (hidden,)}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if tied else shapes | {"lm_head.weight": (vocab, hidden)}


def weights(seed=0, sigma=0.02, **shape_options):
    """Gaussian float32 weights of a tiny llama, norms around 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * sigma + (len(shape) == 1)).astype(np.float32)
        for name, shape in llama_shapes(**shape_options).items()
    }


def moved(tensors, seed, sigma):
    """`tensors` plus Gaussian noise, in float32."""
    rng = np.random.default_rng(seed)
    return {
        name: (value + rng.standard_normal(value.shape) * sigma).astype(np.float32) for name, value in tensors.items()
    }


def write_file(path, tensors, dtype="F32", metadata=None):
    layout = {name: (dtype, value.shape) for name, value in tensors.items()}
    writer = SafeWriter(Path(path), len(header_text(layout, metadata or {"format": "pt"})))
    for name, value in tensors.items():
        writer.add(name, dtype, value.shape)
        writer.write(name, 0, narrow(np.ascontiguousarray(value, np.float32).reshape(-1), dtype))
    writer.finish(metadata or {"format": "pt"})
    return Path(path)


def write_model(
    folder, tensors, dtype="F32", shards=1, architecture="LlamaForCausalLM", vocab=VOCAB, tied=True, tokens=None
):
    """A model directory; `tokens` makes a tokenizer.json of that vocabulary."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    names = list(tensors)
    if shards == 1:
        write_file(folder / "model.safetensors", tensors, dtype)
    else:
        weight_map = {}
        for number in range(shards):
            mine = names[number::shards]
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            write_file(folder / file, {name: tensors[name] for name in mine}, dtype)
            weight_map |= dict.fromkeys(mine, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = {
        "architectures": [architecture],
        "model_type": "llama",
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    if tokens:
        tokenizer = {
            "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []},
            "added_tokens": [],
        }
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def write_adapter(folder, factors, base="", alpha=8.0, rslora=False, **config):
    """A PEFT directory of {tensor name: (A, B)}."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    tensors = {}
    for name, (a, b) in factors.items():
        module = "base_model.model." + name.removesuffix(".weight")
        tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    write_file(folder / "adapter_model.safetensors", tensors)
    rank = next(iter(factors.values()))[0].shape[0]
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": rslora,
        "base_model_name_or_path": str(base),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return folder


def factors_for(names, rank=3, seed=5, hidden=HIDDEN):
    rng = np.random.default_rng(seed)
    shapes = llama_shapes(hidden=hidden)
    return {
        name: (
            rng.standard_normal((rank, shapes[name][1])).astype(np.float32),
            rng.standard_normal((shapes[name][0], rank)).astype(np.float32),
        )
        for name in names
    }


def read_model(folder):
    """All tensors of a model as float32."""
    from pastcli.vectors.files.opening import open_model

    opened = open_model(Path(folder))
    found = {name: opened.read(name).reshape(spec.shape) for name, spec in opened.specs().items()}
    opened.close()
    return found
