"""The model under training as a `TokenModel`: all episodes of a step are decoded together and keep what was read of them.

A group's prompt is read once and copied; the next turn of an episode reads only what was added to it. Weights change from
step to step, and with them all that was kept: `begin` forgets it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pastcli.api import Completion, Sampling

from ..chat import HFChat, context_of, draws_of
from ..compute import plain
from ..generation import end_tokens, pick, stop_rule
from ..lines import Lines, attending, possible

READ_TOKENS = 4096
"""Tokens read at once, padding included."""


@dataclass
class Row:
    """One episode in the lines: the tokens whose keys and values are there."""

    ids: list[int]


class Policy(HFChat):
    """Decodes with the weights as they are now. `timed` counts reading and decoding as parts of a step."""

    def __init__(self, model: Any, tokenizer: Any, timed: Callable[[str], Any]):
        self.name, self.batch_size = "policy", 64
        self.model, self.tokenizer, self._timed = plain(model), tokenizer, timed
        self.context = context_of(self.model)
        self._possible = possible(self.model)
        self.begin()

    def begin(self) -> None:
        """Begin a step: the weights are others now."""
        self.forget()
        self.sampled, self.seconds = 0, 0.0

    def forget(self) -> None:
        """Let go of what was read."""
        self._prefixes: Any = None
        self._lines: Lines | None = None
        self._rows: list[Row] = []

    @torch.no_grad()
    def complete_tokens(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt, all together. The samplings may differ in their seeds only."""
        began = time.monotonic()
        answers = self._together(prompts, samplings) if self._possible else self._one_by_one(prompts, samplings)
        self.sampled += sum(answer.completion_tokens for answer in answers)
        self.seconds += time.monotonic() - began
        return answers

    def _one_by_one(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Models whose layers forget: as in chat."""
        with self._timed("rollout"):
            return super().complete_tokens(prompts, samplings)

    def _together(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        began = time.monotonic()
        sampling = samplings[0]
        room = min(sampling.max_tokens, self.context - max(map(len, prompts)))
        ends = end_tokens(self.model, self.tokenizer)
        stopped = stop_rule(self.tokenizer, ends, sampling.stop)
        with attending(self.model):
            with self._timed("read"):
                order, read, logits = self._read([list(prompt) for prompt in prompts], room)
            with self._timed("rollout"):
                seeds = [samplings[place].seed for place in order]
                said = self._say(logits, room, sampling, seeds, stopped)
        seconds = (time.monotonic() - began) / len(prompts)
        found = {
            place: self._completion(list(prompts[place]), ids, ends, sampling.stop, stopped(ids), read[place], seconds)
            for place, ids in zip(order, said, strict=True)
        }
        return [found[place] for place in range(len(prompts))]

    def _read(self, prompts: list[list[int]], room: int) -> tuple[list[int], list[int], torch.Tensor]:
        """(the prompts' order in the lines, tokens evaluated for each prompt, logits (B, V) in that order)."""
        matched = self._matched(prompts)
        width = max(map(len, prompts)) + room + 1
        if matched is None:
            distinct = {tuple(prompt): place for place, prompt in reversed(list(enumerate(prompts)))}
            first = sorted(distinct.values())
            rows = {tuple(prompts[place]): row for row, place in enumerate(first)}
            fresh = Lines(self.model, len(first), max(map(len, prompts)) + 1)
            logits = self._read_into(fresh, [prompts[place] for place in first], [0] * len(first))
            copies = [rows[tuple(prompt)] for prompt in prompts]
            self._lines = fresh.copied(copies, width)
            order, logits = list(range(len(prompts))), logits[copies]
            read = [len(prompt) if place in first else 0 for place, prompt in enumerate(prompts)]
        else:
            starts = [min(kept, len(prompts[place]) - 1) for place, (_, kept) in enumerate(matched)]
            read = [len(prompt) - start for prompt, start in zip(prompts, starts, strict=True)]
            order = sorted(range(len(prompts)), key=lambda place: read[place])
            assert self._lines is not None, "rows that match are those of lines"
            self._lines = self._lines.copied([matched[place][0] for place in order], width)
            new = [prompts[place][starts[place] :] for place in order]
            logits = self._read_into(self._lines, new, [starts[place] for place in order])
        self._rows = [Row(prompts[place]) for place in order]
        return order, read, logits

    def _read_into(self, lines: Lines, tokens: list[list[int]], starts: list[int]) -> torch.Tensor:
        """Read the rows in a few batches of neighbours."""
        found, begin = [], 0
        while begin < len(tokens):
            end = begin + 1
            while end < len(tokens) and max(map(len, tokens[begin : end + 1])) * (end + 1 - begin) <= READ_TOKENS:
                end += 1
            found.append(lines.read(begin, tokens[begin:end], starts[begin:end]))
            begin = end
        return torch.cat(found)

    def _matched(self, prompts: list[list[int]]) -> list[tuple[int, int]] | None:
        """For each prompt the row that it carries on, and how many tokens they share; None if one has no row."""
        free = dict(enumerate(self._rows))
        found: list[tuple[int, int]] = []
        for prompt in prompts:
            best = max(free, key=lambda row: _common(free[row].ids, prompt), default=None)
            if best is None:
                return None
            shared = _common(free[best].ids, prompt)
            if not shared:
                return None
            found.append((best, shared))
            del free[best]
        return found

    def _say(
        self, logits: torch.Tensor, room: int, sampling: Sampling, seeds: Sequence[int | None], stopped: Any
    ) -> list[list[int]]:
        """What each row says, by its place in the lines before this turn; the lines keep it, their rows in `_rows`."""
        lines = self._lines
        assert lines is not None, "what is said follows what was read"
        said: list[list[int]] = [[] for _ in self._rows]
        draws = draws_of(seeds, room) if sampling.temperature > 0 else None
        live = list(range(len(said)))  # lines row -> place; those that have finished stand behind
        count = len(live)
        for step in range(room):
            draw = (lambda: draws[live[:count], step]) if draws is not None else None  # noqa: B023 - used at once
            token = pick(logits, sampling.temperature, sampling.top_p, draw).tolist()
            for place, value in zip(live[:count], token, strict=True):
                said[place].append(value)
            for row in range(count - 1, -1, -1):
                if stopped(said[live[row]]):
                    count -= 1
                    lines.swap(row, count)
                    live[row], live[count] = live[count], live[row]
            if not count or step == room - 1:
                break
            places = live[:count]
            starts = [len(self._rows[place].ids) + step for place in places]
            logits = lines.read(0, [[said[place][-1]] for place in places], starts)
        self._rows = [Row([*self._rows[place].ids, *said[place][:-1]]) for place in live]
        return said


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle)
    return low
