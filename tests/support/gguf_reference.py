"""The GGUF of an HF model of any architecture of `architectures`, made with the gguf package and nothing of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
from architectures import LLAMA_CPP
from gguf_tools import permute, tokenizer_metadata
from safetensors.numpy import load_file


def reference(name: str, hf: Path, out: Path, arch: str = "") -> Path:
    """The GGUF as llama.cpp's convert_hf_to_gguf.py lays it out, in float32."""
    arch, config = arch or LLAMA_CPP[name], settings(json.loads((hf / "config.json").read_text()))
    writer = gguf.GGUFWriter(out, arch)
    tensors = load_file(hf / "model.safetensors")
    _metadata(writer, arch, config)
    if name == "Llama 3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config))
    if config["rope"].get("rope_type") == "longrope":
        for which in ("long", "short"):
            factors = np.asarray(config["rope"][f"{which}_factor"], np.float32)
            writer.add_tensor(f"rope_factors_{which}.weight", factors)
    tokenizer_metadata(writer, hf, config["vocab_size"], "qwen2" if name.startswith("Qwen2 /") else "gpt-2")
    key = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    table = gguf.get_tensor_name_map(key, config["num_hidden_layers"])
    for hf_name, value in _experts_stacked(tensors).items():
        value = _changed(arch, hf_name, np.asarray(value, np.float32), config)
        writer.add_tensor(table.get_name(hf_name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(value))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return out


def settings(config: dict) -> dict:
    """A configuration under the names that most classes use."""
    old = {"num_attention_heads": "n_head", "num_hidden_layers": "n_layer", "hidden_size": "n_embd"}
    config = {**{new: config[name] for new, name in old.items() if name in config}, **config}
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if config["model_type"] in ("gpt_neox", "gpt2"):
        config["num_key_value_heads"] = heads
    if config["model_type"] == "falcon":
        config["num_key_value_heads"] = config["num_kv_heads"] if config["new_decoder_architecture"] else 1
    config.setdefault("num_key_value_heads", 1)
    config.setdefault("intermediate_size", 4 * hidden)
    config.setdefault("max_position_embeddings", config.get("n_positions", 256))
    config["head_dim"] = config.get("head_dim") or hidden // heads
    rope = config.get("rope_parameters") or {}
    return config | {"rope": rope.get("full_attention", rope)}


def _metadata(writer, arch, config):
    writer.add_name("tiny")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        names = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")
        writer.add_layer_norm_eps(next((config[name] for name in names if name in config), 1e-5))
    if config["rope"] or arch == "falcon":
        rope, head_dim = config["rope"], config["head_dim"]
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
        writer.add_rope_freq_base(rope.get("rope_theta", 10000.0))
    _own(writer, arch, config)
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
        if "moe_intermediate_size" in config:
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        if "shared_expert_intermediate_size" in config:
            writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def _own(writer, arch, config):
    """What one architecture has that others have not."""
    if "mrope_section" in config["rope"]:
        writer.add_rope_dimension_sections([*config["rope"]["mrope_section"], 0])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if arch in ("cohere2", "exaone4") or config["model_type"] == "olmo3":
        writer.add_sliding_window(config["sliding_window"])
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    if arch == "phi3":
        writer.add_sliding_window(0)
        writer.add_rope_scaling_orig_ctx_len(
            config["rope"].get("original_max_position_embeddings", config["max_position_embeddings"])
        )
    if arch == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if arch in ("command-r", "cohere2"):
        writer.add_logit_scale(config["logit_scale"])
    if arch in ("stablelm", "gptneox"):
        writer.add_parallel_residual(config["use_parallel_residual"])


def _experts_stacked(tensors):
    """The experts of a layer in one tensor, under the name that gguf's map has for them together."""
    found, experts = {}, {}
    for name, value in tensors.items():
        split = re.match(r"(.*)\.experts\.(\d+)\.(\w+)\.weight", name)
        if split is None:
            found[name] = value
            continue
        layer = split[1].replace("model.", "").replace("block_sparse_moe", "feed_forward")
        prefix = layer if "feed_forward" in layer else f"model.{layer}"
        experts.setdefault(f"{prefix}.experts.{split[3]}.weight", {})[int(split[2])] = value
    return found | {name: np.stack([parts[i] for i in sorted(parts)]) for name, parts in experts.items()}


def _changed(arch, name, value, config):
    """What the converters of llama.cpp do to the weights beside renaming them."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    if arch in ("llama", "smollm3", "granite", "olmo"):
        if ".q_proj." in name:
            return permute(value, heads)
        if ".k_proj." in name:
            return permute(value, groups)
    if arch in ("gemma", "gemma2", "gemma3", "nemotron") and name.endswith("norm.weight"):
        return value + 1
    if arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return value.T
    if arch in ("gptneox", "falcon") and "query_key_value" in name:
        grouped = value.reshape(groups, heads // groups + 2, config["head_dim"], *value.shape[1:])
        parts = (grouped[:, :-2], grouped[:, -2], grouped[:, -1])
        return np.concatenate([part.reshape(-1, *value.shape[1:]) for part in parts])
    return value


def _llama3_factors(config):
    """Divisors of the rotary frequencies, as LlamaModel.generate_extra_tensors writes them."""
    rope = config["rope_parameters"]
    dim = config["head_dim"]
    freqs = 1.0 / rope["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    low, high = (rope["original_max_position_embeddings"] / rope[f"{k}_freq_factor"] for k in ("low", "high"))
    factors = []
    for wavelength in 2 * np.pi / freqs:
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(rope["factor"])
        else:
            ratio = rope["original_max_position_embeddings"] / wavelength
            smooth = (ratio - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)
