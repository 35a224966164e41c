"""A GGUF of a tiny HF model, made with the gguf package and nothing of ours: what our own code is checked against."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file


def reference_gguf(
    hf: Path, out: Path, quant: str = "F32", rope_factors: bool = False, chat_template: bool = True
) -> Path:
    """Convert as llama.cpp's convert_hf_to_gguf.py does; matrices as `quant`, a type that `gguf.quants` can write."""
    config = json.loads((hf / "config.json").read_text())
    arch = config["model_type"]
    writer = gguf.GGUFWriter(out, arch)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config.get("rope_parameters", {}).get("rope_theta", 10000.0))
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    pre = "qwen2" if arch == "qwen2" else "gpt-2"  # transformers gives every qwen2 model its own word splitting
    tokenizer_metadata(writer, hf, config["vocab_size"], pre, chat_template)
    if rope_factors:
        writer.add_tensor("rope_freqs.weight", np.ones(config["hidden_size"] // heads // 2, np.float32))
    key = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(key, config["num_hidden_layers"])
    for name, value in load_file(hf / "model.safetensors").items():
        if arch == "llama" and ".q_proj." in name:
            value = permute(value, heads)
        if arch == "llama" and ".k_proj." in name:
            value = permute(value, kv_heads)
        value = np.ascontiguousarray(value, np.float32)
        kind = gguf.GGMLQuantizationType[quant] if value.ndim > 1 else gguf.GGMLQuantizationType.F32
        raw = value if kind == 0 else gguf.quants.quantize(value, kind)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Row order of q and k, copied from llama.cpp's convert_hf_to_gguf.py."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def tokenizer_metadata(writer: gguf.GGUFWriter, hf: Path, size: int, pre: str, chat_template: bool = True) -> None:
    """The tokenizer of an HF directory, padded to `size` tokens."""
    table = json.loads((hf / "tokenizer.json").read_text())
    vocab = dict(table["model"]["vocab"]) | {token["content"]: token["id"] for token in table["added_tokens"]}
    special = {token["id"] for token in table["added_tokens"]}
    by_id = {index: token for token, index in vocab.items()}
    tokens = [by_id.get(index, f"[PAD{index}]") for index in range(size)]
    kinds = [
        gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED
        for i in range(size)
    ]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in table["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    if chat_template:
        writer.add_chat_template((hf / "chat_template.jinja").read_text())
