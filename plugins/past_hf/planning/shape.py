"""A model's sizes from its config alone: built on torch's meta device, where tensors have shapes and no memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pastcli.errors import MismatchError

from ..attending import can_tile
from ..counts import refuse_impossible


@dataclass(frozen=True)
class Shape:
    """Counts are of weights; widths in elements of one token."""

    parameters: int
    linear: int
    """Weights that multiply a token: all but the embedding, the output layer included; of routed experts those that one token takes."""
    packed: int
    """Weights of the linear layers that `--quantize` packs: all but the output layer."""
    lora: int
    """Weights of the LoRA that the settings ask for; 0 for full training."""
    largest_layer: int
    """Weights of the largest block that FSDP2 gathers at once."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    query: int
    """Width of all query heads together."""
    key: int
    """Width of all key heads together, as of all value heads."""
    vocabulary: int
    tiles: bool
    """Whether long rows can be attended in tiles (see `attending`)."""


def read_config(folder: Path) -> Any:
    """The config of a model directory, which need not hold weights. Raises `MismatchError` if transformers cannot read it."""
    refuse_impossible(folder)
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # its own checks of a config raise whatever they like
        raise _no_model(f"{folder}/config.json", error) from error


def _no_model(what: str, error: Exception) -> MismatchError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return MismatchError(f"{what} cannot be planned for: {reason}", "give a causal language model")


def _built(model_config: Any) -> Any:
    """The model without memory. Raises `MismatchError` for a config of something else, or of sizes that no model has."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(model_config)
    except Exception as error:  # what a model's own constructor trips over: a division by 0 heads, a missing size
        raise _no_model(f"a config of type {model_config.model_type}", error) from error


def shape_of(model_config: Any, settings: Any) -> Shape:
    """Sizes of the model that `model_config` describes, with the LoRA of `settings` if they ask for one.

    Raises `MismatchError` if it describes no causal language model of layers with attention.
    """
    model = _built(model_config)
    embedding = model.get_input_embeddings().weight
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tied = model.get_output_embeddings().weight is embedding
    text = model_config.get_text_config()
    heads = getattr(text, "num_attention_heads", 0)
    if not heads or not text.num_hidden_layers:
        none = "attention" if text.num_hidden_layers else "layers"
        raise _no_model(f"a config of type {model_config.model_type}", ValueError(f"its model has no {none}"))
    keys = getattr(text, "num_key_value_heads", None) or heads
    if heads % keys:
        uneven = ValueError(f"its {heads} heads cannot share {keys} key heads evenly")
        raise _no_model(f"a config of type {model_config.model_type}", uneven)
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    blocks = max((list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    return Shape(
        parameters=parameters,
        linear=(parameters if tied else parameters - embedding.numel()) - _idle(model, text),
        packed=_packed(model),
        lora=_lora(model, settings),
        largest_layer=max(max(sum(p.numel() for p in block.parameters()) for block in blocks), embedding.numel()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", 4 * text.hidden_size),
        heads=heads,
        query=heads * width,
        key=(getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=embedding.shape[0],
        tiles=can_tile(model),
    )


def _idle(model: Any, text: Any) -> int:
    """Weights of the routed experts that a token passes by: all of them are held, few of them multiply."""
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    experts = next((count for name in names if (count := getattr(text, name, None))), 0)
    taken = getattr(text, "num_experts_per_tok", None) or experts
    routed = sum(one.numel() for name, one in model.named_parameters() if ".experts." in name)
    return routed * (experts - taken) // experts if experts else 0


def _packed(model: Any) -> int:
    head = model.get_output_embeddings()
    linear = (module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head)
    return sum(module.weight.numel() for module in linear)


def _lora(model: Any, settings: Any) -> int:
    """Trained weights of the LoRA, counted by PEFT itself."""
    from peft import get_peft_model

    from ..training.lora import lora_config

    wanted = lora_config(settings, model)
    if wanted is None:
        return 0
    with torch.device("meta"):
        return sum(p.numel() for p in get_peft_model(model, wanted).parameters() if p.requires_grad)
