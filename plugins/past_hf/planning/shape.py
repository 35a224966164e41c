"""A model's sizes from its config alone: built on torch's meta device, where tensors have shapes and no memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pastcli.errors import MismatchError


@dataclass(frozen=True)
class Shape:
    """Counts are of weights; widths in elements of one token."""

    parameters: int
    linear: int
    """Weights that multiply every token: all but the embedding, the output layer included."""
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


def read_config(folder: Path) -> Any:
    """The config of a model directory, which need not hold weights. Raises `MismatchError` if transformers cannot read it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise MismatchError(
            f"{folder}/config.json cannot be planned for: {reason}", "give a causal language model"
        ) from error


def shape_of(model_config: Any, settings: Any) -> Shape:
    """Sizes of the model that `model_config` describes, with the LoRA of `settings` if they ask for one."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config)
    embedding = model.get_input_embeddings().weight
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tied = model.get_output_embeddings().weight is embedding
    text = model_config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    blocks = max((list(m) for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    return Shape(
        parameters=parameters,
        linear=parameters if tied else parameters - embedding.numel(),
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
    )


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
