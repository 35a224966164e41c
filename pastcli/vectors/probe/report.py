"""What a probe says: as JSON, as a heat map in the terminal, and in one careful sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .cosines import PAIRS, Cosine, Probe, cosine, random_direction, shuffled
from .places import kind_of, layer_of, short

NOISY = 0.99
"""Estimated cosine of a stored difference to the true one below which the verdict speaks of it."""


def to_dict(probe: Probe) -> dict[str, Any]:
    """Everything measured, in plain types."""
    whole = probe.whole()
    document: dict[str, Any] = {
        "verdict": verdict(probe),
        "warnings": probe.warnings,
        "noise": {name: vars(noise) for name, noise in probe.noise.items()},
        "norms": {name: math.sqrt(whole.gram[i, i]) for i, name in enumerate(probe.changes)},
        "global": {name: _dict(cosine(whole, pair)) for name, pair in probe.pairs().items()},
        "controls": {"shuffled": _dict(shuffled(whole, (0, 1))), "random": _dict(random_direction(whole))},
        "spread": {name: _spread(probe, pair) for name, pair in probe.pairs().items()},
    }
    for label, rows in (("layers", probe.group(layer_of)), ("kinds", probe.group(kind_of)), ("tensors", probe.rows)):
        document[label] = {
            key: {name: _dict(cosine(row, pair)) for name, pair in probe.pairs().items()} for key, row in rows.items()
        }
    if probe.subspaces:
        from . import subspaces

        document["subspaces"] = {
            **subspaces.summary(probe.subspaces),
            "matrices": {k: vars(v) for k, v in probe.subspaces.items()},
        }
    if probe.interference:
        from . import interference

        document["interference"] = {
            **interference.summary(probe.interference),
            "by_layer": {k: vars(v) for k, v in probe.interference.items()},
        }
    if probe.geometry is not None:
        from . import geometry_report

        document["geometry"] = geometry_report.to_dict(probe.geometry)
    return document


def _dict(value: Cosine | None) -> dict[str, float] | None:
    return None if value is None else value.to_dict()


def _spread(probe: Probe, pair: tuple[int, int]) -> dict[str, float]:
    """Mean over layers, with its standard error: the layers stand in for repetitions."""
    values = [c.cosine for key, row in probe.group(layer_of).items() if key.isdigit() and (c := cosine(row, pair))]
    if not values:
        return {}
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    return {
        "layers": len(values),
        "mean": float(np.mean(values)),
        "standard_error": error,
        "min": min(values),
        "max": max(values),
    }


def verdict(probe: Probe) -> str:
    """One sentence that claims no more than the numbers carry."""
    whole, pairs = probe.whole(), probe.pairs()
    main = cosine(whole, pairs["sft_rl"])
    if main is None:
        return "One of the two changes is zero: there is nothing to compare."
    size = (
        "not distinguishable from chance"
        if abs(main.careful_z) < 3
        else ("small but not chance" if abs(main.cosine) < 0.1 else "not small" if abs(main.cosine) < 0.3 else "large")
    )
    text = (
        f"The SFT and RL changes have cosine {main.cosine:+.4f} over {main.n:,} weights ({size}: random signs give "
        f"±{main.chance:.1e}, z = {main.z:+.1f}; random signs of whole rows ±{main.chance_rows:.1e}, z = "
        f"{main.z_rows:+.1f}), so {main.cosine**2:.2%} of the RL change lies along the SFT change"
    )
    spread = _spread(probe, pairs["sft_rl"])
    if spread:
        text += (
            f"; layer by layer it is {spread['mean']:+.4f} on average (standard error {spread['standard_error']:.4f})"
        )
    if "target_rl" in pairs and (target := cosine(whole, pairs["target_rl"])):
        text += f"; with the target's own SFT change it is {target.cosine:+.4f}"
    for name in ("sft_target", "sft_sft2"):
        if name in pairs and (control := cosine(whole, pairs[name])):
            text += f"; two SFT changes, for comparison, have {control.cosine:+.4f}"
            break
    if probe.noise and min(noise.cosine for noise in probe.noise.values()) < NOISY:
        text += (
            "; rounding of the stored weights has changed these cosines: it makes all of them smaller, and pushes that of "
            "SFT and RL towards -0.5, because the rounding of the SFT model stands in both changes"
        )
    if not probe.interference:
        return text + ". This is about weights, not yet about outputs on real inputs (--activations)."
    from . import interference

    real = interference.summary(probe.interference)
    return (
        text + f". On real inputs, their mean taken out, the two changes of a layer's output have cosine "
        f"{real['mean']:+.4f} on average (chance ±{real['chance']:.1e}), at most {real['largest']:+.4f}."
    )


def table(probe: Probe) -> list[tuple[Any, ...]]:
    """Rows of the summary: pair, cosine, chance and z by entries, by rows; layer mean, standard error."""
    whole, rows = probe.whole(), []
    for name, pair in probe.pairs().items():
        found, spread = cosine(whole, pair), _spread(probe, pair)
        if found is not None:
            rows.append((PAIRS[name][2], *_columns(found), spread.get("mean"), spread.get("standard_error")))
    controls = (
        ("control: RL change shuffled", shuffled(whole, (0, 1))),
        ("control: random signs", random_direction(whole)),
    )
    return rows + [
        (label, *_columns(found)[:3], None, None, None, None) for label, found in controls if found is not None
    ]


TABLE = ("changes", "cosine", "chance", "z", "chance (rows)", "z (rows)", "mean over layers", "standard error")


def _columns(found: Cosine) -> tuple[float, ...]:
    return found.cosine, found.chance, found.z, found.chance_rows, found.z_rows


def grid(probe: Probe, pair: str) -> tuple[list[str], list[str], np.ndarray]:
    """Layers, module kinds, and the cosine of each (NaN where there is none)."""
    index = probe.pairs()[pair]
    cells = probe.group(lambda name: f"{layer_of(name)}\0{kind_of(name)}")
    layers = sorted({key.split("\0")[0] for key in cells if key.split("\0")[0].isdigit()}, key=int)
    kinds = list(dict.fromkeys(key.split("\0")[1] for key in cells if key.split("\0")[0].isdigit()))
    values = np.full((len(layers), len(kinds)), np.nan)
    for key, row in cells.items():
        layer, kind = key.split("\0")
        found = cosine(row, index)
        if layer in layers and found is not None:
            values[layers.index(layer), kinds.index(kind)] = found.cosine
    return layers, kinds, values


def heat_map(probe: Probe, pair: str) -> tuple[str, list[str], list[list[str]], Callable[[str], str]]:
    """A table for `output.table`: title, columns, cells, and a cell's colour; one row a layer, one column a module kind."""
    layers, kinds, values = grid(probe, pair)
    limit = float(np.nanmax(np.abs(values))) if values.size and np.isfinite(values).any() else 1.0
    title = f"cosine of {PAIRS[pair][2]}, by layer and module (full colour: ±{limit:.3f})"
    columns = ["layer", *map(short, kinds)]
    cells = [
        [layer, *("-" if np.isnan(v) else f"{v:+.3f}" for v in row)] for layer, row in zip(layers, values, strict=True)
    ]
    return title, columns, cells, lambda text: _colour(text, limit or 1.0)


def _colour(text: str, limit: float) -> str:
    """Background from white (0) to red (+limit) or blue (-limit); layer numbers, which have no sign, keep none."""
    if text[0] not in "+-":
        return ""
    if text == "-":
        return "dim"
    fade = round(255 * (1 - min(abs(float(text)) / limit, 1.0)))
    return f"black on rgb(255,{fade},{fade})" if text[0] == "+" else f"black on rgb({fade},{fade},255)"
