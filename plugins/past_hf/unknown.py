"""Tokens that a tokenizer knows and its model has no row for: Gemma 3 1B has one for images, and people add some and resize nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pastcli.errors import MismatchError

from .compute import plain


def guard(model: Any, tokenizer: Any, rows: Iterable[dict[str, Any]] = ()) -> None:
    """Raise `MismatchError` for such a token in `rows` of a training, and from now on where the model is given one: torch's error is an
    IndexError on processors, and ends a card's work altogether."""
    embedding = plain(model).get_input_embeddings()
    count = embedding.weight.shape[0]
    if max([len(tokenizer) - 1, *getattr(tokenizer, "added_tokens_decoder", {})]) < count:
        return

    def given(_: Any, arguments: tuple, named: dict[str, Any]) -> None:
        for ids in (*arguments, *named.values()):
            if getattr(ids, "is_floating_point", bool)() is False and ids.numel() and int(ids.max()) >= count:
                raise _without_row(tokenizer, int(ids.max()), count)

    embedding.register_forward_pre_hook(given, with_kwargs=True)
    for text in (text for row in rows for text in _texts(row)):
        highest = max(tokenizer(text)["input_ids"], default=0)
        if highest >= count:
            raise _without_row(tokenizer, highest, count)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _without_row(tokenizer: Any, token: int, count: int) -> MismatchError:
    return MismatchError(
        f"{tokenizer.convert_ids_to_tokens(token)!r} is token {token} of the tokenizer, and the embeddings of the model have {count} rows",
        "leave it out of the text, or take the tokenizer that belongs to the model",
    )
