"""What a model that thinks first says in the end: its thoughts are no part of an answer, a text or a call."""

from __future__ import annotations

import re

THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*</think>", re.DOTALL)
"""From `<think>` to its end, or to the end of what was cut off in it. Of templates that begin the thought in the prompt
(DeepSeek R1, Qwen 3 Thinking) the reply holds the end alone."""


def spoken(text: str) -> str:
    """The text without what was thought."""
    return THOUGHT.sub("", text).strip()
