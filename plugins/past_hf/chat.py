"""The `hf` chat plugin: transformers as a language model that completes texts in batches and chats."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pastcli import output
from pastcli.api import Completion, Message, Sampling
from pastcli.errors import ContextOverflow, UsageError
from pastcli.vectors.checks import finite

from .materialize import cast, encode, load_model, load_tokenizer, templated, working_dtype
from .quiet import quiet


def load_chat(
    path: str | Path, *, precision: str = "stored", batch_size: int = 64, lora: Sequence[tuple[Path | str, float]] = ()
) -> HFChat:
    """Load an HF directory, GGUF or LoRA adapter (merged with its base in float32).

    `precision` is what computes: stored (the model's own type) | fp32 | bf16 | fp16; `batch_size` the most
    prompts decoded together; `lora` are skill files or adapter directories with scales, added in memory: `stored` is then
    fp32, since a coarser type could round the skill away.
    """
    quiet()
    chat = HFChat(Path(path), "fp32" if lora and precision == "stored" else precision, batch_size, lora)
    return chat


def check(path: Path, template: Path | None = None) -> None:
    """Raise what `load_chat`, or the first answer, would of a model whose tokenizer is missing or broken, or that holds NaN."""
    if path.is_dir():  # a GGUF would have to be converted first
        load_tokenizer(path)
    finite.model(path)


load_chat.check = check  # type: ignore[attr-defined]  # what a dry run asks: would this model load?
load_chat.precisions = ("fp32", "bf16", "fp16")  # type: ignore[attr-defined]  # mypy knows no attributes of functions


UNBOUNDED = 1 << 30
"""The context of a model whose configuration names no longest one."""


def context_of(model: Any) -> int:
    """The most tokens that a model reads."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return longest if longest and longest > 0 else UNBOUNDED  # XLNet's is -1


class HFChat:
    """`ChatModel` on transformers. Prompts of like length are decoded together, padded on the left."""

    def __init__(self, path: Path, precision: str, batch_size: int, lora: Sequence[tuple[Path | str, float]] = ()):
        from .compute import device
        from .generation import unheeded
        from .unknown import guard

        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self.name = str(path)
        self.batch_size = batch_size
        self.tokenizer = load_tokenizer(path)
        dtype = working_dtype(path, precision)
        self.precision = str(dtype).removeprefix("torch.")
        self.model: Any = _with_skills(path, dtype, lora).to(device()).eval()
        self.context = context_of(self.model)
        self._prefixes: Any = None
        guard(self.model, self.tokenizer)
        if asked := unheeded(self.model):
            output.note(
                f"{path}: generation_config.json asks for {asked}, which past leaves out: the model's own words are asked for"
            )

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Continue each text. Raises `ContextOverflow` for a prompt that leaves no room for one token."""
        import torch

        _no_grammar(sampling)
        encoded = [encode(self.tokenizer, prompt) or [self.tokenizer.eos_token_id] for prompt in prompts]
        for ids in encoded:
            if len(ids) >= self.context:
                raise ContextOverflow(f"a prompt of {len(ids)} tokens does not fit the model's {self.context}")
        generator = None
        if sampling.temperature > 0 and sampling.seed is not None:
            generator = torch.Generator().manual_seed(sampling.seed)
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        done: dict[int, Completion] = {}
        for batch in _batches(order, [len(ids) for ids in encoded], self.batch_size):
            for index, answer in zip(
                batch, self._decode([encoded[i] for i in batch], sampling, generator), strict=True
            ):
                done[index] = answer
        return [done[index] for index in range(len(encoded))]

    def _decode(self, batch: list[list[int]], sampling: Sampling, generator: Any) -> list[Completion]:
        from .generation import end_tokens, generate, stop_rule

        began = time.monotonic()
        ends = end_tokens(self.model, self.tokenizer)
        stopped = stop_rule(self.tokenizer, ends, sampling.stop)
        room = self.context - max(map(len, batch))
        answers = generate(
            self.model,
            batch,
            max_new_tokens=min(sampling.max_tokens, room),
            stopped=stopped,
            pad=self.tokenizer.pad_token_id,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            generator=generator,
            sound=True,
        )
        seconds = (time.monotonic() - began) / len(batch)
        return [
            self._completion(prompt, ids, ends, sampling.stop, stopped(ids), len(prompt), seconds)
            for prompt, ids in zip(batch, answers, strict=True)
        ]

    def _completion(
        self,
        prompt: list[int],
        ids: list[int],
        ends: set[int],
        stop: Sequence[str],
        ended: bool,
        read: int,
        seconds: float,
    ) -> Completion:
        return Completion(
            text=self._text(ids, ends, stop),
            finish="stop" if ended else "length",
            prompt_tokens=len(prompt),
            completion_tokens=len(ids),
            evaluated_tokens=read,
            seconds=seconds,
            token_ids=tuple(ids),
        )

    def _text(self, ids: list[int], ends: set[int], stop: Sequence[str]) -> str:
        """The answer up to its end token or the first stop string, neither included."""
        text = self.tokenizer.decode(ids[:-1] if ids[-1] in ends else ids)
        cuts = [text.index(word) for word in stop if word in text]
        return text[: min(cuts, default=len(text))]

    def log_probabilities(self, texts: Sequence[str]) -> list[tuple[list[int], Any]]:
        """Token ids of each text, and (n - 1, vocabulary) log-probabilities in float32 of what follows each of them."""
        import torch

        from .compute import whole_pass

        found = []
        for text in texts:
            ids = encode(self.tokenizer, text)
            with torch.inference_mode():
                row = torch.tensor([ids], device=self.model.device)
                logits = self.model(input_ids=row, **whole_pass(self.model)).logits[0, :-1]
                found.append((ids, torch.log_softmax(logits.float(), dim=-1).cpu().numpy()))
        return found

    def encode(self, text: str, special: bool) -> list[int]:
        if special:
            return encode(self.tokenizer, text)
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def complete_tokens(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt, decoded together; what a prompt shares with one of the last is not read again."""
        done: dict[int, Completion] = {}
        alike: dict[Sampling, list[int]] = {}
        for place, sampling in enumerate(samplings):
            _no_grammar(sampling)
            alike.setdefault(replace(sampling, seed=None), []).append(place)
        for sampling, places in alike.items():
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                seeds = [samplings[place].seed for place in batch]
                answers = self._continue([list(prompts[place]) for place in batch], sampling, seeds)
                done |= dict(zip(batch, answers, strict=True))
        return [done[place] for place in range(len(prompts))]

    def _continue(self, batch: list[list[int]], sampling: Sampling, seeds: Sequence[int | None]) -> list[Completion]:
        from .generation import end_tokens, generate, stop_rule
        from .prefixes import Prefixes, together

        began = time.monotonic()
        if self._prefixes is None:
            self._prefixes = Prefixes(self.model)
        ends = end_tokens(self.model, self.tokenizer)
        stopped = stop_rule(self.tokenizer, ends, sampling.stop)
        room = min(sampling.max_tokens, self.context - max(map(len, batch)))
        rows = self._prefixes.read(batch) if self._prefixes.possible else []
        begun = together(rows, self.model.config) if rows else None
        answers = generate(
            self.model,
            batch,
            max_new_tokens=room,
            stopped=stopped,
            pad=self.tokenizer.pad_token_id,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            draws=draws_of(seeds, room) if sampling.temperature > 0 else None,
            begun=begun,
            sound=True,
        )
        if begun and len(rows) == 1:
            self._prefixes.keep(rows[0], [*batch[0], *answers[0][:-1]], begun[0])
        seconds = (time.monotonic() - began) / len(batch)
        read = [row.evaluated for row in rows] or [len(prompt) for prompt in batch]
        return [
            self._completion(prompt, ids, ends, sampling.stop, stopped(ids), evaluated, seconds)
            for prompt, ids, evaluated in zip(batch, answers, read, strict=True)
        ]

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
        """The conversation in the model's chat template, with the documentation of `tools`, ending where the assistant is
        to speak."""
        if not self.tokenizer.chat_template:
            raise UsageError(f"{self.name} has no chat template", "use a model tuned for chat")
        return templated(self.tokenizer, [message.to_dict() for message in messages], tools)

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self.complete([self.render(messages)], sampling)[0]

    def close(self) -> None:
        self.model = self._prefixes = None


def _with_skills(path: Path, dtype: Any, skills: Sequence[tuple[Path | str, float]]) -> Any:
    """The model with its skills added in float32, then in the type that computes."""
    if not skills:
        return load_model(path, dtype)
    from .skills import load_with_skills

    return cast(load_with_skills(path, skills), dtype)


def draws_of(seeds: Sequence[int | None], steps: int) -> Any:
    """(rows, steps) uniform numbers, each row from its own seed, so that an answer does not depend on its neighbours."""
    import torch

    rows = []
    for seed in seeds:
        generator = torch.Generator()
        _ = generator.seed() if seed is None else generator.manual_seed(seed)
        rows.append(torch.rand(steps, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


BATCH_TOKENS = 16_384
"""Most tokens of prompts decoded together, padding included: among many short ones, one long prompt gets its own batch."""


def _batches(order: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Prompts in `order` (shortest first) in batches of at most `size` and, if more than one, `BATCH_TOKENS` tokens."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) == size or (len(batch) + 1) * lengths[index] > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _no_grammar(sampling: Sampling) -> None:
    if sampling.grammar is not None:
        raise UsageError("the hf backend cannot follow a grammar", "use --backend llamacpp, or no grammar")
