"""Which token has which id, by whichever of a tokenizer's files says it: two models fit each other where these agree."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pastcli.errors import MismatchError
from pastcli.files import read_json
from pastcli.hashing import tokens_sha256

PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def vocabulary(folder: Path) -> list[str]:
    """The tokens of a tokenizer in the order of their ids; [] where no file says them in a form that is known here.

    `tokenizer.json` has them all. Older checkpoints come with a list (`vocab.json`, `vocab.txt`) or with SentencePiece's model
    alone, and with the tokens that were added in files beside it.
    """
    for name, read in _READERS.items():
        if (folder / name).is_file():
            ids = _read(folder / name, read)
            if ids and name != "tokenizer.json":
                ids = ids | _added(folder)
            return sorted(ids, key=lambda token: (ids[token], token))
    return []


def tokenizer_sha256(folder: Path) -> str:
    """Hash of the vocabulary in the order of its ids; of a file whose form is not known here of its bytes; '' without a tokenizer."""
    tokens = vocabulary(folder)
    if tokens:
        return tokens_sha256(tokens)
    file = next((folder / name for name in _READERS if (folder / name).is_file()), None)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file else ""


def needs_sentencepiece(folder: Path) -> bool:
    """Whether a tokenizer cannot be read because that package is not here: transformers asks for tiktoken then."""
    if (folder / "tokenizer.json").is_file() or importlib.util.find_spec("sentencepiece") is not None:
        return False
    return any((folder / name).is_file() and _read(folder / name, _of_pieces) for name in PIECES)


def _read(file: Path, read: Callable[[Path], Mapping[str, int]]) -> dict[str, int]:
    try:
        ids = dict(read(file))
        if not all(isinstance(index, int) for index in ids.values()):
            raise TypeError("an id that is no number")
        return ids
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        if file.name in PIECES:
            return {}  # a name that other kinds of tokenizers have as well
        raise MismatchError(f"{file} does not say which token has which id") from None


def _of_tokenizers(file: Path) -> dict[str, int]:
    table = read_json(file)
    vocab = (table.get("model") or {}).get("vocab") or {}
    if isinstance(vocab, list):  # Unigram: (token, score) in the order of ids
        vocab = {token: index for index, (token, _) in enumerate(vocab)}
    return vocab | {token["content"]: token["id"] for token in table.get("added_tokens") or []}


def _of_lines(file: Path) -> dict[str, int]:
    lines = file.read_text(encoding="utf-8").split("\n")
    return {token.rstrip("\r"): index for index, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}


def _of_pieces(file: Path) -> dict[str, int]:
    """SentencePiece's model is a message of which each field 1 is a piece, whose own field 1 is its text."""
    pieces = [value for number, value in _fields(file.read_bytes()) if number == 1]
    return {dict(_fields(piece))[1].decode(): index for index, piece in enumerate(pieces)}


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the fields of a message in protobuf's encoding; numbers as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, start = key & 7, at
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            size, start = _varint(data, at)
            at = start + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("no such type of field")
        if at > len(data):
            raise ValueError("a field that is longer than the message")
        yield key >> 3, data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _added(folder: Path) -> dict[str, int]:
    """The tokens that were added to a list of them."""
    found: dict[str, int] = {}
    if (folder / "added_tokens.json").is_file():
        found |= read_json(folder / "added_tokens.json")
    if (folder / "tokenizer_config.json").is_file():
        table = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
        found |= {token["content"]: int(index) for index, token in table.items() if isinstance(token, Mapping)}
    return found


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "tokenizer.json": _of_tokenizers,
    "vocab.json": read_json,
    "vocab.txt": _of_lines,
    **dict.fromkeys(PIECES, _of_pieces),
}
