"""What a skill file says of itself: read with suspicion, since it came with the file, and written.

The metadata entry `past_skill` is JSON: the model the skill was taken from (architecture, shapes, vocabulary, tie
flag), the parents with their hashes, per-tensor forms and norms, how it was trained, and the licence note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...api import Identity, TensorSpec
from ...errors import MismatchError

KEY = "past_skill"
VERSION = 1
ABOUT = ("shapes", "sketch", "parents", "training", "warnings", "licence")
FORMS = ("dense", "low_rank", "sparse")
LARGEST = 1e60
"""Beyond what the norm of any float32 tensor can be; its square is still a float."""


@dataclass(frozen=True)
class Part:
    """How one tensor of a skill is stored. `norm` is the Frobenius norm of the change; `energy` the share of
    the true difference's squared norm that this form keeps (1 unless it was compressed)."""

    spec: TensorSpec
    form: str
    norm: float
    scale: float = 1.0
    rank: int = 0
    nnz: int = 0
    energy: float = 1.0


@dataclass
class About:
    """What a skill file says of itself."""

    identity: Identity
    shapes: dict[str, list[int]]
    sketch: str = ""
    parents: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    licence: str = "The skill derives from its parents' weights: their licences apply."


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_size, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


Check = tuple[Callable[[Any], bool], str]

_IDENTITY: dict[str, Check] = {
    "architecture": (_is_text, "a text"),
    "vocab_size": (_is_size, "a size"),
    "tied": (lambda value: isinstance(value, bool), "true or false"),
    "shapes_sha256": (_is_text, "a text"),
    "tokenizer_sha256": (_is_text, "a text"),
}
_ABOUT: dict[str, Check] = {
    "shapes": (lambda value: _is_object(value) and all(map(_is_shape, value.values())), "names with their shapes"),
    "sketch": (_is_text, "a text"),
    "parents": (lambda value: _is_object(value) and all(map(_is_object, value.values())), "an object of objects"),
    "training": (_is_object, "an object"),
    "warnings": (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
    "licence": (_is_text, "a text"),
}
_PART: dict[str, Check] = {
    "shape": (_is_shape, "a list of sizes"),
    "form": (lambda value: value in FORMS, f"one of {', '.join(FORMS)}"),
    "norm": (lambda value: _is_number(value) and value >= 0, "a finite number from 0 on"),
    "scale": (_is_number, "a finite number"),
    "rank": (_is_size, "a size"),
    "nnz": (_is_size, "a size"),
    "energy": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
}
_PART_DEFAULTS = {"scale": 1.0, "rank": 0, "nnz": 0, "energy": 1.0}


def parse(text: str, path: Path) -> tuple[About, dict[str, Part]]:
    """The description in `text`, of the file `path`. Raises `MismatchError`, saying what is wrong, unless all of it is
    of the types and within the bounds that `write` keeps to."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, str(error)[:100]) from None
    if not isinstance(table, dict):
        raise _corrupt(path, "not a JSON object")
    version = table.pop("version", None)
    if version != VERSION:
        raise MismatchError(
            f"{path} is a skill of format {str(version)[:20]}; this `past` reads format {VERSION}", "update `past`"
        )
    identity, tensors = table.pop("identity", None), table.pop("tensors", None)
    for name, value in (("identity", identity), ("tensors", tensors)):
        if not isinstance(value, dict):
            raise _corrupt(path, f"{name} is not an object")
    about = About(Identity(**_checked(path, "identity", identity, _IDENTITY)), **_checked(path, "", table, _ABOUT))
    parts = {}
    for name, entry in tensors.items():
        values = _checked(path, name, {**_PART_DEFAULTS, **entry} if isinstance(entry, dict) else entry, _PART)
        parts[name] = Part(TensorSpec(name, tuple(values.pop("shape")), "F32"), **values)
        if about.shapes.get(name) != list(parts[name].spec.shape):
            raise _corrupt(path, f"the shape of tensor {name} is not that of its model")
    return about, parts


def _checked(path: Path, where: str, values: Any, checks: Mapping[str, Check]) -> dict[str, Any]:
    """`values` as they are, if they are an object of exactly the fields of `checks` and each passes its own."""
    label = f"{where}: " if where else ""
    if not isinstance(values, dict) or values.keys() != checks.keys():
        raise _corrupt(path, f"{label}expected the fields {', '.join(checks)}")
    for name, (passes, wanted) in checks.items():
        if not passes(values[name]):
            raise _corrupt(path, f"{label}{name} is not {wanted}, but {str(values[name])[:40]!r}")
    return dict(values)


def _corrupt(path: Path, why: str) -> MismatchError:
    return MismatchError(f"{path}: the skill's own description is corrupt: {why}")


def write(about: About, parts: Mapping[str, Part]) -> str:
    """The description as JSON; see `parse`."""
    tensors = {}
    for name, part in parts.items():
        entry: dict[str, Any] = {"shape": list(part.spec.shape), "form": part.form, "norm": part.norm}
        for key, plain in _PART_DEFAULTS.items():
            if getattr(part, key) != plain:
                entry[key] = getattr(part, key)
        tensors[name] = entry
    described = {key: getattr(about, key) for key in ABOUT}
    table = {"version": VERSION, "identity": vars(about.identity), **described, "tensors": tensors}
    return json.dumps(table, separators=(",", ":"), default=str)
