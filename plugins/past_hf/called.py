"""Which linear layers a model calls: an adapter on one that it only takes the weights of does nothing while it runs, and all when merged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .compute import whole_pass
from .habits import answering


def passed_by(model: Any, layers: Mapping[str, Any]) -> set[str]:
    """Those of these layers that are not called where the module around them is, which multiplies by their weights itself: Jamba's and
    Mamba's step sizes, LongCat's routers. Tried on a few tokens; where a model breaks down at that, its later parts are as their like before."""
    called, ran = set[int](), set[int]()
    parts = dict(model.named_modules())
    around = {name: parts[name.rpartition(".")[0]] for name in layers}
    hooks = [one.register_forward_hook(lambda one, *_: called.add(id(one))) for one in layers.values()]
    hooks += [one.register_forward_hook(lambda one, *_: ran.add(id(one))) for one in {*around.values()}]
    row = torch.tensor([[5, 6, 7]], device=next(model.parameters()).device)
    try:
        with answering(model), _Answers() if row.is_meta else nullcontext():
            model(input_ids=row, **whole_pass(model))
    except Exception:  # without memory nothing can be chosen by value, as experts are
        pass
    finally:
        for hook in hooks:
            hook.remove()
    tried = {name: (type(outer), name.rpartition(".")[2]) for name, outer in around.items() if id(outer) in ran}
    used = {kind for name, kind in tried.items() if id(layers[name]) in called}
    unused = {*tried.values()} - used
    return {name for name, outer in around.items() if (type(outer), name.rpartition(".")[2]) in unused}


class _Answers(TorchFunctionMode):
    """Within it tensors without memory say something where they are asked for their value, as masks are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = func in (torch.Tensor.__bool__, torch.Tensor.item, torch.Tensor.__int__, torch.Tensor.__index__)
        return True if asked and args[0].is_meta else func(*args, **(kwargs or {}))
