"""Which layers a LoRA can be of: those that PEFT adapts as a plain product, and that a skill can be extracted from and added to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from pastcli import tested
from pastcli.errors import PastError

from .adapter import PREFIX
from .checkpoint import HFCheckpoint
from .composite import decoder_name, full_name, within, without_weights


def linear(model: Any) -> dict[str, Any]:
    """{name: module} of all linear layers but the output layer; of a model with towers those of its language model."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    inside, head = decoder_name(model), model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not head
        if (name.startswith(f"{inside}.") if inside else not within(name))
    }


def obstacles(model: Any, source: Path | None) -> dict[str, str]:
    """{name: why no LoRA can be of it} of linear layers. `source` is the directory that the model was loaded from."""
    from .called import passed_by

    layers, found = linear(model), dict[str, str]()
    stored = _stored(source) if source is not None else None
    several = _in_several_places(model)
    fused = {end: _fuses(model, end) for end in {_end(name) for name in layers}}
    unused, elsewhere = passed_by(model, layers), _read_elsewhere(model, layers)
    for name, module in layers.items():
        if not _is_product(module):
            found[name] = "it answers with more than its product"
        elif id(module.weight) in several:
            found[name] = "its weights stand in several places"
        elif stored is not None and f"{full_name(name)}.weight" not in stored:
            found[name] = "its model's files hold it in another form"
        elif fused[_end(name)]:
            found[name] = fused[_end(name)]
        elif name in elsewhere:
            found[name] = "PEFT would look for its factors under another name, and pass over them"
        elif name in unused:
            found[name] = "the model does not call it, and an adapter would do nothing while it runs"
    return found


_ORDINARY = re.compile(r"(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight$")
_ORDINARY_END = re.compile(r"([qkvo]|gate|up|down)_proj")
"""Names under which a model without experts has linear layers of the usual kind: then none need be made to see."""


def able(folder: Path, names: Iterable[str]) -> set[str]:
    """Those of these tensors of the model in `folder` that an adapter of PEFT can change, by what transformers makes of its config."""
    names = set(names)
    if all(map(_ORDINARY.search, names)) and "expert" not in (folder / "config.json").read_text(encoding="utf-8"):
        return names
    import torch

    try:
        model = without_weights(folder)
    except Exception:  # code of its own, or of another version: nobody knows
        return names
    layers = {full_name(name): module for name, module in linear(model).items()}
    out = {full_name(name) for name in obstacles(model, None)}
    plain = {name for name, module in model.named_modules() if type(module) is torch.nn.Embedding}
    output = model.get_output_embeddings()
    head = {f"{name}.weight" for name, module in model.named_modules() if module is output and _is_product(module)}
    known = {f"{name}.weight" for name in (layers.keys() - out) | {full_name(name) for name in plain}} | head
    return names & known


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _is_product(module: Any) -> bool:
    """Whether a layer is x W + b and no more: PhiMoE's choice of experts is a linear layer that answers with several values."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    plain = (nn.Linear.forward, Conv1D.forward)
    if type(module).forward in plain or type(module).__module__.startswith("bitsandbytes"):
        return True
    own = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    if type(module) not in _TRIED:
        _TRIED[type(module)] = own <= {"weight", "bias"} and _multiplies(module)
    return _TRIED[type(module)]


_TRIED: dict[type, bool] = {}


def _multiplies(module: Any) -> bool:
    """Whether a linear layer with a `forward` of its own multiplies and no more (Falcon's does), tried on a small matrix."""
    import torch

    given = {"weight": torch.randn(3, 5), "bias": torch.randn(3)}
    given = {name: value for name, value in given.items() if module._parameters.get(name) is not None}
    x = torch.randn(2, 5)
    try:
        found = torch.func.functional_call(module, given, (x,))
        return torch.allclose(found, torch.nn.functional.linear(x, **given), atol=1e-5)
    except Exception:  # whatever a layer's own arithmetic does with such a matrix
        return False


def _in_several_places(model: Any) -> set[int]:
    """Weights that several modules hold, such as Zamba's shared blocks: PEFT adapts one of them while it runs, and all when it merges."""
    seen, again = set[int](), set[int]()
    for _, module in model.named_modules(remove_duplicate=False):
        weight = module._parameters.get("weight")
        if weight is not None:
            (again if id(weight) in seen else seen).add(id(weight))
    return again


def _stored(source: Path) -> set[str]:
    with closing(HFCheckpoint(source)) as files:
        return set(files.specs())


def _fuses(model: Any, end: str) -> str:
    """Why PEFT adapts no layer whose name ends so as it stands; "" where it does.

    It takes the names that experts had in transformers 4 for these, which lie in bare parameters now, and adapts them in a form of
    its own, whatever else has the name; and some layers are read by a kernel that passes an adapter by.
    """
    from peft import LoraConfig

    config = LoraConfig(target_modules=[end])
    try:
        from peft.tuners.tuners_utils import _check_lora_target_modules_mamba as takes
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers as convert
    except ImportError as error:
        if _ORDINARY_END.fullmatch(end) and "expert" not in model.config.to_json_string(use_diff=False):
            return ""
        raise PastError(
            f"this PEFT does not say what it makes of layers named {end}: {error}", tested.install(["peft"])
        ) from error
    try:
        takes(config, model, end)
        convert(config, model, None)
    except ValueError:
        return "PEFT does not take it"
    return "PEFT would adapt experts under its name" if config.target_parameters else ""


def _read_elsewhere(model: Any, names: Iterable[str]) -> set[str]:
    """Those of these layers whose factors PEFT does not find when it reads an adapter: it renames them by transformers' table for files,
    which makes `shared_experts.` of `shared_expert.` (Laguna), and of that something else once more."""
    import torch
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers as read
    except ImportError:  # a PEFT that renames nothing, or is told of by `_fuses`
        return set()
    keys = {f"{PREFIX}{name}.lora_A.weight": name for name in names}
    found = read(model, LoraConfig(), {key: torch.empty(2, 2, device="meta") for key in keys})
    return {name for key, name in keys.items() if key not in found}


def as_targets(model: Any, names: Iterable[str]) -> list[str]:
    """The shortest names by which PEFT finds these modules and no others."""
    names = set(names)
    others = {_end(name) for name, _ in model.named_modules() if name not in names}
    return sorted({name if _end(name) in others else _end(name) for name in names})


def source_of(model: Any) -> Path | None:
    """The directory that a model was loaded from; None for one that was made up."""
    place = Path(str(model.name_or_path or "."))
    return place if (place / "config.json").is_file() and any(place.glob("*.safetensors")) else None
