"""Self-test of the llama.cpp backend, for `past doctor`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pastcli import models
from pastcli.api import Message, Sampling
from pastcli.errors import PastError


def doctor() -> list[tuple[str, bool, str]]:
    """(check, passed, detail): the library loads, the packaged model decodes, and how fast."""
    from .native import library

    system = library().llama_print_system_info().decode("utf-8", "replace")
    used = [part.partition(" = ")[0].strip() for part in system.split("|") if part.strip().endswith("= 1")]
    checks = [("llama.cpp", True, f"llama-cpp-python {version('llama-cpp-python')}; {', '.join(used)}")]
    try:
        model = models.resolve("smol").path
    except PastError as error:
        return [*checks, ("llama.cpp decoding", False, f"not tested: {error.message}")]
    return [*checks, _decoding(model)]


def _decoding(model: Path) -> tuple[str, bool, str]:
    from .chat import load_chat

    chat = load_chat(model, n_ctx=512)
    try:
        prompt = [Message("user", "Name three colours.")]
        greedy = Sampling(max_tokens=32)
        first = chat.chat(prompt, greedy)
        again = chat.chat(prompt, greedy)
        rate = again.completion_tokens / again.seconds
        mode = "repacked weights" if chat.engine.extra_buffers else "plain weights (repacking crashes here)"
        detail = f"{rate:.0f} tokens/s with {chat.engine.threads} thread(s), {mode}"
        if not first.text.strip() or first.token_ids != again.token_ids:
            return ("llama.cpp decoding", False, f"greedy answers differ: {first.text[:40]!r}, {again.text[:40]!r}")
        return ("llama.cpp decoding", True, detail)
    finally:
        chat.close()
