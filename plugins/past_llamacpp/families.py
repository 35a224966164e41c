"""GGUF architectures as HF knows them: class, tensor names, and what llama.cpp's converters change beyond the names.

An architecture comes in here once its model is seen to compute the same in transformers and in llama.cpp
(tests/vectors/test_architectures.py); what is not here is refused rather than guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass

_TOP = ("model.embed_tokens", "model.norm", "lm_head")
_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_COMMON = (*_NORMS, "self_attn.o_proj", "mlp.down_proj")
_LAYER = (*_COMMON, *_QKV, "self_attn.q_norm", "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj")
_FUSED = (*_COMMON, "self_attn.qkv_proj", "mlp.gate_up_proj")
_GLM4 = (*_COMMON, *_QKV, "mlp.gate_up_proj", "post_self_attn_layernorm", "post_mlp_layernorm")
_HUNYUAN = (*_LAYER, "self_attn.query_layernorm", "self_attn.key_layernorm")
_STARCODER2 = (*_NORMS, *_QKV, "self_attn.o_proj", "mlp.c_fc", "mlp.c_proj")
_PHI = ("input_layernorm", *_QKV, "self_attn.dense", "mlp.fc1", "mlp.fc2")
_SHARED = (*(f"mlp.shared_expert.{part}" for part in ("gate_proj", "up_proj", "down_proj")), "mlp.shared_expert_gate")
_GPT2_TOP = ("transformer.wte", "transformer.wpe", "transformer.ln_f")
_GPT2_LAYER = ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")

_H_TO_4H = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
_NEOX = ("input_layernorm", "post_attention_layernorm", "attention.query_key_value", "attention.dense", *_H_TO_4H)
_FALCON = (
    *("ln_attn", "ln_mlp", "input_layernorm"),
    *("self_attention.query_key_value", "self_attention.dense", *_H_TO_4H),
)

EXPERTS = {
    "mlp.experts": {f"model.layers.{{}}.mlp.experts.{part}": part for part in ("gate_proj", "up_proj", "down_proj")},
    "block_sparse_moe.experts": {f"layers.{{}}.feed_forward.experts.{part}": part for part in ("w1", "w2", "w3")},
}
"""Folder of the experts in HF -> {the name by which `gguf` knows an expert's matrices together: its part's name in HF}."""


@dataclass(frozen=True)
class Family:
    """What a GGUF architecture is in HF: class name, and what happened to the weights.

    `moe` is the class with experts, `windowed` the one whose attention slides, where an architecture has two classes;
    `grouped` the matrix that holds q, k and v head by head. `either`: (GGUF tensor of a layer, part of HF), a layer has one of both.
    """

    hf: str
    moe: str = ""
    windowed: str = ""
    permuted: bool = False
    grouped: str = ""
    shifted_norms: bool = False
    transposed: bool = False
    experts: str = ""
    router: str = ""
    top: tuple[str, ...] = _TOP
    layer: str = "model.layers.{}."
    parts: tuple[str, ...] = _LAYER
    either: tuple[str, str] = ("", "")


ARCHITECTURES = {
    "llama": Family(
        "LlamaForCausalLM",
        "MixtralForCausalLM",
        permuted=True,
        experts="block_sparse_moe.experts",
        router="block_sparse_moe.gate",
    ),
    "qwen2": Family("Qwen2ForCausalLM"),
    "qwen2moe": Family("Qwen2MoeForCausalLM", experts="mlp.experts", router="mlp.gate", parts=(*_LAYER, *_SHARED)),
    "qwen2vl": Family("Qwen2_5_VLForConditionalGeneration"),
    "qwen3": Family("Qwen3ForCausalLM"),
    "qwen3vl": Family("Qwen3VLForConditionalGeneration"),
    "qwen3moe": Family("Qwen3MoeForCausalLM", experts="mlp.experts", router="mlp.gate"),
    "gemma": Family("GemmaForCausalLM", shifted_norms=True),
    "gemma2": Family("Gemma2ForCausalLM", shifted_norms=True),
    "gemma3": Family("Gemma3ForCausalLM", shifted_norms=True),
    "phi2": Family("PhiForCausalLM", top=("model.embed_tokens", "model.final_layernorm", "lm_head"), parts=_PHI),
    "phi3": Family("Phi3ForCausalLM", parts=_FUSED),
    "smollm3": Family("SmolLM3ForCausalLM", permuted=True),
    "olmo": Family("OlmoForCausalLM", permuted=True),
    "olmo2": Family("Olmo2ForCausalLM", windowed="Olmo3ForCausalLM"),
    "olmoe": Family("OlmoeForCausalLM", experts="mlp.experts", router="mlp.gate"),
    "gpt2": Family("GPT2LMHeadModel", transposed=True, top=_GPT2_TOP, layer="transformer.h.{}.", parts=_GPT2_LAYER),
    "starcoder": Family(
        "GPTBigCodeForCausalLM", top=(*_GPT2_TOP, "lm_head"), layer="transformer.h.{}.", parts=_GPT2_LAYER
    ),
    "gptneox": Family(
        "GPTNeoXForCausalLM",
        grouped="query_key_value",
        top=("gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out"),
        layer="gpt_neox.layers.{}.",
        parts=_NEOX,
    ),
    "falcon": Family(
        "FalconForCausalLM",
        grouped="query_key_value",
        top=("transformer.word_embeddings", "transformer.ln_f", "lm_head"),
        layer="transformer.h.{}.",
        parts=_FALCON,
        either=("attn_norm_2", "input_layernorm"),  # two norms side by side, or one
    ),
    "chatglm": Family("GlmForCausalLM", parts=(*_LAYER, "mlp.gate_up_proj")),
    "granite": Family("GraniteForCausalLM", permuted=True),
    "command-r": Family("CohereForCausalLM"),
    "cohere2": Family("Cohere2ForCausalLM"),
    "stablelm": Family("StableLmForCausalLM"),
    "starcoder2": Family("Starcoder2ForCausalLM", parts=_STARCODER2),
    "glm4": Family("Glm4ForCausalLM", parts=_GLM4),
    "nemotron": Family("NemotronForCausalLM", shifted_norms=True),
    "exaone4": Family("Exaone4ForCausalLM"),
    "hunyuan-dense": Family("HunYuanDenseV1ForCausalLM", parts=_HUNYUAN),
    "ernie4_5": Family("Ernie4_5ForCausalLM"),
    "seed_oss": Family("SeedOssForCausalLM"),
}
"""GGUF architecture -> family."""
