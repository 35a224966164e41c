"""The geometry of the updates as figures: over depth and over module kinds, each measure beside its chance level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...drawing import blank
from .geometry import Geometry
from .geometry_report import MEASURES, UPDATES, to_dict
from .places import short

COLOURS = {"sft": "#0072b2", "rl": "#d55e00", "target_sft": "#56b4e9", "sft_skill": "#009e73"}
"""Told apart by the colour-blind, and in print (Okabe and Ito 2008)."""

MARKERS = {"sft": "o", "rl": "s", "target_sft": "^", "sft_skill": "D"}
"""SFT and SFT + skill often lie on each other: the latter is drawn first, hollow and larger."""

LOGARITHMIC = ("relative_norm", "spectral_shift", "rotation_left", "rotation_right")


def figures(geometry: Geometry, folder: Path) -> list[Path]:
    """`geometry_by_layer.png` and `geometry_by_module.png`."""
    document = to_dict(geometry)
    layers = {key: one for key, one in sorted(document["layers"].items(), key=_depth) if key.isdigit()}
    made = []
    for name, groups, label in (("layer", layers, "layer"), ("module", document["kinds"], "")):
        if groups:
            made.append(folder / f"geometry_by_{name}.png")
            _draw(groups, label, made[-1])
    return made


def _depth(item: tuple[str, Any]) -> int:
    return int(item[0]) if item[0].isdigit() else -1


def _draw(groups: dict[str, Any], label: str, path: Path) -> None:
    """One small panel a measure; chance is dashed in the update's colour. Groups without a measure are left out of it."""
    figure = blank(10.5, 5.2 if label else 6.4)
    panels = [*MEASURES, "sign_conflict", "norm_ratio"]
    titles = MEASURES | {"sign_conflict": "sign conflict of SFT and RL", "norm_ratio": "|SFT| / |RL|"}
    grid = figure.subplots(2, 4).reshape(-1)
    for axes, measure in zip(grid, panels, strict=True):
        axes.set_title(titles[measure], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(which="both", labelsize=6.5)
        _panel(axes, groups, measure, bool(label))
        axes.set_xlabel(label, fontsize=8)
        if measure in LOGARITHMIC and any(line.get_ydata().min() > 0 for line in axes.lines if len(line.get_ydata())):
            axes.set_yscale("log")
    handles = [line for line in reversed(grid[0].lines) if not line.get_label().startswith("_")]
    chance = grid[1].plot([], [], "--", color="grey", linewidth=1)
    names = [line.get_label() for line in handles]
    figure.legend(
        [*handles, *chance], [*names, "by chance"], loc="outside lower center", ncols=5, fontsize=8, frameon=False
    )
    figure.savefig(path, dpi=200)


def _panel(axes: Any, groups: dict[str, Any], measure: str, depth: bool) -> None:
    between = measure in ("sign_conflict", "norm_ratio")
    updates = {"sft_and_rl": "#333333"} if between else COLOURS
    present = [key for key, one in groups.items() if any(one.get(u, {}).get(measure) is not None for u in updates)]
    places = [int(key) if depth else number for number, key in enumerate(present)]
    for update, colour in reversed(updates.items()):
        hollow = {"markerfacecolor": "none", "markersize": 5.5} if update == "sft_skill" else {"markersize": 3}
        for suffix in ("", "_chance"):
            values = [groups[key].get(update, {}).get(measure + suffix) for key in present]
            points = [(x, y) for x, y in zip(places, values, strict=True) if y is not None]
            style: dict[str, Any] = (
                {"linestyle": "--" if suffix else "-", "linewidth": 0.9} if depth else {"linestyle": "none"}
            )
            style |= (
                {"marker": "" if depth else "_", "markersize": 9}
                if suffix
                else {"marker": MARKERS.get(update, "o"), **hollow}
            )
            if points:
                axes.plot(*zip(*points), color=colour, label="_" if suffix else UPDATES.get(update, "_"), **style)
    if not depth:
        axes.set_xticks(places, [short(kind) for kind in present], rotation=60, ha="right", fontsize=6.5)
