"""The plan of a training as one document: what `past sft|rl --dry-run` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from pastcli import environment, output
from pastcli.config import RlConfig
from pastcli.errors import NoArithmeticError
from pastcli.files import read_json

from ..checkpoint import HFCheckpoint
from ..company import Company
from ..composite import read_config
from ..compute import compute_dtype
from ..folder import refuse_quantised
from ..materialize import hf_directory, load_tokenizer, tokenizer_in
from ..training.arguments import Machine
from ..training.checkpoints import KEEP
from ..training.examples import fitting
from ..training.layout import Layout, layout_of
from . import fit, memory, probe
from .memory import GB, Load
from .shape import Shape, shape_of
from .ways import ways
from .work import Settings, Work, measured, sizes


def plan(
    stage: str,
    model: Path,
    rows: Sequence[dict[str, Any]],
    settings: Settings,
    card_gb: float = 0.0,
    probing: bool = True,
    strict: bool = False,
) -> dict[str, Any]:
    """What this training would take on this machine, or with `card_gb` on cards of that many GB.

    `model` needs a config.json and no weights; without either a token is taken for four characters. Raises
    `UsageError` for settings that no training takes, `MismatchError` for a config that is none of a language model.
    """
    folder = hf_directory(model) if model.is_file() else model
    config = _config(folder)
    layout = layout_of(settings)
    machine = Machine(torch.cuda.is_available() or card_gb > 0, layout.processes, settings.sharding == "full")
    shape = shape_of(config, settings)
    dtype = torch.bfloat16 if card_gb and settings.precision != "fp32" else compute_dtype(settings.precision)
    room, tokenizer = _room(machine, layout, card_gb), _tokenizer(folder)
    if isinstance(settings, RlConfig) and tokenizer:
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        rows = fitting(list(rows), tokenizer, context, settings.max_new_tokens, strict)
    rows_are = sizes(rows, tokenizer, settings, strict)
    asked, settings = settings, fit.with_batch_tokens(settings, machine, shape, rows_are, room, dtype)
    work = measured(rows_are, settings, machine)
    need, parts = _need(shape, settings, machine, work.load, dtype)
    found = {
        "parameters": shape.parameters,
        "trained": shape.trained,
        "machine": f"cards of {room / GB:.0f} GB" if machine.cuda else f"processors, {room / GB:.1f} GB free",
        "processes": machine.processes,
        "batch_tokens": settings.batch_tokens,
        "steps": work.steps,
        "tokens": work.tokens,
        "tokens_decoded": work.read,
        "flops": flops(shape, settings, machine, work),
        "memory_gb": {name: round(size / GB, 3) for name, size in parts.items() if size}
        | {"peak": round(need / GB, 3)},
        "fits": need <= room,
        "disk_gb": _disk(shape),
    } | _beside_cards(shape, settings, machine, layout)
    if not found["fits"]:
        shapes = {settings.method: shape}

        def peak(changed: Settings) -> float:
            where = Machine(machine.cuda, layout_of(changed).processes, changed.sharding == "full")
            if changed.method not in shapes:
                shapes[changed.method] = shape_of(config, changed)
            other = shapes[changed.method]
            chosen = fit.with_batch_tokens(changed, where, other, rows_are, room, dtype)
            return _need(other, chosen, where, measured(rows_are, chosen, where).load, dtype)[0]

        used = min(settings.batch_tokens, work.load.rows * work.load.width)
        small = max(work.load.width, used // 4)
        found["would_fit"] = ways(asked, small if small < used else 0, machine.cuda, peak, room)
    if card_gb or not probing:
        return found
    return found | _time(config, shape, settings, machine, work, dtype, room)


def _config(folder: Path) -> Any:
    """The config. Raises `NoArithmeticError` for quantised weights, as the training would; a config alone is planned for as if they
    were not."""
    config = read_config(folder)
    if any(folder.glob("*.safetensors")):
        HFCheckpoint(folder).close()
        return config
    try:
        refuse_quantised(folder, read_json(folder / "config.json"), {})
    except NoArithmeticError as error:
        output.warn(f"{error.message}; planned as for the 16-bit checkpoint, which is what can be trained")
    return config


TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def _tokenizer(folder: Path) -> Any:
    """The tokenizer; None where there are no weights either, and a config.json alone is planned for."""
    weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    if not weights and not any((folder / name).is_file() for name in TOKENIZERS):
        output.note(f"{folder} has no tokenizer: a token is taken for four characters")
        return None
    return load_tokenizer(folder) if weights else tokenizer_in(folder)


def flops(shape: Shape, settings: Settings, machine: Machine, work: Work) -> int:
    """Multiplications and additions, over all processes: 2 for each weight and token forward, 2 for the gradient of what
    it was given, 2 for its own where it is trained (2001.08361, section 2.1), attention by its length."""
    attention = 4 * shape.layers * shape.query * work.load.width / 2  # causal: half of all pairs
    forward = 2 * shape.linear + attention
    backward = forward + (2 * shape.linear + attention if not shape.lora else 4 * shape.lora)
    again = forward if machine.checkpoints_activations(settings) else 0
    return round(work.padded * (forward + backward + again) + work.read * forward)


def _room(machine: Machine, layout: Layout, card_gb: float) -> float:
    """Bytes there are for one process."""
    if card_gb:
        return card_gb * GB
    if machine.cuda:
        return float(torch.cuda.get_device_properties(0).total_memory)
    return environment.memory()[1] / layout.here


def _need(
    shape: Shape, settings: Settings, machine: Machine, load: Load, dtype: torch.dtype
) -> tuple[float, dict[str, float]]:
    runtime = memory.CARD_RUNTIME if machine.cuda else float(psutil.Process().memory_info().rss)
    parts = memory.parts(shape, settings, machine, load, dtype.itemsize)
    return memory.peak(parts, runtime), {"runtime": runtime, **parts}


def _beside_cards(shape: Shape, settings: Settings, machine: Machine, layout: Layout) -> dict[str, Any]:
    """What the memory of each machine must hold where cards compute, in GB; nothing where the processors do."""
    if not machine.cuda:
        return {}
    found = memory.beside_cards(shape, settings, machine, layout.here)
    return {"host_gb": {name: round(size / GB, 1) for name, size in found.items() if size}}


def _disk(shape: Shape) -> dict[str, float]:
    """A checkpoint holds what is trained and AdamW's two moments in float32; one more is there while it is written."""
    trained = shape.trained
    checkpoint, result = 12 * trained, 4 * (shape.lora or shape.parameters)
    whole = (KEEP + 1) * checkpoint + result
    return {
        name: round(size / GB, 6)
        for name, size in zip(("checkpoint", "result", "at_most"), (checkpoint, result, whole))
    }


