"""The geometry of the updates in plain types: whole model, layers, module kinds, tensors; and a table for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .geometry import Geometry
from .places import grouped, kind_of, layer_of

UPDATES = {"sft": "SFT", "rl": "RL", "target_sft": "target's SFT", "sft_skill": "SFT + skill"}
"""Updates in words, in the order they are shown."""

MEASURES = {
    "relative_norm": "|D| / |W|",
    "sparsity": "unchanged in bfloat16",
    "principal_overlap": "principal entries that change",
    "spectral_shift": "spectral shift",
    "rotation_left": "rotation, left (rms sine)",
    "rotation_right": "rotation, right (rms sine)",
}
"""Measures of one update, in words; all but the first have a chance level."""


def to_dict(geometry: Geometry) -> dict[str, Any]:
    """Every number, by level and update; `sft_and_rl` is what the two have in common."""
    levels: dict[str, Callable[[str], str]] = {"layers": layer_of, "kinds": kind_of, "tensors": lambda name: name}
    document: dict[str, Any] = {"rank": geometry.rank, "whole": _level(geometry, lambda name: "whole")["whole"]}
    return document | {label: _level(geometry, key) for label, key in levels.items()}


def _level(geometry: Geometry, key: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    updates = {label: grouped(rows, key) for label, rows in geometry.updates.items()}
    meetings = grouped(geometry.meetings, key)
    return {
        group: {label: rows[group].to_dict() for label, rows in updates.items()} | {"sft_and_rl": meeting.to_dict()}
        for group, meeting in meetings.items()
    }


def table(geometry: Geometry) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows for the whole model: each measure, and its chance beside it, for every update."""
    whole = to_dict(geometry)["whole"]
    shown = [label for label in UPDATES if label in whole]
    columns = ("measure", *(text for label in shown for text in (UPDATES[label], "by chance")))
    rows: list[tuple[Any, ...]] = []
    for measure, words in MEASURES.items():
        cells = [whole[label].get(key) for label in shown for key in (measure, f"{measure}_chance")]
        rows.append((words, *cells))
    return columns, rows


def sentence(geometry: Geometry) -> str:
    """What SFT and RL have in common, and whether RL keeps off the principal entries, in a few words."""
    whole = to_dict(geometry)["whole"]
    both, rl = whole["sft_and_rl"], whole["rl"]
    if both["sign_conflict"] is None or both["norm_ratio"] is None:
        return "SFT and RL change no entry in common."
    text = (
        f"SFT moves the weights {both['norm_ratio']:.1f} times as far as RL; of the {both['both_change']:,} entries that both "
        f"change, {both['sign_conflict']:.1%} go opposite ways (by chance {both['sign_conflict_chance']:.1%})."
    )
    if rl["principal_overlap"] is None:
        return text
    return text + (
        f" RL changes {rl['principal_overlap']:.1%} of the principal entries, {rl['principal_overlap_chance']:.1%} of all; the "
        f"same change on other entries would reach {rl['principal_overlap_elsewhere']:.1%} of them."
    )
