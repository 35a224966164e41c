"""A multiplier for every tensor: by module, by layer, or growing linearly with depth.

Rules read `PATTERN=FACTOR`. A pattern is a run of name parts, each a shell pattern or a range of numbers:
`q_proj=0.5`, `mlp=0`, `layers.0-9=0`, `layers.20-29.*_proj=1.2`. The last rule that matches a tensor wins.
The depth scale FIRST:LAST is LiNeS (Wang et al. 2024, 2410.17146): shallow layers, which hold what is general,
are changed less than deep ones. Both multiply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...config import finite
from ...errors import UsageError

_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Rule:
    """One `PATTERN=FACTOR`."""

    text: str
    parts: tuple[str, ...]
    factor: float

    def matches(self, name: str) -> bool:
        """True if the pattern's parts occur in a row among the parts of `name`."""
        have, want = name.split("."), self.parts
        return any(all(map(_part_matches, want, have[i : i + len(want)])) for i in range(len(have) - len(want) + 1))


def _part_matches(pattern: str, part: str) -> bool:
    span = re.fullmatch(r"(\d+)-(\d+)", pattern)
    if span:
        return part.isdigit() and int(span[1]) <= int(part) <= int(span[2])
    return fnmatchcase(part, pattern)


def parse_rules(texts: Sequence[str]) -> list[Rule]:
    """Raises `UsageError` for text that is no rule."""
    rules = []
    for text in texts:
        pattern, _, factor = text.partition("=")
        try:
            rules.append(Rule(text, tuple(pattern.split(".")), finite(factor)))
        except ValueError:
            raise UsageError(
                f"--scales {text!r} is not PATTERN=FACTOR", "for example q_proj=0.5, or layers.0-9=0"
            ) from None
        if not all(rules[-1].parts):
            raise UsageError(f"--scales {text!r} has an empty name part", "for example q_proj=0.5, or layers.0-9=0")
    return rules


def parse_depth(text: str) -> tuple[float, float] | None:
    """FIRST:LAST as two numbers; None for ''."""
    if not text:
        return None
    try:
        first, last = map(finite, text.split(":"))
    except ValueError:
        raise UsageError(f"--depth-scale {text!r} is not FIRST:LAST", "for example 0:1") from None
    return first, last


def multipliers(names: Iterable[str], rules: Sequence[Rule], depth: tuple[float, float] | None) -> dict[str, float]:
    """The multiplier of each tensor. Raises `UsageError` for a rule that matches none of them."""
    names = list(names)
    for rule in rules:
        if not any(rule.matches(name) for name in names):
            raise UsageError(
                f"--scales {rule.text}: no tensor of the skill matches",
                f"a name looks like {names[0]}" if names else None,
            )
    layers = [int(found[1]) for name in names if (found := _LAYER.search(name))]
    deepest = max(layers, default=0)
    factors = {}
    for name in names:
        matching = [rule.factor for rule in rules if rule.matches(name)]
        factors[name] = (matching[-1] if matching else 1.0) * (_at_depth(name, deepest, *depth) if depth else 1.0)
    return factors


def _at_depth(name: str, deepest: int, first: float, last: float) -> float:
    """Linear over the layers; what comes before them gets `first`, what comes after `last`."""
    found = _LAYER.search(name)
    if found is None:
        return first if "embed" in name else last
    return first + (last - first) * (int(found[1]) / deepest if deepest else 1.0)
