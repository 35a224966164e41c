"""Choosing the next token: greedy or seeded sampling, inside a grammar when one is given."""

from __future__ import annotations

import ctypes
import math
import secrets

from pastcli.api import Sampling
from pastcli.errors import MismatchError, UsageError

from .engine import Engine
from .native import captured_stderr


class Sampler:
    """A sampler chain for one completion: temperature, then nucleus (the order of Hugging Face), then the draw.

    The grammar stays outside the chain: the chain's choice is checked first, and only when the grammar
    refuses it is the whole vocabulary filtered, which is what makes constrained decoding cheap.
    """

    def __init__(self, engine: Engine, sampling: Sampling):
        self.engine, self.lib = engine, engine.lib
        self.grammar = grammar_sampler(engine, sampling.grammar) if sampling.grammar is not None else None
        self.chain = self.lib.llama_sampler_chain_init(self.lib.llama_sampler_chain_default_params())
        for part in self._parts(sampling):
            self.lib.llama_sampler_chain_add(self.chain, part)

    def _parts(self, sampling: Sampling) -> list[int]:
        if sampling.temperature <= 0:
            return [self.lib.llama_sampler_init_greedy()]
        parts = [self.lib.llama_sampler_init_temp(sampling.temperature)]
        if sampling.top_p < 1:
            parts.append(self.lib.llama_sampler_init_top_p(sampling.top_p, 1))
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        return [*parts, self.lib.llama_sampler_init_dist(seed & 0xFFFFFFFF)]

    def next(self, place: int = -1) -> int | None:
        """The next token after `place` of the last pass, accepted by the grammar; None when it allows no token at all."""
        logits = self.engine.logits(place)
        token = self._choose(self._candidates(logits))
        if math.isnan(logits[token]):
            raise MismatchError(
                f"{self.engine.path} computes NaN instead of an answer",
                "its weights hold NaN or infinity, or are too large for the type it computes in",
            )
        if self.grammar is None:
            return token
        if not self._allowed(token):
            candidates = self._candidates(logits)
            self.lib.llama_sampler_apply(self.grammar, ctypes.byref(candidates))
            token = self._choose(candidates)
            if not self._allowed(token):  # llama.cpp aborts the process when a dead end is accepted
                return None
        self.lib.llama_sampler_accept(self.grammar, token)
        return token

    def _choose(self, candidates: ctypes.Structure) -> int:
        self.lib.llama_sampler_apply(self.chain, ctypes.byref(candidates))
        return candidates.data[candidates.selected].id

    def _allowed(self, token: int) -> bool:
        one = (self.lib.llama_token_data * 1)((token, 1.0, 0.0))
        self.lib.llama_sampler_apply(self.grammar, ctypes.byref(self._array(one)))
        return one[0].logit != float("-inf")

    def _candidates(self, logits: ctypes.Array) -> ctypes.Structure:
        import numpy as np

        table = np.zeros(len(logits), dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
        table["id"] = np.arange(len(logits))
        table["logit"] = np.ctypeslib.as_array(logits)
        self._table = table  # owns the memory that the structure points into
        return self._array((self.lib.llama_token_data * len(logits)).from_buffer(table))

    def _array(self, data: ctypes.Array) -> ctypes.Structure:
        pointer = ctypes.cast(data, ctypes.POINTER(self.lib.llama_token_data))
        return self.lib.llama_token_data_array(data=pointer, size=len(data), selected=-1, sorted=False)

    def close(self) -> None:
        self.lib.llama_sampler_free(self.chain)
        if self.grammar is not None:
            self.lib.llama_sampler_free(self.grammar)


def grammar_sampler(engine: Engine, text: str) -> int:
    """A sampler for GBNF `text` (start symbol `root`); raises `UsageError` with the parser's own words.

    Handing llama.cpp a bad grammar further in kills the process, and an empty one is silently no grammar.
    """
    if not text.strip():
        raise UsageError("the grammar is empty", "leave it out, or define a rule named root")
    if "\0" in text:
        raise UsageError("the grammar holds a NUL character")
    with captured_stderr() as said:
        made = engine.lib.llama_sampler_init_grammar(engine.vocab, text.encode(), b"root")
    if not made:
        raise UsageError(
            f"bad grammar: {said[0] if said else 'llama.cpp gives no reason'}",
            "GBNF needs a rule named root; see llama.cpp's grammars/README.md",
        )
    return made
