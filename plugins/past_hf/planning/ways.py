"""What would make a training fit that does not: settings to type, each planned for as if it had been typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from pastcli.errors import PastError

from .work import Settings

PROCESSES = (2, 4, 8, 16, 32, 64, 128, 256)
RANK = 16
"""Of a LoRA that is proposed where full training was planned."""

Changes = dict[str, Any]
Sized = Callable[[Settings], float]
"""The peak in bytes under these settings; raises what planning for them would."""


def ways(settings: Settings, small: int, cuda: bool, peak: Sized, room: float) -> list[dict[str, Any]]:
    """Changes by which the peak is at most `room`, with the peak of each: of every family the mildest that is enough.

    `small` are fewer batch tokens than planned for until now; 0 where a row has as many. What no training would take is no way,
    nor is one that changes more than another does.
    """
    found: list[dict[str, Any]] = []
    enough: list[Changes] = []
    for family in _families(settings, {"batch_tokens": small} if small else {}, settings.method == "lora", cuda):
        for changes in family:
            if not changes or any(other.items() <= changes.items() for other in enough):
                break
            try:
                need = peak(dataclasses.replace(settings, **changes))
            except PastError:
                continue
            if need <= room:
                enough.append(changes)
                found.append({"with": typed(changes), "peak_gb": round(need / 1e9, 1)})
                break
    return found


def _families(settings: Settings, small: Changes, lora: bool, cuda: bool) -> Iterator[list[Changes]]:
    again: Changes = {} if settings.gradient_checkpointing == "on" else {"gradient_checkpointing": "on"}
    eight: Changes = {"optimizer": "adamw_8bit"} if cuda and not lora else {}
    least = small | again | eight
    yield [small]
    if again:
        yield [again]
    if eight:
        yield [eight]
    yield [small | again, least]  # together, where none of them is enough
    if lora and not settings.quantize:
        four = {"quantize": "4bit"}
        yield [four, four | again, four | small, four | small | again]
    if not lora:
        adapter = {"method": "lora", "rank": RANK}
        packed = adapter | {"quantize": "4bit"}
        yield [adapter, adapter | again, adapter | small, adapter | small | again]
        yield [packed, packed | again, packed | small, packed | small | again]
    if not cuda:
        return
    kinds: list[Changes] = [{}, small | again] if lora else [{}, least, {"method": "lora", "rank": RANK}]
    for more in kinds:
        yield [{"processes": n, "sharding": "full", **more} for n in PROCESSES if n > settings.processes]


def typed(changes: Changes) -> str:
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changes.items())
