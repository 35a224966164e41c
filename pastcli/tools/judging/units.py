"""Units by name: what they measure and how they turn into one another; those that a field or an argument is named after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

UNITS: dict[str, tuple[str, float]] = {}
for _kind, _table in {
    "length": {
        "mm": 1e-3,
        "cm": 1e-2,
        "m": 1,
        "metre": 1,
        "meter": 1,
        "km": 1e3,
        "kilometre": 1e3,
        "kilometer": 1e3,
        "mile": 1609.344,
        "mi": 1609.344,
        "ft": 0.3048,
        "feet": 0.3048,
        "foot": 0.3048,
        "inch": 0.0254,
        "inches": 0.0254,
        "yard": 0.9144,
    },
    "mass": {
        "mg": 1e-6,
        "g": 1e-3,
        "gram": 1e-3,
        "kg": 1,
        "kilo": 1,
        "kilogram": 1,
        "lb": 0.45359237,
        "pound": 0.45359237,
        "oz": 0.0283495,
        "ounce": 0.0283495,
        "tonne": 1e3,
    },
    "time": {
        "ms": 1e-3,
        "millisecond": 1e-3,
        "s": 1,
        "sec": 1,
        "second": 1,
        "min": 60,
        "minute": 60,
        "h": 3600,
        "hr": 3600,
        "hour": 3600,
        "day": 86400,
        "week": 604800,
        "month": 2629800,
        "year": 31557600,
    },
    "speed": {"kmh": 1 / 3.6, "kph": 1 / 3.6, "mph": 0.44704, "mps": 1, "knot": 0.514444},
    "energy": {
        "wh": 1,
        "kwh": 1e3,
        "mwh": 1e6,
        "gwh": 1e9,
        "kcal": 1.163,
        "kilocalorie": 1.163,
        "calorie": 1.163,
        "kj": 1 / 3.6,
    },
    "power": {"kw": 1e3, "gw": 1e9},
    "volume": {"ml": 1e-3, "cl": 1e-2, "dl": 0.1, "litre": 1, "liter": 1, "cc": 1e-3, "gallon": 3.785411784},
    "data": {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12},
}.items():
    UNITS |= {name: (_kind, factor) for name, factor in _table.items()}
TEMPERATURES = {"celsius": (1.0, 0.0), "fahrenheit": (5 / 9, -160 / 9)}
"""Degrees as a · x + b degrees Celsius."""
_QUANTITIES = {
    "length": "height width length depth distance radius altitude size elevation".split(),
    "mass": "weight mass".split(),
    "time": "duration time interval timeout period minutes hours seconds".split(),
    "speed": ["speed", "velocity"],
}
DURATIONS = {"w": "week", "d": "day", "h": "hour", "m": "min", "s": "s"}
NEXT = {"w": "d", "d": "h", "h": "m", "m": "s"}
HUNDREDTHS = re.compile(r"\b(?:cents?|pence|pennies|penny|ore|øre|centimes?|groschen|paise|kopeks?|centavos?)\b")
"""Hundredths of a currency's unit, plain."""


def unit_of(word: str) -> str:
    """The unit a word names, as `UNITS` spells it; ''."""
    word = word.replace("km/h", "kmh").replace("/", "")
    if word in UNITS:
        return word
    return word[:-1] if word.endswith("s") and len(word) > 2 and word[:-1] in UNITS else ""


def unit_of_key(key: Sequence[str]) -> str:
    """The unit that a field's name says its value is in: `distance_km`, `minutes`, `protein_g`."""
    warm = any(word.startswith(("temp", "feel")) for word in key)
    named = next((name for name in TEMPERATURES for word in key if word == name or (warm and word == name[0])), "")
    return named or next((unit for word in reversed(key) if (unit := unit_of(word))), "")


def same_units() -> Iterator[tuple[str, str]]:
    """(name or plural of a unit, which one it is): "km" and "kilometres" are one. Letters that are words as well are none."""
    for name, (kind, factor) in UNITS.items():
        if name not in ("m", "g", "s", "h", "min", "second", "pound", "foot"):
            for spelled in (name, f"{name}s") if len(name) > 2 else (name,):
                yield spelled, f"unit:{kind}:{factor:g}"
    for name in TEMPERATURES:
        yield name, f"unit:{name}"
        yield name[0], f"unit:{name}"


def dimension_of(word: str) -> str:
    """The kind of quantity that a word speaks of: "height" is a length; ''."""
    return next((kind for kind, said in _QUANTITIES.items() if word in said), "")


def same_dimension(a: str, b: str) -> bool:
    return a in UNITS and b in UNITS and UNITS[a][0] == UNITS[b][0]
