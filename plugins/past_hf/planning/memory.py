"""Bytes of one process, part by part, at the moment it holds most.

Weights, gradients and AdamW's two moments are counted as the two paths hold them (see `compute.WorkingWeights`; ZeRO,
1910.02054, section 3.1, counts the same kinds). Activations are the tensors that a Llama-like block keeps for the backward
pass (the method of 2205.05198, section 4.1, for gated MLPs, RMSNorm in float32 and grouped keys).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..attending import WIDE
from ..training.arguments import Machine
from .shape import Shape

GB = 1e9
CARD_RUNTIME = 1.0 * GB
"""Of a card's memory: what CUDA, its libraries and torch's allocator hold beside tensors."""
PACKED = (4 + 8 / 64 + 32 / 64 / 256) / 8
"""Bytes a weight in 4 bits: itself, and scales of blocks of 64 in 8 bits with a scale of their own for 256 (2305.14314, section 3)."""


@dataclass(frozen=True)
class Load:
    """The largest batches of a training: of one backward pass (`rows` x `width` tokens, `labels` of them scored) and of one
    decoding (`decoded` rows of `context` tokens, `new` of them answers to `prompts` questions)."""

    rows: int
    width: int
    labels: int
    narrow: tuple[int, int] = (0, 0)
    """Rows and width of the largest batch of rows too short to be attended in tiles."""
    decoded: int = 0
    context: int = 0
    new: int = 0
    prompts: int = 1
    reference: bool = False


def parts(shape: Shape, settings: Any, machine: Machine, load: Load, element: int) -> dict[str, float]:
    """Bytes by part; `element` is the size of the compute type. What is used at different times is not summed by `peak`."""
    trained = shape.trained
    packed = shape.packed if settings.quantize else 0
    frozen = shape.parameters - packed if shape.lora else shape.towers
    shards = machine.processes if machine.sharded else 1
    copies = element if element < 4 else 0
    if machine.tuned:
        weights: float = 4 * (trained + frozen) + copies * (trained + frozen) + PACKED * packed
        gradients: float = 4 * trained + copies * trained
    else:
        base = 2 if machine.cuda and shape.lora else 4
        cast = copies if base == 4 else 0  # autocast's copies of the weights, kept for the backward pass
        weights = (4 * trained + base * frozen) / shards + PACKED * packed
        weights += cast * min(shape.parameters, 2 * shape.largest_layer if shards > 1 else shape.parameters)
        weights += 4 * 2 * shape.largest_layer if shards > 1 else 0
        buckets = 4 * trained if machine.processes > 1 and shards == 1 else 0
        gradients = 4 * trained / shards + buckets
    moments = 2 if settings.optimizer == "adamw_8bit" else 8
    return {
        "weights": weights,
        "reference": element * shape.parameters if load.reference and not shape.lora else 0,
        "gradients": gradients,
        "optimiser": moments * trained / shards,
        "activations": _activations(shape, machine, load, element, machine.checkpoints_activations(settings)),
        "logits": _logits(shape, load, element, machine),
        "kv_cache": load.decoded * load.context * 2 * shape.layers * shape.key * element,
        "decoding": 26 * min(load.decoded, 4096) * shape.vocabulary if load.decoded else 0,
    }


def peak(bytes_of: dict[str, float], runtime: float) -> float:
    """What is held all the time, and the larger of a backward pass and a decoding (which has no gradients yet)."""
    always = runtime + bytes_of["weights"] + bytes_of["reference"] + bytes_of["optimiser"]
    backward = bytes_of["gradients"] + bytes_of["activations"] + bytes_of["logits"]
    return always + max(backward, bytes_of["kv_cache"] + bytes_of["decoding"])


def beside_cards(shape: Shape, settings: Any, machine: Machine, here: int) -> dict[str, float]:
    """At most these bytes of the memory of a machine whose cards compute, `here` processes on it: while each of them reads the whole
    model, before its card takes it or its share of it; and where shares are gathered in float32 for a checkpoint, which process 0
    holds whole. A base in 4 bits is read onto the card."""
    frozen = shape.parameters if shape.lora else shape.towers
    base = 2 if shape.lora else 4
    loading = 0.0 if settings.quantize else here * (4.0 * (shape.parameters - frozen) + base * frozen)
    gathering = 12.0 * shape.trained + base * frozen if machine.sharded and machine.processes > 1 else 0.0
    return {"loading": loading, "gathering": gathering}


def _activations(shape: Shape, machine: Machine, load: Load, element: int, checkpointed: bool) -> float:
    tiled = shape.tiles and machine.tuned and not load.decoded and load.width >= WIDE
    narrow = _kept(shape, machine, *load.narrow, element, checkpointed, False) if tiled else 0.0
    return max(narrow, _kept(shape, machine, load.rows, load.width, element, checkpointed, tiled))


def _kept(
    shape: Shape, machine: Machine, rows: int, width: int, element: int, checkpointed: bool, tiled: bool
) -> float:
    tokens = rows * width
    norms = 2 * (4 + 4 if element == 4 else 4 + element) * shape.hidden
    inputs = 2 * element * shape.hidden
    attention = 4 * element * shape.query
    if not machine.cuda and not tiled:  # eager attention keeps every score: float32 after the softmax, and cast
        attention += (4 + (element if element < 4 else 0)) * shape.heads * width
    if shape.lora:
        inputs *= 2  # the dropout-free input of A is the linear's own; its product with A and the sum are kept besides
    gated = 4 * element * shape.intermediate
    layer = tokens * (norms + inputs + attention + gated)
    if checkpointed:
        return shape.layers * tokens * shape.hidden * element + layer
    return shape.layers * layer


def _logits(shape: Shape, load: Load, element: int, machine: Machine) -> float:
    """The slopes that the tuned step keeps for the backward pass; TRL's fused head keeps a tile of scores."""
    if machine.tuned:
        return load.labels * shape.vocabulary * element + 3 * 128 * shape.vocabulary * 4
    return load.rows * load.width * min(shape.vocabulary, 32768) * 4
