"""llama.cpp backend: GGUF checkpoints (read, write, quantise with ggml itself) and a llama.cpp chat model.

Attributes are made on first use, so that looking one up imports only what it needs.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "load_chat":
        from .chat import load_chat

        return load_chat
    if name == "gguf_format":
        from .format import GGUFFormat

        return GGUFFormat()
    if name == "doctor":
        from .doctor import doctor

        return doctor
    raise AttributeError(name)
