"""The `hf` chat plugin: transformers as a language model that completes texts in batches and chats."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli.api import Completion, Message, Sampling
from pastcli.errors import ContextOverflow, UsageError

from .materialize import encode, load_model, load_tokenizer, working_dtype
from .quiet import quiet


def load_chat(path: str | Path, *, precision: str = "stored", batch_size: int = 64) -> HFChat:
    """Load an HF directory, GGUF or LoRA adapter (merged with its base in float32).

    `precision` is what computes: stored (the model's own type) | fp32 | bf16 | fp16; `batch_size` the most
    prompts decoded together.
    """
    quiet()
    return HFChat(Path(path), precision, batch_size)


load_chat.precisions = ("fp32", "bf16", "fp16")


class HFChat:
    """`ChatModel` on transformers. Prompts of like length are decoded together, padded on the left."""

    def __init__(self, path: Path, precision: str, batch_size: int):
        from .compute import device

        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self.name = str(path)
        self.batch_size = batch_size
        self.tokenizer = load_tokenizer(path)
        dtype = working_dtype(path, precision)
        self.precision = str(dtype).removeprefix("torch.")
        self.model: Any = load_model(path, dtype).to(device()).eval()
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Continue each text. Raises `ContextOverflow` for a prompt that leaves no room for one token."""
        import torch

        _no_grammar(sampling)
        encoded = [encode(self.tokenizer, prompt) or [self.tokenizer.eos_token_id] for prompt in prompts]
        for ids in encoded:
            if self.context and len(ids) >= self.context:
                raise ContextOverflow(f"a prompt of {len(ids)} tokens does not fit the model's {self.context}")
        generator = None
        if sampling.temperature > 0 and sampling.seed is not None:
            generator = torch.Generator().manual_seed(sampling.seed)
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
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
        room = self.context - max(map(len, batch)) if self.context else sampling.max_tokens
        answers = generate(
            self.model,
            batch,
            max_new_tokens=min(sampling.max_tokens, room),
            stopped=stopped,
            pad=self.tokenizer.pad_token_id,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            generator=generator,
        )
        seconds = (time.monotonic() - began) / len(batch)
        return [
            Completion(
                text=self._text(ids, ends, sampling.stop),
                finish="stop" if stopped(ids) else "length",
                prompt_tokens=len(prompt),
                completion_tokens=len(ids),
                evaluated_tokens=len(prompt),
                seconds=seconds,
                token_ids=tuple(ids),
            )
            for prompt, ids in zip(batch, answers, strict=True)
        ]

    def _text(self, ids: list[int], ends: set[int], stop: Sequence[str]) -> str:
        """The answer up to its end token or the first stop string, neither included."""
        text = self.tokenizer.decode(ids[:-1] if ids[-1] in ends else ids)
        cuts = [text.index(word) for word in stop if word in text]
        return text[: min(cuts, default=len(text))]

    def log_probabilities(self, texts: Sequence[str]) -> list[tuple[list[int], Any]]:
        """Token ids of each text, and (n - 1, vocabulary) log-probabilities in float32 of what follows each of them."""
        import torch

        found = []
        for text in texts:
            ids = encode(self.tokenizer, text)
            with torch.inference_mode():
                logits = self.model(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False).logits[
                    0, :-1
                ]
                found.append((ids, torch.log_softmax(logits.float(), dim=-1).cpu().numpy()))
        return found

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation in the model's chat template, ending where the assistant is to speak."""
        if not self.tokenizer.chat_template:
            raise UsageError(f"{self.name} has no chat template", "use a model tuned for chat")
        turns = [message.to_dict() for message in messages]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self.complete([self.render(messages)], sampling)[0]

    def close(self) -> None:
        self.model = None


def _no_grammar(sampling: Sampling) -> None:
    if sampling.grammar is not None:
        raise UsageError("the hf backend cannot follow a grammar", "use --backend llamacpp, or no grammar")
