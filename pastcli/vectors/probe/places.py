"""Where in a model a tensor stands, by its HF name: the groups that the probe adds its sums up over."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any


def grouped(rows: Mapping[str, Any], key: Callable[[str], str]) -> dict[str, Any]:
    """Things that can be added, by `key(name)`, in order of first occurrence."""
    found: dict[str, Any] = {}
    for name, row in rows.items():
        label = key(name)
        found[label] = found[label] + row if label in found else row
    return found


def layer_of(name: str) -> str:
    """`12` for a tensor of the 13th layer; `embedding`, `head`, `final norm` or `other` outside the layers."""
    found = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name)
    if found:
        return found[1]
    for part, label in (("embed", "embedding"), ("wte", "embedding"), ("lm_head", "head"), ("norm", "final norm")):
        if part in name:
            return label
    return "other"


def kind_of(name: str) -> str:
    """The module's own name, such as `q_proj` or `input_layernorm`; biases apart from weights."""
    parts = name.split(".")
    module = parts[-2] if len(parts) > 1 else parts[0]
    return f"{module}.bias" if parts[-1] == "bias" else module


def short(kind: str) -> str:
    """A module's name as it fits under a figure: `q_proj` is `q`, `input_layernorm` is `input_norm`."""
    return kind.removesuffix("_proj").replace("layernorm", "norm")
