"""A frozen base in 4 bits under a LoRA, by bitsandbytes: which layers, how, and whether they come out as they went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pastcli.errors import PastError, UsageError

from ..composite import say_text_alone, towers
from ..compute import compute_dtype
from ..materialize import load_model
from .arguments import Machine, needs_bitsandbytes
from .refusals import refuse_packed

LOST = 0.15
"""Relative error from which a layer is not what it was: four-bit normal floats lose 0.09 of a normal matrix."""


def load(path: Path, config: Any, machine: Machine) -> Any:
    """The model to train: its base packed with `--quantize`, else in the type that `machine` gives its weights.

    Raises `UsageError` for what would train packed weights themselves or share them out, and without bitsandbytes;
    `PastError` where its kernels for this device do not give back what they were given.
    """
    if not config.quantize:
        model = load_model(path, machine.weights_dtype(config), machine.attention)
        for one in towers(model):
            one.requires_grad_(False)  # processes would wait for gradients that never come
        if machine.sharded:
            _name_layers(model)
        if config.method == "full" and not machine.cuda:
            _in_memory(model)
        say_text_alone(model)
        return model
    model = load_model(path, machine.weights_dtype(config), machine.attention, packed(config, machine))
    say_text_alone(model)
    keep_layout(model)
    check(model)
    return model


def _in_memory(model: Any) -> None:
    """Read the weights from their file, which until then is mapped. The first update would copy it page by page, on all threads at
    once, whose faults wait for each other: 1.2 s for SmolLM2-135M on an EPYC of two, beside 0.1 s here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for one in model.parameters():
            one.data = one.data.clone()
    finally:
        torch.set_num_threads(threads)


def _name_layers(model: Any) -> None:
    """accelerate shards by the layers that the class names, and stops at one that this model has none of (Gemma 3 names the text side
    of its tower)."""
    present = {type(module).__name__ for module in model.modules()}
    model._no_split_modules = [name for name in model._no_split_modules or () if name in present]


def packed(config: Any, machine: Machine) -> Any:
    """transformers' configuration of a base in 4 bits: normal floats, their scales in 8 bits (2305.14314, sections 3 and 4).

    The output layer and the embeddings stay as they are.
    """
    refuse_packed(config, machine.sharded)
    needs_bitsandbytes("--quantize")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(config.precision),
    )


def _packed_layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ == "Linear4bit"]


def keep_layout(model: Any) -> None:
    """On processors with AVX512-BF16 bitsandbytes 0.50 lays a layer's weights out anew the first time it is used in evaluation,
    for a kernel that gives no gradient, and uses that in training ever after: no LoRA below would learn rightly.
    """
    for layer in _packed_layers(model):
        layer.support_avx512bf16_for_cpu = False


def check(model: Any) -> None:
    """Pack and unpack a few rows as long as those of each layer. bitsandbytes 0.50 unpacks rows of 32, 96, 160, ... entries
    to other numbers on processors with AVX-512, without a word. Then see that gradients pass after an evaluation, too.
    """
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    layers = {module.in_features: module for module in _packed_layers(model)}
    if not layers:
        raise UsageError("--quantize found no linear layer to pack", "train this model without it")
    for width, layer in layers.items():
        made_with = layer.weight.quant_state
        rows = torch.randn(64, width, generator=torch.Generator().manual_seed(0)).to(
            layer.weight.device, made_with.dtype
        )
        kept = dequantize_4bit(*quantize_4bit(rows, blocksize=made_with.blocksize, quant_type=made_with.quant_type))
        lost = float((kept.float() - rows.float()).norm() / rows.float().norm())
        if lost > LOST:
            raise PastError(
                f"bitsandbytes unpacks rows of {width} entries wrongly on this processor: {lost:.0%} of them is lost",
                "train without --quantize, on a card, or with another version of bitsandbytes",
            )
        if not _lets_gradients_through(layer, rows[:2]):
            raise PastError(
                "bitsandbytes gives no gradient through a packed layer once it was evaluated: nothing below it would be trained",
                "train without --quantize, on a card, or with another version of bitsandbytes",
            )


def _lets_gradients_through(layer: Any, rows: torch.Tensor) -> bool:
    training = layer.training
    layer.eval()
    with torch.no_grad():
        layer(rows)
    layer.train(training)
    asked = rows.detach().requires_grad_()
    answer = layer(asked)
    given = torch.autograd.grad(answer.sum(), asked, allow_unused=True)[0] if answer.requires_grad else None
    return given is not None and bool(given.any())
