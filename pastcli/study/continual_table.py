"""The table of continual adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .sentences import gain


def table(document: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]], str]:
    """(columns, rows, caption) of all sequences."""
    summary = document["summary"]
    rows = []
    for name, steps in summary["continual"].items():
        for step in steps:
            score, effect = summary["scores"][step["label"]], summary["effects"].get(step["label"])
            kept = score.get("retained")
            left = "learnt here"
            if step["about"] != step["after"] or (
                effect and "after" in effect["against"][0] and effect["against"][0] != step["label"]
            ):
                left = gain(effect["metrics"]["f1"]) if effect else "-"
            rows.append(
                [
                    name,
                    step["after"],
                    step["about"],
                    f"{score['f1']['mean']:.3f}",
                    left,
                    f"{kept['perplexity_ratio'] - 1:+.1%}" if kept else "-",
                    *_angles(step["drift"]),
                    ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in step["seconds"].items()) or "-",
                ]
            )
    rl = document["seconds"].get("rl")
    caption = (
        "`F1 against`: minus the arm it is compared with at the same step, or minus the same questions right after they were learnt. "
        "cos: of the skill with everything changed since the base, and with this step's own change, before the skill is added "
        "(± its standard deviation by chance). Seconds of the update itself"
        + (f"; one RL run took {rl:.0f} here, and the skill needs one in all." if rl else ".")
    )
    columns = (
        "sequence",
        "after",
        "asked about",
        "F1",
        "F1 against",
        "perplexity",
        "cos(v, drift)",
        "cos(v, step)",
        "seconds",
    )
    return columns, rows, caption


def _angles(drift: Mapping[str, Any]) -> list[str]:
    if not drift:
        return ["-", "-"]
    both = []
    for figure in ("cosine", "step_cosine"):
        cells = [
            f"{one[figure]['mean']:+.4f}"
            + (f" ± {one['chance']:.4f}" if figure == "cosine" and "chance" in one else "")
            for one in drift.values()
            if figure in one
        ]
        both.append("; ".join(cells) or "-")
    return both
