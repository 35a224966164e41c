"""HF tensor names and GGUF tensor names, and what llama.cpp's converters do to the weights on the way.

Names come from llama.cpp's own `gguf.tensor_mapping`. What its converters (convert_hf_to_gguf.py) change beyond the names: the
llama family's rows of q and k are interleaved, Gemma's norms are stored plus one, GPT-2's matrices are transposed, and the
experts of a layer lie in one tensor. Architectures that are not in `ARCHITECTURES` are refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pastcli.errors import MismatchError

from .gguffile import Header

_TOP = ("model.embed_tokens", "model.norm", "lm_head")
_COMMON = (
    *("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),
    *("self_attn.o_proj", "mlp.down_proj"),
)
_LAYER = (
    *_COMMON,
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.q_norm", "self_attn.k_norm"),
    *("mlp.gate_proj", "mlp.up_proj"),
)
_FUSED = (*_COMMON, "self_attn.qkv_proj", "mlp.gate_up_proj")
_EXPERTS = {
    "mlp.experts": {f"model.layers.{{}}.mlp.experts.{part}": part for part in ("gate_proj", "up_proj", "down_proj")},
    "block_sparse_moe.experts": {f"layers.{{}}.feed_forward.experts.{part}": part for part in ("w1", "w2", "w3")},
}
"""Folder of the experts in HF -> {the name by which `gguf` knows an expert's matrices together: its part's name in HF}."""

_GPT2_TOP = ("transformer.wte", "transformer.wpe", "transformer.ln_f")
_GPT2_LAYER = ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


@dataclass(frozen=True)
class Family:
    """What a GGUF architecture is in HF: class name, and what happened to the weights. `moe` is the class with experts."""

    hf: str
    moe: str = ""
    permuted: bool = False
    shifted_norms: bool = False
    transposed: bool = False
    experts: str = ""
    router: str = ""
    top: tuple[str, ...] = _TOP
    layer: str = "model.layers.{}."
    parts: tuple[str, ...] = _LAYER


ARCHITECTURES = {
    "llama": Family(
        "LlamaForCausalLM",
        "MixtralForCausalLM",
        permuted=True,
        experts="block_sparse_moe.experts",
        router="block_sparse_moe.gate",
    ),
    "qwen2": Family("Qwen2ForCausalLM"),
    "qwen3": Family("Qwen3ForCausalLM"),
    "qwen3moe": Family("Qwen3MoeForCausalLM", "Qwen3MoeForCausalLM", experts="mlp.experts", router="mlp.gate"),
    "gemma": Family("GemmaForCausalLM", shifted_norms=True),
    "gemma2": Family("Gemma2ForCausalLM", shifted_norms=True),
    "gemma3": Family("Gemma3ForCausalLM", shifted_norms=True),
    "phi3": Family("Phi3ForCausalLM", parts=_FUSED),
    "smollm3": Family("SmolLM3ForCausalLM", permuted=True),
    "olmo2": Family("Olmo2ForCausalLM"),
    "gpt2": Family("GPT2LMHeadModel", transposed=True, top=_GPT2_TOP, layer="transformer.h.{}.", parts=_GPT2_LAYER),
}
"""GGUF architecture -> family."""

HF_ONLY_IN_GGUF = re.compile(r"^rope_freqs\.|^rope_factors_")
"""Tensors that stand in a GGUF but follow from the config in HF."""

_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def family(header: Header) -> Family:
    """The family of a file; raises `MismatchError` for an architecture whose HF names are not known."""
    if header.architecture not in ARCHITECTURES:
        raise MismatchError(
            f"{header.path} has the architecture {header.architecture!r}, whose HF names are not known",
            f"supported: {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[header.architecture]


def class_name(header: Header) -> str:
    """The class that HF has for this model."""
    kind = family(header)
    return kind.moe if kind.moe and header.parameter("expert_count") else kind.hf


def hf_names(header: Header) -> dict[str, str]:
    """{HF name: GGUF name} of the file's tensors, in file order; the experts of a layer share one GGUF tensor.

    Raises `MismatchError` for what has no HF name.
    """
    kind = family(header)
    to_hf = dict(_stems(header, kind))
    found: dict[str, str] = {}
    for name in header.tensors:
        stem, _, suffix = name.rpartition(".")
        if stem in to_hf:
            found |= {f"{hf}.{suffix}": name for hf in to_hf[stem]}
        elif not HF_ONLY_IN_GGUF.match(name):
            raise MismatchError(
                f"{header.path}: the tensor {name} has no HF name in the architecture {header.architecture}",
                f"supported are plain {', '.join(ARCHITECTURES)} models",
            )
    return found


def _stems(header: Header, kind: Family) -> Iterator[tuple[str, list[str]]]:
    """(GGUF name, HF names), both without `.weight`, of everything the architecture may have."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    layers, experts = header.parameter("block_count"), header.parameter("expert_count", 0)
    if not isinstance(layers, int) or not 0 <= layers <= len(header.tensors):
        raise MismatchError(
            f"{header.path}: {header.architecture}.block_count is {layers!r}, impossible for {len(header.tensors)} tensors"
        )
    if not isinstance(experts, int) or not 0 <= experts <= 4096:
        raise MismatchError(f"{header.path}: {header.architecture}.expert_count is {experts!r}, impossible")
    arch = next(key for key in MODEL_ARCH if MODEL_ARCH_NAMES[key] == header.architecture)
    table = get_tensor_name_map(arch, layers)
    parts = (*kind.parts, kind.router) if experts else kind.parts
    for stem in (*kind.top, *(kind.layer.format(layer) + part for layer in range(layers) for part in parts)):
        if (own := table.get_name(stem)) is not None:
            yield own, [stem]
    for layer in range(layers if experts else 0):
        for together, part in _EXPERTS.get(kind.experts, {}).items():
            if (own := table.get_name(together.format(layer))) is not None:
                folder = kind.layer.format(layer) + kind.experts
                yield own, [f"{folder}.{expert}.{part}" for expert in range(experts)]


def expert_of(hf_name: str) -> int | None:
    """Which expert a tensor belongs to; None for one that belongs to no single expert."""
    found = _EXPERT.search(hf_name)
    return int(found[1]) if found else None


def shift_of(header: Header, hf_name: str) -> float:
    """What the GGUF's values of this tensor are greater by than HF's."""
    return 1.0 if family(header).shifted_norms and hf_name.endswith("norm.weight") else 0.0


def is_transposed(header: Header, hf_name: str, shape: tuple[int, ...]) -> bool:
    """Whether the GGUF stores the transpose of HF's matrix; embeddings are alike in both."""
    return family(header).transposed and len(shape) == 2 and ".h." in hf_name


def rotary_heads(header: Header, hf_name: str) -> int:
    """How many heads' rows of this tensor llama.cpp reorders; 0 for every tensor stored as in HF."""
    if not family(header).permuted or not re.search(r"\.self_attn\.[qk]_proj\.", hf_name):
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
