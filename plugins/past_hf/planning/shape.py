"""A model's sizes from its config alone: built on torch's meta device, where tensors have shapes and no memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pastcli.errors import MismatchError

from ..attending import can_tile
from ..composite import auto_class, decoder_name, towers


@dataclass(frozen=True)
class Shape:
    """Counts are of weights; widths in elements of one token."""

    parameters: int
    linear: int
    """Weights that multiply a token: all but the embedding, the output layer included; of routed experts those that one token takes."""
    packed: int
    """Weights of the linear layers that `--quantize` packs: all but the output layer."""
    towers: int
    """Weights beside the language model, which no token multiplies and no text trains."""
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

    @property
    def trained(self) -> int:
        return self.lora or self.parameters - self.towers


def _no_model(what: str, error: Exception) -> MismatchError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return MismatchError(f"{what} cannot be planned for: {reason}", "give a causal language model")


def _built(model_config: Any) -> Any:
    """The model without memory. Raises `MismatchError` for a config of something else, or of sizes that no model has."""
    from transformers.initialization import no_init_weights

    try:
        with torch.device("meta"), no_init_weights():  # which leaves tied weights untied
            model = auto_class(model_config).from_config(model_config)
            model.tie_weights()
            return model
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
    heads = _size(text, "num_attention_heads")
    if not heads or not text.num_hidden_layers:
        none = "attention" if text.num_hidden_layers else "layers"
        raise _no_model(f"a config of type {model_config.model_type}", ValueError(f"its model has no {none}"))
    keys = _size(text, "num_key_value_heads") or heads
    if heads % keys:
        uneven = ValueError(f"its {heads} heads cannot share {keys} key heads evenly")
        raise _no_model(f"a config of type {model_config.model_type}", uneven)
    width = _size(text, "head_dim") or text.hidden_size // heads
    language = model.get_decoder() if decoder_name(model) else model
    beside = sum(one.numel() for one in towers(model))
    blocks = max((list(m) for m in language.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    return Shape(
        parameters=parameters,
        linear=(parameters if tied else parameters - embedding.numel()) - beside - _idle(model, text),
        packed=_packed(model),
        towers=beside,
        lora=_lora(model, settings),
        largest_layer=max(max(sum(p.numel() for p in block.parameters()) for block in blocks), embedding.numel()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=_size(text, "intermediate_size") or 4 * text.hidden_size,
        heads=heads,
        query=heads * width,
        key=keys * width,
        vocabulary=embedding.shape[0],
        tiles=can_tile(model),
    )


def _size(text: Any, name: str) -> int:
    """A size of the layers, the largest where they differ (Gemma 4's heads are wider where it attends to all); 0 if there is none."""
    each = list(text.per_layer_config) if getattr(text, "is_heterogeneous", False) else [text]
    found = [getattr(one, name, None) or 0 for one in each]
    return max(max(size) if isinstance(size, (list, tuple)) else size for size in found)


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
    from transformers.initialization import no_init_weights

    from ..training.lora import lora_config

    wanted = lora_config(settings, model)
    if wanted is None:
        return 0
    with torch.device("meta"), no_init_weights():
        return sum(p.numel() for p in get_peft_model(model, wanted).parameters() if p.requires_grad)
