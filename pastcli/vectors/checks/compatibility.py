"""Whether two artefacts may be added: architecture, tensors, vocabulary, tying, and the very base they grew from."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...api import CarriesOthers, Checkpoint, Identity, TensorSpec
from ...errors import MismatchError
from . import usage
from .towers import refuse_change, towers, without
from .vocabulary import common, resized

if TYPE_CHECKING:
    from ..files.skill import Skill

SKETCH_TENSORS, SKETCH_VALUES = 16, 128
SAME_BASE = 0.5
"""Sketch cosine from which two models count as grown from one base. Fine-tuning leaves it above 0.9; weights
trained apart have about 0."""

SAME = "both must come from the same base model, tokenizer included"


def same_layout(one: Checkpoint, other: Checkpoint) -> None:
    """Raise `MismatchError`, naming the first tensor that differs, unless both have the same tensors and vocabulary."""
    _identities(str(one.path), one.identity(), str(other.path), other.identity())
    _tensors(str(one.path), _shapes(one.specs()), str(other.path), _shapes(other.specs()))
    if isinstance(one, CarriesOthers) and isinstance(other, CarriesOthers):
        a, b = one.others(), other.others()
        name = next((name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)), None)
        if name is not None:
            raise MismatchError(
                f"{one.path} and {other.path} differ in {name}, which holds no floats: no skill can carry that"
            )


def skill_fits(skill: Skill, target: Checkpoint) -> list[str]:
    """Raise `MismatchError` unless `skill` can be added to `target`; gives what the user should know of how it fits."""
    about = skill.about
    if not towers(target.specs()):
        refuse_change(str(skill.path), skill.specs(), str(target.path))
    notes = description_fits(str(skill.path), about.identity, about.shapes, about.sketch, target)
    parent = about.parents.get("sft", {})
    kept = parent.get(usage.KEY)
    if parent and not isinstance(kept, dict) and usage.of(target):
        notes.append(
            f"{skill.path} is of an earlier version and does not say how its model uses the weights (rotary embeddings, heads, norms): "
            "whether the target does alike is not known; extract it again"
        )
    ours = kept if isinstance(kept, dict) else {}
    return notes + usage.differing("the model that the skill was taken from", ours, "the target", usage.of(target))


def description_fits(
    path: str, identity: Identity, shapes: Mapping[str, Sequence[int]], sketch: str, target: Checkpoint
) -> list[str]:
    """Raise `MismatchError` unless a skill taken from a model so described can be added to `target`; gives what the user should
    know: embeddings may have other numbers of rows, as long as the common ones mean the same tokens; and one may have towers that
    the other, its language model alone, has not.
    """
    ours, theirs = {name: tuple(shape) for name, shape in shapes.items()}, _shapes(target.specs())
    beside = towers(ours), towers(theirs)
    alone = bool(beside[0]) != bool(beside[1])
    if alone:
        identity = replace(identity, architecture="")
        ours, theirs = without(beside[0], ours), without(beside[1], theirs)
    names = resized(ours, theirs)
    found = target.identity()
    rows = (ours[names[0]][0], theirs[names[0]][0]) if names else (0, 0)
    vocab = found.vocab_size if names else identity.vocab_size
    alike = replace(identity, vocab_size=vocab, tokenizer_sha256=found.tokenizer_sha256)
    _identities(path, alike, str(target.path), found)
    _tensors(path, ours | {name: theirs[name] for name in names}, str(target.path), theirs)
    notes = common(path, identity, names, rows, target) + _told(path, target, beside)
    cosine = sketch_cosine(sketch, target)
    if cosine < SAME_BASE:
        raise MismatchError(
            f"{path} was taken from a model of another base than {target.path}: "
            f"same shapes, but the weights have cosine {cosine:.2f} (models of one base: above 0.9)",
            "inject it into an SFT model of the base it came from (`past inspect` shows its parents)",
        )
    return notes


def grown(sft: str, rl: Checkpoint) -> list[str]:
    """What to tell where `rl` did not grow from the model of which `sft` is the sketch; [] if it may have."""
    cosine = sketch_cosine(sft, rl)
    if cosine >= SAME_BASE:
        return []
    return [
        f"the RL model did not grow from the SFT model: their weights have cosine {cosine:.2f} (models of one base: above 0.9), and "
        "their difference is no skill"
    ]


def _told(path: str, target: Checkpoint, beside: tuple[Set[str], Set[str]]) -> list[str]:
    """Which of skill and target is of a model with towers, where only one is."""
    if bool(beside[0]) == bool(beside[1]):
        return []
    if beside[0]:
        return [
            f"{path} was taken from a model with towers beside its language model; {target.path} is a language model alone"
        ]
    return [f"{path} was taken from a language model alone; the towers of {target.path} are left as they are"]


def _shapes(specs: Mapping[str, TensorSpec]) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in specs.items()}


SAME_LAYOUT = {"MistralForCausalLM": "LlamaForCausalLM"}
"""Classes with the tensors and the arithmetic of another one; llama.cpp knows them by one name."""


def _family(identity: Identity) -> str:
    return SAME_LAYOUT.get(identity.architecture, identity.architecture)


def _identities(one: str, a: Identity, other: str, b: Identity) -> None:
    if a.architecture and b.architecture and _family(a) != _family(b):
        raise MismatchError(f"different architectures: {one} is {a.architecture}, {other} is {b.architecture}")
    if a.tied != b.tied:
        tied, untied = (one, other) if a.tied else (other, one)
        raise MismatchError(f"{tied} ties lm_head.weight to the embeddings, {untied} has an lm_head.weight of its own")
    if a.vocab_size and b.vocab_size and a.vocab_size != b.vocab_size:
        raise MismatchError(
            f"different vocabularies: {one} has {a.vocab_size} tokens, {other} has {b.vocab_size}", SAME
        )
    if a.tokenizer_sha256 and b.tokenizer_sha256 and a.tokenizer_sha256 != b.tokenizer_sha256:
        raise MismatchError(f"different tokenizers: {one} and {other} give different ids to the same text", SAME)


def _tensors(one: str, a: Mapping[str, tuple[int, ...]], other: str, b: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in a.items():
        if name not in b:
            raise MismatchError(f"{other} has no tensor {name}, which {one} has", SAME)
        if b[name] != shape:
            raise MismatchError(f"tensor {name} has shape {list(shape)} in {one}, but {list(b[name])} in {other}", SAME)
    for name in b:
        if name not in a:
            raise MismatchError(f"{one} has no tensor {name}, which {other} has", SAME)


def _sampled(specs: Mapping[str, TensorSpec]) -> list[TensorSpec]:
    """Up to 16 matrices, evenly spread over the model, in an order that does not depend on the file."""
    language = sorted(without(towers(specs), specs))  # the same places with and without towers
    matrices = [specs[name] for name in language if len(specs[name].shape) == 2 and specs[name].numel]
    count = min(SKETCH_TENSORS, len(matrices))
    return [matrices[index * len(matrices) // count] for index in range(count)]


def _rows(checkpoint: Checkpoint) -> np.ndarray:
    """The beginning of the middle row of each sampled matrix, each scaled to norm 1, one after another."""
    pieces = []
    for spec in _sampled(checkpoint.specs()):
        start = spec.shape[0] // 2 * spec.columns
        row = checkpoint.read(spec.name, start, start + spec.columns)[:SKETCH_VALUES]
        norm = float(np.linalg.norm(row))
        pieces.append(row / norm if 0.0 < norm < np.inf else np.zeros_like(row))
    return np.concatenate(pieces or [np.zeros(0, np.float32)])


def sketch(checkpoint: Checkpoint) -> str:
    """About 2,000 weights of a model as text: enough to tell whether another one grew from the same base."""
    return base64.b64encode(_rows(checkpoint).astype("<f4").tobytes()).decode("ascii")


def sketch_cosine(text: str, checkpoint: Checkpoint) -> float:
    """Cosine between a sketch and the same places of another model; 1 when there is nothing to compare."""
    try:
        kept = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except ValueError:
        raise MismatchError("the skill's sketch of its model is corrupt") from None
    rows = _rows(checkpoint)
    norm = float(np.linalg.norm(kept) * np.linalg.norm(rows))
    if kept.shape != rows.shape or norm == 0.0:
        return 1.0
    return float(np.dot(kept.astype(np.float64), rows.astype(np.float64))) / norm
