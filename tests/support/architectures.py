"""One tiny random model for each architecture of docs/MODELS.md, and its GGUF, made with the gguf package and nothing of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
from gguf_tools import permute, tokenizer_metadata
from safetensors.numpy import load_file

SIZES = dict(
    **dict(vocab_size=330, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4),
    **dict(num_key_value_heads=2, max_position_embeddings=256, pad_token_id=2, bos_token_id=0, eos_token_id=2),
)


def configs():
    """Name as in the table -> configuration; with the settings that tell the architecture from its neighbours."""
    import transformers as t

    gpt2 = dict(vocab_size=330, n_embd=64, n_layer=2, n_head=4, n_positions=256)
    gpt2 |= dict(bos_token_id=0, eos_token_id=2, pad_token_id=2)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    moe = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    return {
        "Llama 3": t.LlamaConfig(
            **SIZES, rope_theta=5e5, rope_scaling={**llama3, "original_max_position_embeddings": 64}
        ),
        "Qwen2 / 2.5": t.Qwen2Config(**SIZES, rope_theta=1e6),
        "Qwen3": t.Qwen3Config(**SIZES, rope_theta=1e6, head_dim=16),
        "Mistral": t.MistralConfig(**SIZES, rope_theta=1e6, sliding_window=None),
        "Gemma 2": t.Gemma2Config(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=128),
        "Gemma 3": t.Gemma3TextConfig(**SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=128),
        "Phi-3": t.Phi3Config(**SIZES, rope_theta=1e4, sliding_window=None),
        "SmolLM2": t.LlamaConfig(**SIZES, rope_theta=1e5, tie_word_embeddings=True),
        "SmolLM3": t.SmolLM3Config(**{**SIZES, "num_hidden_layers": 4}),
        "OLMo 2": t.Olmo2Config(**SIZES, rope_theta=5e5),
        "GPT-2": t.GPT2Config(**gpt2),
        "Qwen3-MoE": t.Qwen3MoeConfig(**SIZES, **moe, head_dim=16, rope_theta=1e6, norm_topk_prob=True),
        "Mixtral": t.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, rope_theta=1e6),
    }


LLAMA_CPP = {
    "Llama 3": "llama",
    "Qwen2 / 2.5": "qwen2",
    "Qwen3": "qwen3",
    "Mistral": "llama",
    "Gemma 2": "gemma2",
    "Gemma 3": "gemma3",
    "Phi-3": "phi3",
    "SmolLM2": "llama",
    "SmolLM3": "smollm3",
    "OLMo 2": "olmo2",
    "GPT-2": "gpt2",
    "Qwen3-MoE": "qwen3moe",
    "Mixtral": "llama",
}


def make(name: str, folder: Path, tokenizer, seed: int = 0, scale: float = 3.0) -> Path:
    """Save a random model with weights large enough that every part of it shows in the logits; norms differ from 1."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(configs()[name]).float()
    with torch.no_grad():
        for key, value in model.named_parameters():
            value.copy_(value * scale if value.dim() > 1 else value + 0.1 * torch.randn_like(value))
            if "wte" in key or "embed" in key:
                value.div_(scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def logits(folder: Path, ids: list[int]) -> np.ndarray:
    """transformers, float32, eager: (tokens, vocabulary)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def reference(name: str, hf: Path, out: Path) -> Path:
    """The GGUF as llama.cpp's convert_hf_to_gguf.py lays it out, in float32."""
    arch, config = LLAMA_CPP[name], json.loads((hf / "config.json").read_text())
    writer = gguf.GGUFWriter(out, arch)
    tensors = load_file(hf / "model.safetensors")
    _metadata(writer, arch, config)
    if name == "Llama 3":
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config))
    tokenizer_metadata(writer, hf, config["vocab_size"], "qwen2" if name.startswith("Qwen2") else "gpt-2")
    key = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    table = gguf.get_tensor_name_map(key, config.get("num_hidden_layers") or config["n_layer"])
    for hf_name, value in _experts_stacked(tensors).items():
        value = _changed(arch, hf_name, np.asarray(value, np.float32), config)
        writer.add_tensor(table.get_name(hf_name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(value))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return out


def _metadata(writer, arch, config):
    heads, hidden = config.get("num_attention_heads") or config["n_head"], config.get("hidden_size") or config["n_embd"]
    head_dim = config.get("head_dim") or hidden // heads
    writer.add_name("tiny")
    writer.add_block_count(config.get("num_hidden_layers") or config["n_layer"])
    writer.add_context_length(config.get("max_position_embeddings") or config["n_positions"])
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(config.get("intermediate_size") or 4 * hidden)
    writer.add_head_count(heads)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if arch == "gpt2":
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if arch == "phi3":
        writer.add_sliding_window(0)
        writer.add_rope_scaling_orig_ctx_len(config["max_position_embeddings"])
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
        if "moe_intermediate_size" in config:
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


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
    if arch in ("llama", "smollm3"):
        if ".q_proj." in name:
            return permute(value, config["num_attention_heads"])
        if ".k_proj." in name:
            return permute(value, config["num_key_value_heads"])
    if arch in ("gemma2", "gemma3") and name.endswith("norm.weight"):
        return value + 1
    if arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return value.T
    return value


def _llama3_factors(config):
    """Divisors of the rotary frequencies, as LlamaModel.generate_extra_tensors writes them."""
    rope = config["rope_parameters"]
    dim = config["hidden_size"] // config["num_attention_heads"]
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
