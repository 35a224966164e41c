"""One tiny random model for each architecture that goes through the whole path, llama.cpp included (docs/MODELS.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
        **_more(t),
    }


def _more(t):
    every_head = {**SIZES, "num_key_value_heads": 4}
    granite = dict(attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.7, logits_scaling=2.0)
    window = dict(sliding_window=128)
    old = dict(vocab_size=330, n_embd=64, n_layer=2, n_head=4, n_positions=256)
    falcon = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    shared = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=64)
    return {
        "Granite": t.GraniteConfig(**SIZES, **granite),
        "Cohere": t.CohereConfig(**SIZES, logit_scale=0.25),
        "Cohere 2": t.Cohere2Config(**SIZES, **window, logit_scale=0.25),
        "StableLM": t.StableLmConfig(**SIZES),
        "Falcon": t.FalconConfig(**falcon, new_decoder_architecture=True, num_kv_heads=2),
        "Falcon 7B": t.FalconConfig(**falcon, new_decoder_architecture=False, multi_query=True),
        "GPT-NeoX": t.GPTNeoXConfig(**SIZES),
        "GPT-BigCode": t.GPTBigCodeConfig(**old, bos_token_id=0, eos_token_id=2, pad_token_id=2),
        "Gemma": t.GemmaConfig(**SIZES, head_dim=16),
        "OLMo": t.OlmoConfig(**SIZES),
        "OLMo 3": t.Olmo3Config(**SIZES, **window),
        "OLMoE": t.OlmoeConfig(**every_head, num_experts=4, num_experts_per_tok=2),
        "GLM": t.GlmConfig(**SIZES, head_dim=16),
        "GLM-4": t.Glm4Config(**SIZES, head_dim=16),
        "Starcoder 2": t.Starcoder2Config(**SIZES),
        "Phi": t.PhiConfig(**SIZES),
        "Nemotron": t.NemotronConfig(**SIZES),
        "EXAONE 4": t.Exaone4Config(**SIZES, **window),
        "HunYuan": t.HunYuanDenseV1Config(**SIZES, head_dim=16),
        "ERNIE 4.5": t.Ernie4_5Config(**SIZES, head_dim=16),
        "Seed-OSS": t.SeedOssConfig(**SIZES, head_dim=16),
        "Qwen2-MoE": t.Qwen2MoeConfig(**SIZES, **shared),
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
    "Granite": "granite",
    "Cohere": "command-r",
    "Cohere 2": "cohere2",
    "StableLM": "stablelm",
    "Falcon": "falcon",
    "Falcon 7B": "falcon",
    "GPT-NeoX": "gptneox",
    "GPT-BigCode": "starcoder",
    "Gemma": "gemma",
    "OLMo": "olmo",
    "OLMo 3": "olmo2",
    "OLMoE": "olmoe",
    "GLM": "chatglm",
    "GLM-4": "glm4",
    "Starcoder 2": "starcoder2",
    "Phi": "phi2",
    "Nemotron": "nemotron",
    "EXAONE 4": "exaone4",
    "HunYuan": "hunyuan-dense",
    "ERNIE 4.5": "ernie4_5",
    "Seed-OSS": "seed_oss",
    "Qwen2-MoE": "qwen2moe",
}
"""Name as in the table -> architecture in llama.cpp."""


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
