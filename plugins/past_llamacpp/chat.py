"""A chat model on llama.cpp (role `past.chat`, name `llamacpp`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli.api import Completion, Message, Sampling
from pastcli.chat_templates import rendered
from pastcli.errors import MismatchError, UsageError

from . import convert, cpu_check
from .engine import Engine
from .sequences import decoded, together


def load_chat(
    path: Path | str,
    *,
    n_ctx: int = 0,
    threads: int = 0,
    lora: Sequence[tuple[Path | str, float]] = (),
    precision: str = "stored",
    cache: Path | None = None,
    extra_buffers: bool | None = None,
    template: Path | None = None,
) -> LlamaChat:
    """Load a model for chat.

    `path` is a GGUF file, or an HF or LoRA adapter directory, which is converted once into `cache` (default:
    under `models.home()`) with matrices in `precision`: stored (their own type) | fp32 | bf16 | fp16. `lora` lists adapters with scales: LoRA-GGUF files, PEFT
    directories or low-rank skill files. `n_ctx` 0 is the trained length, at most 8,192; `threads` 0 measures.
    `template` is the GGUF a directory is converted like. `extra_buffers` None lets a probe decide (see `cpu_check`).
    """
    model, adapters = convert.runnable(Path(path), precision, cache, template)
    wanted = [*adapters, *((Path(file), float(scale)) for file, scale in lora)]
    if extra_buffers is None:
        extra_buffers = cpu_check.extra_buffers_work(model)
    chat = LlamaChat(str(path), Engine(model, n_ctx, threads, extra_buffers), cache)
    chat.set_lora(wanted)
    return chat


load_chat.precisions = ("fp32", "bf16", "fp16")  # type: ignore[attr-defined]  # mypy knows no attributes of functions
load_chat.check = convert.check  # type: ignore[attr-defined]  # what a dry run asks: would this model load?


class LlamaChat:
    """`api.ChatModel` on one llama.cpp context.

    Prompts of a batch run one after another, each reusing the longest prefix it shares with what was evaluated
    last: an agent that only appends pays for the new text alone. Reused tokens were evaluated in other batches than
    fresh ones would be, so the last bits of the logits may differ; the same calls in the same order give the same text.
    `finish` is `length` also when the context is full; a prompt without room for a token raises `ContextOverflow`.
    """

    def __init__(self, name: str, engine: Engine, cache: Path | None = None):
        self.name = name
        self.engine = engine
        self.precision = f"{convert.stored_type(engine.path)} weights, float16 keys and values"
        self._cache = cache
        self._formatter: Any = None

    def set_lora(self, adapters: Sequence[tuple[Path | str, float]]) -> None:
        """Use these (adapter, scale) pairs and no others, from now on; see `load_chat` for what an adapter is."""
        if not adapters and not self.engine.adapted:
            return
        base, cache = self.engine.path, self._cache
        ready = [(convert.runnable_adapter(Path(path), base, cache), scale) for path, scale in adapters]
        self.engine.set_adapters(ready)

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        return [self._complete(prompt, sampling) for prompt in prompts]

    @property
    def context(self) -> int:
        return self.engine.n_ctx

    def encode(self, text: str, special: bool) -> list[int]:
        if not special:
            return self.engine.tokenize(text, add_special=False, parse_special=False)
        beginning = self.engine.special_text("bos")
        return self.engine.tokenize(text, add_special=not (beginning and text.startswith(beginning)))

    def decode(self, ids: Sequence[int]) -> str:
        return decoded(b"".join(map(self.engine.piece, ids)))

    def written(self, ids: Sequence[int]) -> str:
        """The text of some tokens with control tokens written out, as a server is given it."""
        return decoded(b"".join(self.engine.piece(token, special=True) for token in ids))

    def complete_tokens(self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]) -> list[Completion]:
        """Continue each prompt in a sequence of its own, one token of all of them in each pass."""
        return together(self.engine, prompts, samplings)

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self._complete(self.render(messages), sampling)

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
        """The conversation in the file's own Jinja template, with the documentation of `tools`; a file without one is refused, never guessed at."""
        from jinja2 import TemplateError

        try:
            template, documented = self._template(), list(tools) or None
            turns = [message.to_dict() for message in messages]
            return rendered(lambda given: str(template(messages=given, tools=documented).prompt), turns)
        except (TemplateError, ValueError, TypeError) as error:
            name = self.engine.path.name
            raise UsageError(f"the chat template of {name} refuses this conversation: {error}") from error

    def _template(self) -> Any:
        if self._formatter is None:
            text = self.engine.chat_template()
            if text is None:
                raise UsageError(
                    f"{self.engine.path.name} carries no chat template",
                    "use an instruction-tuned model, or a GGUF made from one",
                )
            self._formatter = _formatter(text, self.engine)
        return self._formatter

    def close(self) -> None:
        self.engine.close()

    # ------------------------------------------------------------ one completion

    def _complete(self, prompt: str, sampling: Sampling) -> Completion:
        tokens = self.encode(prompt, special=True)
        return together(self.engine, [tokens], [sampling])[0]


def _formatter(text: str, engine: Engine) -> Any:
    """The template compiled as Hugging Face compiles it: sandboxed, `trim_blocks`, `lstrip_blocks`."""
    from jinja2 import TemplateError
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    try:
        return Jinja2ChatFormatter(text, eos_token=engine.special_text("eos"), bos_token=engine.special_text("bos"))
    except TemplateError as error:
        raise MismatchError(f"the chat template of {engine.path.name} is not valid Jinja: {error}") from error
