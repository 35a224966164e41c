"""Models of one base whose embeddings have different numbers of rows: an added pad token, a matrix padded to a round size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeVar

from ...api import Checkpoint, HasCompanions, HasVocabulary, Identity
from ...errors import MismatchError
from ...words import counted
from ..files.opening import Overlay, is_embedding

Shape = tuple[int, ...]
Value = TypeVar("Value")

_HEADS = "lm_head embed_out head lm_loss lm_head.decoder cls.predictions.decoder output_projection generator_lm_head"
HEADS = tuple(f"{name}.weight" for name in [*_HEADS.split(), "pred_layer.proj", "decoder", "proj_out"])
"""Output layers, with a row for every token as embeddings have."""

ADDED = 4096
"""Most tokens that may have been added to a vocabulary for it to count as the same one, extended."""


def resized(ours: Mapping[str, Shape], theirs: Mapping[str, Shape]) -> list[str]:
    """Embeddings and output layers that differ in their number of rows only."""
    return [
        name
        for name, shape in ours.items()
        if name in theirs and shape != theirs[name] and shape[1:] == theirs[name][1:] and len(shape) == 2
        if is_embedding(name) or name in HEADS
    ]


def common(path: str, identity: Identity, names: list[str], rows: tuple[int, int], target: Checkpoint) -> list[str]:
    """Whether a skill's rows mean the same tokens in `target`: what to tell the user. Raises `MismatchError` if not shown.

    `rows` are the numbers of rows, skill and target; `names` the tensors that differ in them ([] if none does).
    """
    own = target.identity().tokenizer_sha256
    same = identity.tokenizer_sha256 == own or _as_a_file(identity.tokenizer_sha256, target)
    added = 0 if same or not identity.tokenizer_sha256 or not own else _added(identity.tokenizer_sha256, target)
    if added < 0:
        raise MismatchError(
            f"different tokenizers: {path} and {target.path} give different ids to the same text",
            "both must come from the same base model; tokens added to the target behind those of the base would be no obstacle",
        )
    if not names:
        return (
            [f"{target.path} has {counted(added, 'more tokens')} than {path} knows: their rows are left as they are"]
            if added
            else []
        )
    if rows[1] < rows[0] and not same:
        raise MismatchError(
            f"{path} has rows for {rows[0]} tokens, {target.path} for {rows[1]}, and nothing shows that they mean the same",
            "resize the target's embeddings to those of the skill's model, or extract the skill from models of the target's size",
        )
    return [
        f"{', '.join(names)}: {rows[0]} rows in {path}, {rows[1]} in {target.path}; the {min(rows)} common ones get the skill"
    ]


_FILES = ("tokenizer.model", "vocab.json", "vocab.txt")


def _as_a_file(wanted: str, target: Checkpoint) -> bool:
    """Whether `wanted` is the hash of a file of the target's tokenizer: so skills of earlier versions of past name one that has no
    tokenizer.json."""
    inner = target.bottom if isinstance(target, Overlay) else target
    files = inner.companions() if wanted and isinstance(inner, HasCompanions) else []
    return any(hashlib.sha256(file.read_bytes()).hexdigest() == wanted for file in files if file.name in _FILES)


def _added(wanted: str, target: Checkpoint) -> int:
    """How many tokens the target has behind those whose hash is `wanted`; -1 if its vocabulary does not begin with them."""
    inner = target.bottom if isinstance(target, Overlay) else target
    tokens = inner.vocabulary() if isinstance(inner, HasVocabulary) else []
    digest = hashlib.sha256()
    for count, token in enumerate(tokens, 1):
        digest.update(("\0" if count > 1 else "").encode() + token.encode("utf-8", "surrogatepass"))
        if len(tokens) - count <= ADDED and digest.hexdigest() == wanted:
            return len(tokens) - count
    return -1
