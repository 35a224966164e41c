"""What config.json says of how weights are used: two models of the same tensors that differ in it compute otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_DECIDES = re.compile(
    "heads?$|^n_head|head_dim|_eps(ilon)?$|hidden_act|activation|softcap|multiplier|^(?!.*init).*scal(e|ing)|rotary|experts_per_tok|moe_k$|topk"
    "|top_k_experts|scoring_func|query_pre_attn|qk_norm|parallel|alibi|clip_qkv|norm_before|n_group$|attention_chunk_size|swiglu_limit"
    "|attn_temperature|default_language|rope_interleave"
)
"""Keys that decide what is computed and leave no trace in the shapes of the weights."""
_ALIKE = frozenset(("full_attention", "sliding_attention", "chunked_attention"))
"""Kinds of layers that have the same weights, by the names that every version has for them."""
_SAME_ROPE = {"mrope": "default", "su": "longrope"}
"""What transformers 5 calls types of rotary embeddings that had other names; of text alone mrope is the usual one."""


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of them that `config` (config.json) states, by name; of a model with towers those of its language model."""
    inner = config.get("text_config")
    part = {**config, **(inner if isinstance(inner, dict) else {})}
    made: dict[str, Any] = {
        key: value
        for key, value in part.items()
        if _DECIDES.search(key)
        and not key.startswith(("rope_scal", "rope_p"))
        and isinstance(value, (bool, int, float, str))
    }
    kinds = part.get("layer_types")
    if isinstance(kinds, list) and _ALIKE.issuperset(map(str, kinds)):
        made["layer_types"] = kinds
    if "sliding_window" in part and part.get("use_sliding_window") is not False:
        made["sliding_window"] = part["sliding_window"]
    return made | _rotary(part)


def _rotary(part: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary embeddings, under one name of those that transformers 4 and 5 have for them."""
    found = [part[key] for key in ("rope_parameters", "rope_scaling") if isinstance(part.get(key), dict)]
    table = found[0] if found else {}
    if any(isinstance(value, dict) for value in table.values()):
        return {"rope_parameters": table}  # a set for each type of layer
    if not found and "rope_theta" not in part:
        return {}
    kind = str(table.get("rope_type", table.get("type", "default")))
    made = {"rope_type": _SAME_ROPE.get(kind, kind), "rope_factor": table.get("factor", 1.0)}
    theta = table.get("rope_theta", part.get("rope_theta"))
    return made | ({"rope_theta": theta} if theta is not None else {})
