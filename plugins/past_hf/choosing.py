"""Attention that picks a number of keys: which of them, where several score the same.

The scores of DeepSeek's index are sums of what is left above zero, so that a key which no head looks for scores exactly 0, and many
do where heads are few. Torch leaves open which of equals it takes, and takes others as a row gets wider: a token would be predicted
otherwise beside a longer row, or in a longer text. Here the earliest are taken, whatever stands beside them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .lengths import named

_PICKS = re.compile("index|keep|budget")
"""In the name of a length: it is a number of keys, and the layer that holds it picks them."""


class _Earliest(TorchFunctionMode):
    """Within it the largest values of a row are, among equals, the first."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.topk, torch.Tensor.topk):
            return _first_largest(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _first_largest(values: torch.Tensor, k: int, dim: int = -1, largest: bool = True, **_: Any) -> Any:
    found, places = torch.sort(values, dim=dim, descending=largest, stable=True)
    return torch.return_types.topk((found.narrow(dim, 0, k), places.narrow(dim, 0, k)))


_EARLIEST = _Earliest()


def _begin(*_: Any) -> None:
    _EARLIEST.__enter__()


def _end(*_: Any) -> None:
    _EARLIEST.__exit__(None, None, None)


def settle(model: Any) -> Any:
    """The model, whose layers that pick keys take the earliest of equals from now on."""
    lengths = named(model, 0).items()
    layers = {id(place.holder): place.holder for name, places in lengths if _PICKS.search(name) for place in places}
    for layer in layers.values():
        if isinstance(layer, torch.nn.Module):
            layer.register_forward_pre_hook(_begin)
            layer.register_forward_hook(_end, always_call=True)
    return model
