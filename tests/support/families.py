"""Tiny random models of whatever text-only causal language model transformers has: sizes by the many names that configurations have.

`make(name, …)` takes the name of the model type. `OWN` holds what an architecture needs beyond small sizes: layers of every kind it
mixes, and dimensions that must fit each other.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WIDTHS = ("hidden_size", "d_model", "n_embd", "embedding_size", "word_embed_proj_dim", "input_embedding_size")
_WIDE = ("intermediate_size", "ffn_dim", "n_inner", "decoder_ffn_dim", "encoder_ffn_dim", "feed_forward_size", "dff")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "num_decoder_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_HEADS += ("num_decoder_attention_heads", "mamba_n_heads", "mamba_num_heads", "linear_num_value_heads")
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "moe_k", "moe_topk", "moe_top_k", "top_k_experts")
_NARROW = (
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "mamba_d_head",
    "mamba_head_dim",
    "mamba_headdim",
)
_SIXTEEN = ("head_dim", "attention_head_size", "v_head_dim", "q_lora_rank", "kv_lora_rank", "o_lora_rank")
_SIXTEEN += ("linear_key_head_dim", "linear_value_head_dim", "index_head_dim", "mamba_chunk_size", "chunk_size")
_SIXTEEN += ("sliding_window", "attention_window_size", "window_size", "attention_chunk_size")
_EIGHT = ("state_size", "mamba_d_state", "ssm_state_size", "mamba_dt_rank", "time_step_rank", "qk_nope_head_dim")
_EIGHT += ("qk_rope_head_dim", "index_topk", "hidden_size_per_layer_input", "laurel_rank")
_ONE = ("n_shared_experts", "num_shared_experts", "n_group", "topk_group", "first_k_dense_replace", "mamba_n_groups")
_ONE += ("n_groups", "mamba_ngroups")

SIZES: dict[str, Any] = dict(
    **dict.fromkeys(_WIDTHS, 64),
    **dict.fromkeys(_WIDE, 128),
    **dict.fromkeys(_LAYERS, 2),
    **dict.fromkeys(_HEADS, 4),
    **dict.fromkeys(_LENGTHS, 256),
    **dict.fromkeys(_EXPERTS, 4),
    **dict.fromkeys(_CHOSEN, 2),
    **dict.fromkeys(_NARROW, 32),
    **dict.fromkeys(_SIXTEEN, 16),
    **dict.fromkeys(_EIGHT, 8),
    **dict.fromkeys(_ONE, 1),
    **dict(vocab_size=330, vocab_size_per_layer_input=330, num_key_value_heads=2, linear_num_key_heads=2),
    **dict(mamba_d_ssm=128, n_mamba_heads=2, lru_width=64, shared_intermediate_size=64, index_n_heads=2),
    **dict(pad_token_id=2, bos_token_id=0, eos_token_id=2),
)

LINEAR, SLIDING = ["linear_attention", "full_attention"], ["sliding_attention", "full_attention"]
_EVEN = dict(num_key_value_heads=4)
_DECODER = dict(is_decoder=True)
_ZAMBA = ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"]
_QWEN4 = dict(ple_layer_ids=[1], ple_embed_dim=16, hc_count=2, hc_lowrank=8, ngram_vocab_size_base=50)
_QWEN4 |= dict(heads_per_ngram=2, split_ngram_parts=2, make_ngram_vocab_size_divisible_by=8, indexer_n_heads=8)
_QWEN4 |= dict(indexer_kv_heads=1, indexer_head_dim=16, indexer_budget=8, indexer_compress_ratio=2)
OWN: dict[str, dict[str, Any]] = {
    "bamba": dict(attn_layer_indices=[1]),
    "bailing_hybrid": dict(layer_types=LINEAR, **_EVEN),
    "bert": _DECODER,
    "codegen": dict(rotary_dim=8),
    "dbrx": dict(
        attn_config=dict(kv_n_heads=2, rope_theta=1e4, clip_qkv=8.0),
        ffn_config=dict(hidden_size=64, ffn_hidden_size=64, moe_num_experts=4, moe_top_k=2),
    ),
    "deepseek_v2": _EVEN,
    "deepseek_v3": _EVEN,
    "deepseek_v32": dict(index_n_heads=8, **_EVEN),
    "gemma4_text": dict(layer_types=SLIDING),
    "glm4_moe_lite": _EVEN,
    "granitemoehybrid": dict(layer_types=LINEAR),
    "jamba": dict(attn_layer_offset=1, attn_layer_period=2, expert_layer_offset=0, expert_layer_period=1),
    "kimi_linear": dict(layer_types=LINEAR, linear_head_dim=16, linear_num_heads=4, **_EVEN),
    "lfm2": dict(layer_types=["conv", "full_attention"]),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"], num_dense_layers=1),
    "llama4_text": dict(layer_types=["chunked_attention", "full_attention"]),
    "longcat_flash": dict(head_dim=8, zero_expert_num=2, expert_ffn_hidden_size=32, ffn_hidden_size=128, **_EVEN),
    "mamba2": dict(num_heads=4, head_dim=32),
    "mellum": dict(layer_types=SLIDING),
    "minicpm3": _EVEN,
    "olmo_hybrid": dict(layer_types=LINEAR),
    "qwen3_5_moe_text": dict(layer_types=LINEAR),
    "qwen3_5_text": dict(layer_types=LINEAR),
    "qwen3_next": dict(layer_types=LINEAR),
    "qwen4_exp_text": dict(layer_types=LINEAR, **_QWEN4),
    "recurrent_gemma": dict(num_hidden_layers=3, block_types=["recurrent", "recurrent", "attention"]),
    "roberta": _DECODER,
    "youtu": _EVEN,
    "zamba": dict(
        num_hidden_layers=5, layers_block_type=_ZAMBA, attention_head_dim=32, attention_hidden_size=128, **_EVEN
    ),
    "zamba2": dict(num_hidden_layers=5, layers_block_type=_ZAMBA, num_mem_blocks=2, n_mamba_heads=4, **_EVEN),
}


def turning(at: int) -> dict[str, Any]:
    """Settings of Phi-3 and Phi-4-mini, whose rows of more than 4,096 tokens are turned by other factors: here those of more than `at`."""
    rope = dict(rope_type="longrope", rope_theta=1e4, original_max_position_embeddings=at, attention_factor=1.0)
    rope |= dict(short_factor=[1.0] * 8, long_factor=[float(2 + place) for place in range(8)])
    return dict(head_dim=16, original_max_position_embeddings=at, rope_parameters=rope)


def config(name: str, **more: Any) -> Any:
    """The tiny configuration of a model type; `more` goes before all else."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[name]
    known = {key for one in kind.__mro__ for key in getattr(one, "__annotations__", {})}
    known |= {"pad_token_id", "bos_token_id", "eos_token_id"}
    own = {key: value for key, value in SIZES.items() if key in known} | OWN.get(name, {}) | more
    return kind(**own)


