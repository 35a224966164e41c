"""The table of `past agent`."""

from __future__ import annotations

from typing import Any

from .. import output


def table(summary: dict[str, Any], caption: str) -> None:
    """The figures, one a row; counts by name are spelled out."""
    rows = []
    for name, value in summary.items():
        if name in ("sopr_low", "sopr_high"):
            continue
        if name == "sopr" and value is not None:
            value = f"{value:.3f} [{summary['sopr_low']:.3f}, {summary['sopr_high']:.3f}]"
        if name == "sopr_at_most" and value == summary["sopr"]:
            continue  # all was graded
        if isinstance(value, list):
            value = "; ".join(value) or "none"
        if isinstance(value, dict):
            value = {key: f"{count:.3f}" if isinstance(count, float) else count for key, count in value.items()}
            value = ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
        rows.append((name.replace("_", " "), value))
    output.table("", ("measure", "value"), rows, caption)
