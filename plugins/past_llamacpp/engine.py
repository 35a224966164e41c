"""One model in llama.cpp with one or several sequences: tokens in, logits and sampled tokens out.

Thin over the C API rather than over `llama_cpp.Llama`, because four things here have no keyword there:
`use_extra_bufts`, several LoRA adapters with scales at run time, a count of the tokens really evaluated,
and a refusal instead of the silent llama-2 chat template.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli import environment
from pastcli.errors import ContextOverflow, MismatchError, PastError
from pastcli.words import counted

from .ggml import F32
from .lengths import turn
from .native import last_error, library

BATCH = 512
DEFAULT_CONTEXT = 8192


class Engine:
    """A model file, its context and the tokens now in the KV cache.

    `n_ctx` 0 means the trained length, at most 8,192; `threads` 0 means measured here. `extra_buffers` lets
    llama.cpp repack weights for this CPU's matrix units (see `cpu_check`). `precise` keeps the KV cache in float32 and
    attention unfused, for comparisons with other implementations; the default rounds keys and values to float16.
    """

    n_ctx: int
    """Most tokens of one sequence."""
    turn: int
    """Tokens up to which a sequence is turned by other frequencies than longer ones (see `lengths`); 0 where there is no difference."""
    _opened: int
    memory: Any
    lanes: list[list[int]]
    """The tokens whose keys and values each sequence holds."""

    def __init__(self, path: Path, n_ctx: int = 0, threads: int = 0, extra_buffers: bool = True, precise: bool = False):
        self.lib = library()
        self.path = path
        self.extra_buffers = extra_buffers
        self._model = self._context = None
        params = self.lib.llama_model_default_params()
        params.use_extra_bufts = extra_buffers
        self._model = self.lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise MismatchError(
                f"llama.cpp cannot load {path}: {last_error() or 'no reason given'}",
                "the file may be damaged, or its architecture unknown to this llama.cpp",
            )
        self.vocab = self.lib.llama_model_get_vocab(self._model)
        self.vocab_size = self.lib.llama_vocab_n_tokens(self.vocab)
        self._adapters: dict[Path, int] = {}
        self._applied: list[tuple[Path, float]] = []
        self._precise = precise
        self.n_ctx = n_ctx or min(self.lib.llama_model_n_ctx_train(self._model), DEFAULT_CONTEXT)
        at = turn(path)
        self.turn = at if at < self.n_ctx else 0
        self._open_context(self.turn or self.n_ctx, precise)
        self.threads = threads or self._fastest_threads()
        self.lib.llama_set_n_threads(self._context, self.threads, self.threads)

    def _open_context(self, n_ctx: int, precise: bool, lanes: int = 1) -> None:
        """A context of `lanes` sequences, each of `n_ctx` tokens."""
        params = self.lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx * lanes, min(BATCH, n_ctx), min(BATCH, n_ctx)
        params.n_seq_max, params.no_perf = lanes, True
        params.n_threads = params.n_threads_batch = environment.cores()
        if precise:
            params.type_k = params.type_v = F32
            params.flash_attn_type = self.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = self.lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise PastError(f"llama.cpp cannot make a context of {n_ctx} tokens: {last_error()}", "try a smaller n_ctx")
        self._opened = n_ctx
        if not self.turn:  # llama.cpp pads the context up to a multiple of 256; the length asked for stays the limit.
            self.n_ctx = min(n_ctx, self.lib.llama_n_ctx(self._context) // lanes)
        self.memory = self.lib.llama_get_memory(self._context)
        self.lanes = [[] for _ in range(lanes)]

    def widen(self, lanes: int) -> None:
        """Have at least this many sequences; what was evaluated is forgotten if there were fewer."""
        if lanes > len(self.lanes):
            self._reopen(self._opened, lanes)

    def suits(self, length: int) -> bool:
        """Whether a row of `length` tokens is read in the open context as the model reads it."""
        return not self.turn or (length > self.turn) == (self._opened > self.turn)

    def _reopen(self, n_ctx: int, lanes: int) -> None:
        self.lib.llama_free(self._context)
        self._open_context(n_ctx, self._precise, lanes)
        self.lib.llama_set_n_threads(self._context, self.threads, self.threads)
        if self._applied:
            self.set_adapters(self._applied)

    @property
    def cached(self) -> list[int]:
        """The tokens in the first sequence."""
        return self.lanes[0]

    def close(self) -> None:
        """Free context and model; adapters go with the model."""
        if self._context:
            self.lib.llama_free(self._context)
        if self._model:
            self.lib.llama_model_free(self._model)
        self._context = self._model = None

    # ------------------------------------------------------------ text

    def tokenize(self, text: str, add_special: bool, parse_special: bool = True) -> list[int]:
        """Token ids; special tokens written out in the text are recognised, as Hugging Face tokenizers do, or only text."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 16
        while True:
            buffer = (self.lib.llama_token * size)()
            count = self.lib.llama_tokenize(self.vocab, data, len(data), buffer, size, add_special, parse_special)
            if count >= 0:
                return list(buffer[:count])
            size = -count

    def piece(self, token: int, special: bool = False) -> bytes:
        """The bytes of one token, which may be part of a character; control tokens are b'' unless `special`."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = self.lib.llama_token_to_piece(self.vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def is_end(self, token: int) -> bool:
        return self.lib.llama_vocab_is_eog(self.vocab, token)

    def chat_template(self) -> str | None:
        """The Jinja template stored in the file; None if there is none."""
        text = self.lib.llama_model_chat_template(self._model, None)
        return text.decode("utf-8", "replace") if text else None

    def special_text(self, which: str) -> str:
        """The text of the `bos` or `eos` token; '' if the vocabulary has none."""
        token = getattr(self.lib, f"llama_vocab_{which}")(self.vocab)
        return self.piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    # ------------------------------------------------------------ evaluation

    def prefill(self, tokens: Sequence[int], lane: int = 0) -> int:
        """Bring a sequence of the KV cache to exactly `tokens`; returns how many were computed (a shared prefix is kept).

        The last token is always computed, because its logits are wanted; where the open context does not suit so many tokens, all
        sequences are forgotten. Raises `ContextOverflow` if no
        room for one new token would be left.
        """
        if not tokens:
            raise PastError("an empty prompt has nothing to continue", "give at least one token")
        if len(tokens) >= self.n_ctx:
            raise ContextOverflow(
                f"the prompt has {counted(len(tokens), 'tokens')}, the context {self.n_ctx}",
                "shorten the prompt, or raise n_ctx",
            )
        if not self.suits(len(tokens)):
            self._reopen(self.n_ctx if len(tokens) > self.turn else self.turn, len(self.lanes))
        keep = shared(self.lanes[lane], tokens[:-1])
        if keep < len(self.lanes[lane]) and not self.lib.llama_memory_seq_rm(self.memory, lane, keep, -1):
            self.lib.llama_memory_seq_rm(self.memory, lane, -1, -1)  # recurrent models cannot forget a part
            keep = 0
        del self.lanes[lane][keep:]
        for start in range(keep, len(tokens), BATCH):
            self.decode(tokens[start : start + BATCH], lane)
        return len(tokens) - keep

    def decode(self, tokens: Sequence[int], lane: int = 0) -> None:
        """Append up to `BATCH` tokens to a sequence and compute the logits of the last."""
        self._decode([(lane, token) for token in tokens], last_only=True)

    def decode_each(self, tokens: Sequence[tuple[int, int]]) -> None:
        """Append one token to each of several sequences, as (lane, token), in one pass; `logits(n)` are those of the n-th."""
        self._decode(tokens, last_only=False)

    def _decode(self, tokens: Sequence[tuple[int, int]], last_only: bool) -> None:
        count, ends = len(tokens), {lane: len(self.lanes[lane]) for lane, _ in tokens}
        places = []
        for lane, _ in tokens:
            places.append(ends[lane])
            ends[lane] += 1
        if max(ends.values()) > self.n_ctx:
            raise ContextOverflow(f"the context of {self.n_ctx} tokens is full", "raise n_ctx")
        lanes = (ctypes.c_int * count)(*(lane for lane, _ in tokens))
        batch = self.lib.llama_batch(
            n_tokens=count,
            token=(self.lib.llama_token * count)(*(token for _, token in tokens)),
            embd=None,
            pos=(ctypes.c_int * count)(*places),
            n_seq_id=(ctypes.c_int * count)(*([1] * count)),
            seq_id=(ctypes.POINTER(ctypes.c_int) * count)(
                *(ctypes.cast(ctypes.byref(lanes, 4 * n), ctypes.POINTER(ctypes.c_int)) for n in range(count))
            ),
            logits=(ctypes.c_byte * count)(*(n == count - 1 or not last_only for n in range(count))),
        )
        status = self.lib.llama_decode(self._context, batch)
        if status != 0:
            self.reset()
            raise PastError(f"llama.cpp could not decode (status {status}): {last_error()}")
        for lane, token in tokens:
            self.lanes[lane].append(token)

    def logits(self, place: int = -1) -> ctypes.Array:
        """Logits after the token at `place` of the last pass, as a view of `vocab_size` floats valid until the next one."""
        pointer = self.lib.llama_get_logits_ith(self._context, place)
        return ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * self.vocab_size)).contents

    def reset(self) -> None:
        """Forget everything."""
        self.lib.llama_memory_clear(self.memory, True)
        for lane in self.lanes:
            lane.clear()

    # ------------------------------------------------------------ adapters

    def set_adapters(self, adapters: Sequence[tuple[Path, float]]) -> None:
        """Apply these LoRA-GGUF files with these scales, and no others; the KV cache is forgotten.

        A file named twice gets the sum of its scales (llama.cpp itself would keep the last).
        """
        wanted: dict[Path, float] = {}
        for path, scale in adapters:
            wanted[path] = wanted.get(path, 0.0) + scale
        for path in wanted:
            if path not in self._adapters:
                loaded = self.lib.llama_adapter_lora_init(self._model, os.fsencode(path))
                if not loaded:
                    raise MismatchError(
                        f"llama.cpp refuses the adapter {path} for {self.path.name}: {last_error()}",
                        "an adapter fits only the base model it was made for",
                    )
                self._adapters[path] = loaded
        count = len(wanted)
        pointers = (self.lib.llama_adapter_lora_p_ctypes * count)(*(self._adapters[path] for path in wanted))
        scales = (ctypes.c_float * count)(*wanted.values())
        if self.lib.llama_set_adapters_lora(self._context, pointers, count, scales) != 0:
            raise PastError(f"llama.cpp could not apply the adapters: {last_error()}")
        self._applied = list(wanted.items())
        self.reset()

    @property
    def adapted(self) -> bool:
        return bool(self._applied)

    # ------------------------------------------------------------ threads

    def _fastest_threads(self) -> int:
        """Threads for this model on this machine now: the fastest of a few counts over a few real decodes.

        As many threads as cores can be many times slower than fewer when the machine is busy.
        """
        cores = environment.cores()
        counts = sorted({cores, max(cores // 2, 1), min(cores, 8)}, reverse=True)
        if len(counts) == 1:
            return cores
        self.decode([0])  # the first decode allocates
        best = min(counts, key=self._decode_seconds)
        self.reset()
        return best

    def _decode_seconds(self, threads: int) -> float:
        """Median seconds of a one-token decode, within half a second or so."""
        self.lib.llama_set_n_threads(self._context, threads, threads)
        times: list[float] = []
        while len(times) < 7 and sum(times) < 0.5 and len(self.cached) < self.n_ctx:
            began = time.perf_counter()
            self.decode([0])
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2] if times else 0.0


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    count = 0
    for ours, theirs in zip(a, b):
        if ours != theirs:
            break
        count += 1
    return count
