"""Answers to one question in one row, so that the question is read once for all of them and not once for each.

A row is the prompt and then its answers one after another. Every answer has the positions that it would have by itself and
attends to the prompt and to itself only; its first token is predicted from the end of the prompt. So log-probabilities and
gradients are those of rows apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..compute import pad_right

SHORT = 256
"""Tokens up to which a row may grow whatever its attention costs: that grows with the square of the row, all else with its length."""


@dataclass(frozen=True)
class Packed:
    """P rows of up to L tokens. `order` are the numbers of the rows apart, as their answers follow one another in `ids`."""

    ids: torch.Tensor
    """(P, L), padded on the right."""
    answer: torch.Tensor
    """(P, L) boolean: the tokens of answers."""
    previous: torch.Tensor
    """(P, L): the column that a token is predicted from."""
    positions: torch.Tensor
    """(P, L)."""
    seen: torch.Tensor
    """(P, 1, L, L) boolean: which column (last axis) each token attends to."""
    order: list[int]


def shared(prompts: Sequence[tuple[int, ...]], answers: Sequence[int], most: int) -> list[list[int]]:
    """Numbers of the rows that are to be one: of the same prompt, while that is at most `most` tokens, and either short or no
    dearer to attend over than the rows apart. `answers` are their lengths.
    """
    made: list[list[int]] = []
    open_: dict[tuple[int, ...], tuple[list[int], int, int]] = {}
    for number, (prompt, length) in enumerate(zip(prompts, answers, strict=True)):
        apart = len(prompt) + length
        rows, tokens, squares = open_.get(prompt, ([], len(prompt), 0))
        tokens, squares = tokens + length, squares + apart**2
        if not rows or tokens > most or (tokens > SHORT and tokens**2 > squares):
            rows, tokens, squares = [], apart, apart**2
            made.append(rows)
        rows.append(number)
        open_[prompt] = (rows, tokens, squares)
    return made


def length_of(rows: Sequence[int], prompts: Sequence[tuple[int, ...]], answers: Sequence[int]) -> int:
    return len(prompts[rows[0]]) + sum(answers[row] for row in rows)


def pack(
    prompts: Sequence[tuple[int, ...]], answers: Sequence[Sequence[int]], rows: Sequence[Sequence[int]], pad: int
) -> Packed:
    """The rows apart (`prompts` and `answers` by number) as the rows that `shared` made of them."""
    ids, part, positions, previous = [], [], [], []
    for group in rows:
        prompt = prompts[group[0]]
        asked = len(prompt)
        tokens, place, before = list(prompt), list(range(asked)), [max(0, at - 1) for at in range(asked)]
        of = [0] * asked
        for number, row in enumerate(group, 1):
            answer, start = list(answers[row]), len(tokens)
            tokens += answer
            of += [number] * len(answer)
            place += range(asked, asked + len(answer))
            before += [asked - 1 if at == start else at - 1 for at in range(start, start + len(answer))]
        ids.append(tokens)
        part.append(of)
        positions.append(place)
        previous.append(before)
    of = pad_right(part, -1)
    column = torch.arange(of.shape[1])
    mine = (of[:, :, None] == of[:, None, :]) | (of[:, None, :] == 0)
    seen = mine & (column[None, :, None] >= column[None, None, :])
    return Packed(
        ids=pad_right(ids, pad),
        answer=of > 0,
        previous=pad_right(previous, 0),
        positions=pad_right(positions, 0),
        seen=seen[:, None],
        order=[row for group in rows for row in group],
    )