def moved(model: Any, scale: float, seed: int) -> Any:
    """The model with noise on every tensor of floats, buffers too; what is shared is moved once."""
    import torch

    draw, seen = torch.Generator().manual_seed(seed), set()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point() and value.data_ptr() not in seen:
                seen.add(value.data_ptr())
                value.add_(scale * torch.randn(value.shape, generator=draw))
    return model


def loaded(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def make(name: str, folder: Path, tokenizer: Any, seeds: Sequence[int] = (2, 3, 4), **more: Any) -> Path:
    """Folders `sft`, `rl` (grown from it) and `target` of one base in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = moved(AutoModelForCausalLM.from_config(config(name, **more)).float(), 0.05, 1)
    for place, grown, seed in zip(("sft", "rl", "target"), ("base", "sft", "base"), seeds, strict=True):
        if place == "sft":
            _save(model, folder / "base", tokenizer)
        _save(moved(loaded(folder / grown), 0.01, seed), folder / place, tokenizer)
    return folder


def _save(model: Any, folder: Path, tokenizer: Any) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def sum_of(folder: Path) -> Any:
    """The target plus RL minus SFT, by state dicts alone: what an injection has to give."""
    sft, rl, target = (loaded(folder / name).state_dict() for name in ("sft", "rl", "target"))
    model = loaded(folder / "target")
    model.load_state_dict({k: v + (rl[k] - sft[k]) if v.is_floating_point() else v for k, v in target.items()})
    return model


@functools.cache
def _accepts(kind: type, name: str) -> bool:
    return name in inspect.signature(kind.forward).parameters  # type: ignore[attr-defined]


def logits(model: Any, ids: Sequence[int]) -> Any:
    """(tokens, vocabulary) of one row read whole, by itself."""
    import torch

    whole = {"use_cache": False} if _accepts(type(model), "use_cache") else {}
    with torch.no_grad():
        return model(input_ids=torch.tensor([list(ids)]), **whole).logits[0].float()


def greedy(model: Any, ids: Sequence[int], count: int, ends: set[int]) -> list[int]:
    """What follows, one token after another, each from all before it read anew."""
    said: list[int] = []
    while len(said) < count and not (said and said[-1] in ends):
        said.append(int(logits(model, [*ids, *said])[-1].argmax()))
    return said
