"""HF tensor names and GGUF tensor names, and the row order of q and k.

Names come from llama.cpp's own `gguf.tensor_mapping`. Architectures whose weights llama.cpp changes on conversion
in other ways (fused projections, shifted norms, experts) are refused rather than guessed at.
"""

from __future__ import annotations

import re

import numpy as np

from pastcli.errors import MismatchError

from .gguffile import Header

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""GGUF architecture -> class name in an HF config."""

PERMUTED = ("llama",)
"""Architectures whose q and k rows llama.cpp interleaves for its rotary embedding."""

HF_ONLY_IN_GGUF = re.compile(r"^rope_freqs\.|^rope_factors_")
"""Tensors that stand in a GGUF but follow from the config in HF."""

_TOP = ("model.embed_tokens", "model.norm", "lm_head")
_LAYER = (
    "input_layernorm",
    "post_attention_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.q_norm",
    "self_attn.k_norm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def hf_names(header: Header) -> dict[str, str]:
    """{HF name: GGUF name} of the file's tensors, in file order. Raises `MismatchError` for what has no HF name."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = header.architecture
    if architecture not in ARCHITECTURES:
        raise MismatchError(
            f"{header.path} has the architecture {architecture!r}, whose HF names are not known",
            f"supported: {', '.join(ARCHITECTURES)}",
        )
    arch = next(key for key in MODEL_ARCH if MODEL_ARCH_NAMES[key] == architecture)
    layers = header.parameter("block_count")
    if not isinstance(layers, int) or not 0 <= layers <= len(header.tensors):
        count = len(header.tensors)
        raise MismatchError(f"{header.path}: {architecture}.block_count is {layers!r}, impossible for {count} tensors")
    table = get_tensor_name_map(arch, layers)
    stems = [*_TOP, *(f"model.layers.{layer}.{part}" for layer in range(layers) for part in _LAYER)]
    to_hf = {name: stem for stem in stems if (name := table.get_name(stem)) is not None}
    found = {}
    for name in header.tensors:
        stem, _, kind = name.rpartition(".")
        if stem in to_hf:
            found[f"{to_hf[stem]}.{kind}"] = name
        elif not HF_ONLY_IN_GGUF.match(name):
            raise MismatchError(
                f"{header.path}: the tensor {name} has no HF name in the architecture {architecture}",
                f"supported are plain {', '.join(ARCHITECTURES)} models",
            )
    return found


def rotary_heads(header: Header, hf_name: str) -> int:
    """How many heads' rows of this tensor llama.cpp reorders; 0 for every tensor stored as in HF."""
    if header.architecture not in PERMUTED or not re.search(r"\.self_attn\.[qk]_proj\.", hf_name):
        return 0
    heads = header.parameter("attention.head_count")
    if ".k_proj." in hf_name:
        heads = header.parameter("attention.head_count_kv", heads)
    if not isinstance(heads, int) or heads < 1:
        raise MismatchError(f"{header.path}: attention.head_count is {heads!r}, one number is supported")
    return heads


def gguf_rows(rows: np.ndarray, total: int, heads: int) -> np.ndarray:
    """Where HF rows of q or k stand in the GGUF.

    HF keeps a head's rows as two halves, rotated together pairwise (i, i + d/2); GGUF has them interleaved, so row
    `half * d/2 + i` of a head goes to `2 i + half` (`permute` in llama.cpp's convert_hf_to_gguf.py).
    """
    size = total // heads
    head, inside = np.divmod(rows, size)
    half, index = np.divmod(inside, size // 2)
    return head * size + 2 * index + half