def _time(config: Any, shape: Shape, settings: Settings, machine: Machine, work: Work, dtype: Any, room: float) -> dict:
    """Seconds by the probe; none where even three layers would not fit, several processes would share the machine, or the
    base is packed, which weights that are made up are not.

    Nobody knows before how long a model's answers are: `seconds` are those of answers as long as they may be, and the least of
    `seconds_between` those of answers that end at once.
    """
    three = (shape.parameters - (shape.layers - 3) * shape.largest_layer) * 20
    if machine.processes > 1 or three > room / 2 or settings.quantize:
        return {"seconds": None}
    company = Company(threads=torch.get_num_threads())
    speed = probe.measure(config, settings, work.load, dtype, machine.attention, company)
    longest = _seconds(speed, speed.decode, work, work.padded, shape.layers)
    shortest = _seconds(speed, speed.first, work, work.padded_least, shape.layers)
    whole = sum(longest.values())
    between = (company.between(sum(shortest.values()))[0], company.between(whole)[1])
    return {
        "seconds": {name: round(value, 1) for name, value in longest.items() if value} | {"all": round(whole, 1)},
        "seconds_between": [round(value, 1) for value in between],
        "others_at_work": round(company.others, 2),
    } | ({"answer_tokens": [1, settings.max_new_tokens]} if isinstance(settings, RlConfig) else {})


def _seconds(speed: probe.Speed, decode: probe.Line, work: Work, tokens: int, layers: int) -> dict[str, float]:
    """Seconds of each part of this work, of which `tokens` are trained on and an answer takes `decode` to be made."""

    def whole(pair: probe.Line) -> float:
        return pair[0] + pair[1] * layers

    return {
        "train": tokens / (work.load.rows * work.load.width) * whole(speed.backward),
        "optimiser": work.steps * whole(speed.update),
        "rollout": work.steps * whole(decode) if work.load.decoded else 0.0,
    }
