"""What a GGUF's metadata say of how its weights are used, by the names that config.json has for it (`past_hf.settings`).

Keys: ggml's `docs/gguf.md` and llama.cpp's converters (convert_hf_to_gguf.py).
"""

from __future__ import annotations

from typing import Any

from .gguffile import Header

_SAID = {
    "attention.head_count": ("num_attention_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_used_count": ("num_experts_per_tok",),
    "logit_scale": ("logit_scale", "logits_scaling"),
    "residual_scale": ("residual_multiplier",),
    "embedding_scale": ("embedding_multiplier",),
    "rope.freq_base": ("rope_theta",),
}
"""Key behind the architecture's name -> the names that configurations have for it."""


def of(header: Header) -> dict[str, Any]:
    """The settings that a file states, to be compared with those of another model that states them; a 0 states none."""
    found = {name: header.parameter(key) for key, names in _SAID.items() for name in names}
    made: dict[str, Any] = {name: value for name, value in found.items() if isinstance(value, (int, float)) and value}
    scaled = header.parameter("rope.scaling.type")
    if scaled in ("linear", "yarn"):
        made |= {"rope_type": scaled, "rope_factor": header.parameter("rope.scaling.factor", 1.0)}
    elif "rope_theta" in made and not any(name.startswith(("rope_freqs.", "rope_factors_")) for name in header.tensors):
        made |= {"rope_type": "default", "rope_factor": 1.0}
    return made
