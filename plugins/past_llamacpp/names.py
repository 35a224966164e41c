"""HF tensor names and GGUF tensor names, and what llama.cpp's converters do to the weights on the way.

Names come from llama.cpp's own `gguf.tensor_mapping`. What its converters (convert_hf_to_gguf.py) change beyond the names: rows of q
and k lie in another order (`roworder`), Gemma's norms are stored plus one, GPT-2's matrices are transposed, and the experts of a layer
lie in one tensor. Architectures that are not in `ARCHITECTURES` (`families`) are refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pastcli.errors import MismatchError, NoArithmeticError
from pastcli.words import counted

from .families import ARCHITECTURES, EXPERTS, Family
from .gguffile import Header
from .roworder import Apart, Interleaved, RowOrder

HF_ONLY_IN_GGUF = re.compile(r"^rope_freqs\.|^rope_factors_")
"""Tensors that stand in a GGUF but follow from the config in HF."""

_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def family(header: Header) -> Family:
    """The family of a file; raises `NoArithmeticError` for an architecture whose HF names are not known."""
    if header.architecture not in ARCHITECTURES:
        raise NoArithmeticError(
            f"{header.path} has the architecture {header.architecture!r}, whose HF names are not known",
            f"supported: {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[header.architecture]


def class_name(header: Header) -> str:
    """The class that HF has for this model."""
    kind = family(header)
    if kind.moe and header.parameter("expert_count"):
        return kind.moe
    return kind.windowed if kind.windowed and header.parameter("attention.sliding_window") else kind.hf


def hf_names(header: Header) -> dict[str, str]:
    """{HF name: GGUF name} of the file's tensors, in file order; the experts of a layer share one GGUF tensor.

    Raises `NoArithmeticError` for what has no HF name.
    """
    kind = family(header)
    to_hf = dict(_stems(header, kind))
    found: dict[str, str] = {}
    for name in header.tensors:
        stem, _, suffix = name.rpartition(".")
        if stem in to_hf:
            found |= {f"{hf}.{suffix}": name for hf in to_hf[stem]}
        elif not HF_ONLY_IN_GGUF.match(name):
            raise NoArithmeticError(
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
            f"{header.path}: {header.architecture}.block_count is {layers!r}, impossible for {counted(len(header.tensors), 'tensors')}"
        )
    if not isinstance(experts, int) or not 0 <= experts <= 4096:
        raise MismatchError(f"{header.path}: {header.architecture}.expert_count is {experts!r}, impossible")
    arch = next(key for key in MODEL_ARCH if MODEL_ARCH_NAMES[key] == header.architecture)
    table = get_tensor_name_map(arch, layers)
    parts = (*kind.parts, kind.router) if experts else kind.parts
    if f"blk.0.{kind.either[0]}.weight" in header.tensors:
        parts = tuple(part for part in parts if part != kind.either[1])
    for stem in (*kind.top, *(kind.layer.format(layer) + part for layer in range(layers) for part in parts)):
        if (own := table.get_name(stem)) is not None:
            yield own, [stem]
    for layer in range(layers if experts else 0):
        for together, part in EXPERTS.get(kind.experts, {}).items():
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


def row_order(header: Header, hf_name: str) -> RowOrder | None:
    """The order in which the file keeps the rows of this tensor; None where it is HF's."""
    kind = family(header)
    if kind.permuted and re.search(r"\.self_attn\.[qk]_proj\.", hf_name):
        return Interleaved(_heads(header, "head_count_kv" if ".k_proj." in hf_name else "head_count"))
    if kind.grouped and f".{kind.grouped}." in hf_name:
        return Apart(_heads(header, "head_count"), _heads(header, "head_count_kv"))
    return None


def _heads(header: Header, key: str) -> int:
    heads = header.parameter(f"attention.{key}", header.parameter("attention.head_count"))
    if not isinstance(heads, int) or heads < 1:
        raise MismatchError(f"{header.path}: attention.{key} is {heads!r}, one number is supported")
    return heads
