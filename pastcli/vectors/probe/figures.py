"""A probe as figures: heat maps of layers and modules, and cosines over depth with their null."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...drawing import blank
from . import geometry_figures
from .cosines import PAIRS, Probe, cosine
from .places import layer_of, short
from .report import grid

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
"""Told apart by the colour-blind, and in print (Okabe and Ito 2008)."""


def figures(probe: Probe, folder: Path) -> list[Path]:
    """PNG files: the heat map of each pair, and cosines over depth with the null."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for pair in probe.pairs():
        layers, kinds, values = grid(probe, pair)
        if not layers:
            continue
        figure = blank(2 + 0.75 * len(kinds), 2.5 + 0.22 * len(layers))
        axes = figure.subplots()
        limit = max(float(np.nan_to_num(np.abs(values)).max()), 1e-12)
        image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axes.set(xlabel="module", ylabel="layer", title=f"cosine of {PAIRS[pair][2]}")
        axes.set_xticks(range(len(kinds)), map(short, kinds), rotation=45, ha="right")
        axes.set_yticks(range(0, len(layers), max(1, len(layers) // 16)))
        figure.colorbar(image, ax=axes)
        made.append(folder / f"heatmap_{pair}.png")
        figure.savefig(made[-1], dpi=200)
    made.append(_depth_figure(probe, folder / "cosine_by_layer.png"))
    return made + (geometry_figures.figures(probe.geometry, folder) if probe.geometry is not None else [])


def _depth_figure(probe: Probe, path: Path) -> Path:
    """Cosine of every pair over the layers; bars are three standard deviations of chance, by whole rows."""
    figure = blank(6.5, 3.6)
    axes = figure.subplots()
    rows = {int(key): row for key, row in probe.group(layer_of).items() if key.isdigit()}
    for number, (pair, index) in enumerate(probe.pairs().items()):
        found = {layer: one for layer, row in sorted(rows.items()) if (one := cosine(row, index))}
        shift = 0.12 * (number - (len(probe.pairs()) - 1) / 2)
        axes.errorbar(
            [layer + shift for layer in found],
            [one.cosine for one in found.values()],
            [3 * one.chance_rows for one in found.values()],
            fmt="o-",
            markersize=3,
            linewidth=1,
            capsize=2,
            color=COLOURS[number],
            label=PAIRS[pair][2],
        )
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlabel="layer", ylabel="cosine", title="bars: ±3 standard deviations under random signs of rows")
    axes.title.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=200)
    return path
