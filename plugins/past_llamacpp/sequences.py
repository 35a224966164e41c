"""Several completions at once: each prompt in a sequence of its own, one token of all of them in each pass."""

from __future__ import annotations

import codecs
import time
from collections.abc import Sequence

from pastcli.api import Completion, Sampling
from pastcli.errors import ContextOverflow
from pastcli.words import counted

from .engine import Engine, shared
from .sampler import Sampler


class Row:
    """One completion under way in one lane."""

    def __init__(self, engine: Engine, lane: int, prompt: Sequence[int], sampling: Sampling):
        self.engine, self.lane, self.prompt, self.sampling = engine, lane, prompt, sampling
        self.sampler = Sampler(engine, sampling)
        self.stops = [stop.encode() for stop in sampling.stop if stop]
        self.data = bytearray()
        self.made: list[int] = []
        self.text: bytes | bytearray | None = None
        self.finish = "length"
        self.evaluated = 0
        self.seconds = 0.0

    @property
    def room(self) -> int:
        return min(self.sampling.max_tokens, self.engine.n_ctx - len(self.prompt)) - len(self.made)

    def take(self, place: int) -> bool:
        """Sample the next token from the logits at `place` of the last pass; True if the row wants another."""
        if self.room <= 0:
            return self._end(self.data, "length")
        token = self.sampler.next(place)
        if token is None or self.engine.is_end(token):
            return self._end(self.data, "stop")
        self.made.append(token)
        piece = self.engine.piece(token)
        self.data += piece
        cut = first_stop(self.data, self.stops, len(piece))
        if cut is not None:
            return self._end(self.data[:cut], "stop")
        return self._end(self.data, "length") if self.room <= 0 else True

    def _end(self, text: bytes | bytearray, finish: str) -> bool:
        self.text, self.finish = text, finish
        return False

    def completion(self) -> Completion:
        return Completion(
            text=decoded(self.text or b""),
            finish=self.finish,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.made),
            evaluated_tokens=self.evaluated,
            seconds=self.seconds,
            token_ids=tuple(self.made),
        )


def together(engine: Engine, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
    """Complete all prompts. Each takes the lane that holds the longest beginning of it, so only what is new is evaluated.

    Tokens are computed in other batches than one prompt alone would be: the last bits of the logits may differ.
    """
    for prompt in prompts:
        if len(prompt) >= engine.n_ctx:
            raise ContextOverflow(
                f"the prompt has {counted(len(prompt), 'tokens')}, the context {engine.n_ctx}",
                "shorten the prompt, or raise n_ctx",
            )
    over = [place for place, prompt in enumerate(prompts) if _gets_over(engine, prompt, samplings[place])]
    if over and len(prompts) > 1:
        return _apart(engine, prompts, samplings, over)
    engine.widen(len(prompts))
    rows: list[Row] = []
    try:
        for lane, prompt, sampling in zip(lanes_for(engine, prompts), prompts, samplings, strict=True):
            rows.append(Row(engine, lane, prompt, sampling))
        going = []
        for row in rows:
            began = time.perf_counter()
            row.evaluated = engine.prefill(row.prompt, row.lane)
            if row.take(-1):
                going.append(row)
            row.seconds += time.perf_counter() - began
        while going:
            began = time.perf_counter()
            places = list(range(len(going)))
            if engine.suits(len(going[0].prompt) + len(going[0].made)):
                engine.decode_each([(row.lane, row.made[-1]) for row in going])
            else:  # one alone (see `_apart`): from here on it is read otherwise, and so from its beginning
                going[0].evaluated += engine.prefill([*going[0].prompt, *going[0].made], going[0].lane)
                places = [-1]
            share = (time.perf_counter() - began) / len(going)
            for row in going:
                row.seconds += share
            going = [row for place, row in zip(places, going, strict=True) if row.take(place)]
    finally:
        for row in rows:
            row.sampler.close()
    return [row.completion() for row in rows]


def _gets_over(engine: Engine, prompt: Sequence[int], sampling: Sampling) -> bool:
    return bool(engine.turn) and len(prompt) + sampling.max_tokens - 1 > engine.turn


def _apart(
    engine: Engine, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], over: Sequence[int]
) -> list[Completion]:
    """`together`, the prompts `over` each by itself: in one context all rows are turned by the same frequencies."""
    done: dict[int, Completion] = {}
    for part in ([place for place in range(len(prompts)) if place not in over], *([place] for place in over)):
        if part:
            found = together(engine, [prompts[place] for place in part], [samplings[place] for place in part])
            done |= dict(zip(part, found, strict=True))
    return [done[place] for place in range(len(prompts))]


def lanes_for(engine: Engine, prompts: Sequence[Sequence[int]]) -> list[int]:
    """A lane for each prompt, the best matches first: every lane's tokens serve the prompt that shares most with them."""
    matches = [
        (shared(held, prompt), -lane, place)
        for lane, held in enumerate(engine.lanes)
        for place, prompt in enumerate(prompts)
    ]
    chosen: dict[int, int] = {}
    for _, lane, place in sorted(matches, reverse=True):
        if place not in chosen and -lane not in chosen.values():
            chosen[place] = -lane
    return [chosen[place] for place in range(len(prompts))]


def first_stop(data: bytearray, stops: Sequence[bytes], new: int) -> int | None:
    """Where the earliest stop string begins, looking only where the last `new` bytes can have completed one."""
    found = (data.find(stop, max(len(data) - new - len(stop) + 1, 0)) for stop in stops)
    return min((place for place in found if place >= 0), default=None)


def decoded(data: bytes | bytearray) -> str:
    """UTF-8 to text; a character whose last bytes were not generated is left out."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(data))
