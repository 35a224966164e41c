"""Tiny random models of architectures that go through the path on transformers, beside those of `architectures`."""

from __future__ import annotations

from pathlib import Path

import families
from architectures import SIZES

OLD = dict(
    vocab_size=330, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=2, pad_token_id=2
)
HEAD_16 = dict(head_dim=16)


def configs():
    """Name as in the table -> configuration."""
    import transformers as t

    neo = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    bloom = dict(vocab_size=330, hidden_size=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=2, pad_token_id=2)
    gemma3n = dict(vocab_size_per_layer_input=330, hidden_size_per_layer_input=8, laurel_rank=8, altup_num_inputs=2)
    gemma3n |= dict(num_kv_shared_layers=0, activation_sparsity_pattern=None, layer_types=["full_attention"] * 2)
    opt = dict(vocab_size=330, hidden_size=64, ffn_dim=128, num_hidden_layers=2, num_attention_heads=4)
    opt |= dict(word_embed_proj_dim=64, max_position_embeddings=256, bos_token_id=0, eos_token_id=2, pad_token_id=1)
    return {
        "Bloom": t.BloomConfig(**bloom),
        "GPT-Neo": t.GPTNeoConfig(
            **{**neo, "num_heads": 4, "num_layers": 2, "attention_types": [[["global", "local"], 1]]}
        ),
        "GPT-J": t.GPTJConfig(**OLD, rotary_dim=8),
        "Gemma 3n": t.Gemma3nTextConfig(**SIZES, **HEAD_16, **gemma3n),
        "gpt-oss": t.GptOssConfig(**SIZES, **HEAD_16, num_local_experts=4, num_experts_per_tok=2, sliding_window=128),
        "Helium": t.HeliumConfig(**SIZES, **HEAD_16),
        "OPT": t.OPTConfig(**opt),
        "PhiMoE": t.PhimoeConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2),
        "JetMoE": t.JetMoeConfig(**SIZES, kv_channels=16, num_local_experts=4, num_experts_per_tok=2),
    }


FAMILIES = {
    "Mamba": "mamba",
    "Mamba 2": "mamba2",
    "Falcon-Mamba": "falcon_mamba",
    "Falcon-H1": "falcon_h1",
    "Jamba": "jamba",
    "Bamba": "bamba",
    "Zamba": "zamba",
    "Zamba 2": "zamba2",
    "Nemotron-H": "nemotron_h",
    "Granite 4": "granitemoehybrid",
    "RecurrentGemma": "recurrent_gemma",
    "RWKV 4": "rwkv",
    "LFM2": "lfm2",
    "LFM2-MoE": "lfm2_moe",
    "Qwen3-Next": "qwen3_next",
    "Qwen3.5 (text)": "qwen3_5_text",
    "Qwen3.5-MoE (text)": "qwen3_5_moe_text",
    "OLMo Hybrid": "olmo_hybrid",
    "Kimi Linear": "kimi_linear",
    "DeepSeek V2": "deepseek_v2",
    "DeepSeek V3": "deepseek_v3",
    "GLM-4-MoE": "glm4_moe",
    "DeepSeek V3.2": "deepseek_v32",
    "LongCat-Flash": "longcat_flash",
    "Qwen4-Exp (text)": "qwen4_exp_text",
}
"""Name as in the table -> model type; their configurations are those of `families`."""

OWN = ("Bloom", "GPT-Neo", "GPT-J", "Gemma 3n", "gpt-oss", "Helium", "OPT", "PhiMoE", "JetMoE")
NAMES = (*OWN, *FAMILIES)


def make(name: str, folder: Path, tokenizer, seed: int = 0) -> Path:
    """Save a random model whose vectors differ from what they begin with."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = families.config(FAMILIES[name]) if name in FAMILIES else configs()[name]
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
