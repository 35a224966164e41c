"""The comparison as a figure: one row a model, one panel a metric, a dot with its interval."""

from __future__ import annotations

from pathlib import Path

from ..drawing import blank
from ..words import counted
from .comparison import Comparison

SUFFIXES = (".png", ".pdf", ".svg")

TITLES = {"exact": "exact match", "contains": "contains the answer", "f1": "token F1", "judge": "right to the judge"}


def plot(comparison: Comparison, path: Path, confidence: float) -> None:
    """Write a PNG, PDF or SVG (the suffix of `path` decides) with a dashed line at the reference."""
    labels = list(comparison.scores)
    metrics = list(comparison.scores[labels[0]])
    figure = blank(9, 1.3 + 0.42 * len(labels))
    for axes, metric in zip(figure.subplots(1, len(metrics), sharey=True), metrics, strict=True):
        for row, label in enumerate(labels):
            mean, low, high = comparison.scores[label][metric]
            colour = "tab:grey" if label == comparison.reference else "tab:blue"
            axes.plot([low, high], [row, row], color=colour, linewidth=2)
            axes.plot(mean, row, "o", color=colour, markersize=6, clip_on=False)
        if comparison.reference is not None:
            mark = comparison.scores[comparison.reference][metric].mean
            axes.axvline(mark, color="tab:grey", linestyle="--", linewidth=0.8)
        axes.set_title(TITLES[metric], fontsize=10)
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(labels)), labels)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    figure.supxlabel(
        f"{counted(comparison.questions, 'questions')}, {confidence:.0%} intervals over {comparison.units}", fontsize=9
    )
    figure.savefig(path, dpi=150)
