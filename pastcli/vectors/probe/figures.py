"""A probe as figures: heat maps of layers and modules, and cosines over depth with their null."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ...drawing import blank
from .cosines import PAIRS, Probe, cosine, layer_of
from .report import grid


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
        axes.set_xticks(range(len(kinds)), kinds, rotation=45, ha="right")
        axes.set_yticks(range(0, len(layers), max(1, len(layers) // 16)))
        figure.colorbar(image, ax=axes)
        made.append(folder / f"heatmap_{pair}.png")
        figure.savefig(made[-1], dpi=200)
    made.append(_depth_figure(probe, folder / "cosine_by_layer.png"))
    return made


def _depth_figure(probe: Probe, path: Path) -> Path:
    """Cosine of every pair over the layers; the band is ±3 standard deviations of chance."""
    figure = blank(6, 3.5)
    axes = figure.subplots()
    rows = {key: row for key, row in probe.group(layer_of).items() if key.isdigit()}
    for pair, index in probe.pairs().items():
        points = [(int(key), found.cosine) for key, row in rows.items() if (found := cosine(row, index))]
        axes.plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=3, label=PAIRS[pair][2])
    if rows:
        depth = sorted(map(int, rows))
        band = np.array([3 / math.sqrt(rows[str(layer)].n) for layer in depth])
        axes.fill_between(depth, -band, band, alpha=0.3, color="grey", label="chance (±3 standard deviations)")
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(xlabel="layer", ylabel="cosine")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=200)
    return path
