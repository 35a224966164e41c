"""The smallest backend there is: a chat model that follows a script, and checkpoints that live in memory.

Tests use it as a double, and a plugin author as a template. What makes a package a plugin is a line of its
pyproject.toml; `past plugins` then lists it, and nothing of it is imported before somebody asks for it by name:

    [project.entry-points."past.chat"]
    echo = "past_echo:load_chat"            # `past agent --backend echo --model script.jsonl`

    [project.entry-points."past.checkpoints"]
    memory = "past_echo:memory_format"

Keep this file light: import what is heavy (numpy, torch, a client library) only where it is used.
"""

from __future__ import annotations

from typing import Any

from .chat import load_chat

__all__ = ["doctor", "load_chat", "memory_format"]


def doctor() -> list[tuple[str, bool, str]]:
    """What `past doctor` asks a chat plugin: (check, passed, detail) of a moment's work."""
    from pastcli.api import Message, Sampling

    said = load_chat("echo").chat([Message("user", "hello")], Sampling()).text
    return [("echo", "hello" in said, "says what it is told")]


def __getattr__(name: str) -> Any:
    """`memory_format`, made when first asked for: it needs numpy, and a chat model does not."""
    if name != "memory_format":
        raise AttributeError(name)
    from .memory import MemoryFormat

    return MemoryFormat()
