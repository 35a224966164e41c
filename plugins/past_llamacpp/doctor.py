"""Self-test of the llama.cpp backend, for `past doctor`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pastcli import models
from pastcli.api import Message, Sampling
from pastcli.errors import PastError

NEAR = {"f16": 5e-4, "bf16": 4e-3, "q8_0": 0.01, "q6_k": 0.03, "q5_k": 0.06, "q5_0": 0.06, "q4_k": 0.12, "q4_0": 0.12}
"""Root mean square of what a type loses of normal numbers, in their own: a bound, some half again of what is seen."""
KNOWN = "The capital of France is", " Paris"
"""What the packaged model says after what: of positions or logits that are not where past looks for them, something else would come."""


def doctor() -> list[tuple[str, bool, str]]:
    """(check, passed, detail): the library loads, it packs weights as gguf reads them, the packaged model decodes, and how fast."""
    from .native import library

    system = library().llama_print_system_info().decode("utf-8", "replace")
    used = [part.partition(" = ")[0].strip() for part in system.split("|") if part.strip().endswith("= 1")]
    checks = [("llama.cpp", True, f"llama-cpp-python {version('llama-cpp-python')}; {', '.join(used)}")]
    checks.append(_packing())
    try:
        model = models.resolve("smol").path
    except PastError as error:
        return [*checks, ("llama.cpp decoding", False, f"not tested: {error.message}")]
    return [*checks, _decoding(model)]


def _packing() -> tuple[str, bool, str]:
    """ggml is called by the places of its functions in memory: what it packs must be near what it was given, and what gguf's own
    arithmetic, in numpy alone, reads there must be what ggml itself does."""
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    from . import ggml

    value = np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)
    for name, near in NEAR.items():
        kind = ggml.parse_type(name)
        raw = ggml.quantize(value.reshape(-1), kind, value.shape[1])
        read = ggml.dequantize(raw, kind, np.empty(value.size, np.float32))
        theirs = quants.dequantize(raw.reshape(len(value), -1), GGMLQuantizationType(kind)).reshape(-1)
        lost = float(np.sqrt(np.square(read - value.reshape(-1)).mean()))
        if lost > near or not np.allclose(read, theirs, rtol=1e-5, atol=1e-6):
            return ("llama.cpp packing", False, f"{name} loses {lost:.2g} of weights, and gguf reads others in it")
    return (
        "llama.cpp packing",
        True,
        f"gguf {version('gguf')} reads the weights that ggml packs, in {len(NEAR)} types",
    )


def _decoding(model: Path) -> tuple[str, bool, str]:
    from .chat import load_chat

    chat = load_chat(model, n_ctx=512)
    try:
        prompt = [Message("user", "Name three colours.")]
        greedy = Sampling(max_tokens=32)
        first = chat.chat(prompt, greedy)
        again = chat.chat(prompt, greedy)
        (known,) = chat.complete(KNOWN[:1], greedy)
        if not known.text.startswith(KNOWN[1]):
            return ("llama.cpp decoding", False, f"after {KNOWN[0]!r} it says {known.text[:40]!r}, not {KNOWN[1]!r}")
        rate = again.completion_tokens / again.seconds
        mode = "repacked weights" if chat.engine.extra_buffers else "plain weights (repacking crashes here)"
        detail = f"{rate:.0f} tokens/s with {chat.engine.threads} thread(s), {mode}"
        if not first.text.strip() or first.token_ids != again.token_ids:
            return ("llama.cpp decoding", False, f"greedy answers differ: {first.text[:40]!r}, {again.text[:40]!r}")
        return ("llama.cpp decoding", True, detail)
    finally:
        chat.close()
