"""Hugging Face backend: TRL trainers, safetensors checkpoints, LoRA adapters, transformers chat.

Attributes are made on first use, so that looking one up imports only what it needs.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "trainer":
        from .training import HFTrainer

        return HFTrainer()
    if name == "load_chat":
        from .chat import load_chat

        return load_chat
    if name == "hf_format":
        from .checkpoint import HFFormat

        return HFFormat()
    if name == "lora_format":
        from .adapter import LoraFormat

        return LoraFormat()
    if name == "doctor":
        from .doctor import doctor

        return doctor
    raise AttributeError(name)
