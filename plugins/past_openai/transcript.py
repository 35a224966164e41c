"""A conversation as one text and back, for servers that keep their chat template to themselves.

An agent renders once and then appends what was said; whatever follows the last marker is what the assistant has
already said in this turn, and is sent as an assistant message to be carried on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pastcli.api import Message

_HEAD = "\x1epast-transcript\n"
_MARK = re.compile(r"\x1e(\w+)\n")
"""U+001E, the record separator, occurs in no natural text and is taken out of what is rendered."""


def render(messages: Sequence[Message]) -> str:
    """The text of a conversation, ending where the assistant is to speak."""
    turns = (f"\x1e{message.role}\n{message.content.replace(chr(0x1E), ' ')}" for message in messages)
    return _HEAD + "".join(turns) + "\x1eassistant\n"


def parse(text: str) -> list[Message]:
    """The messages of a rendered text, with what was appended to it; [] if it is not one."""
    if not text.startswith(_HEAD):
        return []
    _, *pieces = _MARK.split(text[len(_HEAD) :])
    messages = [Message(role, content) for role, content in zip(pieces[::2], pieces[1::2], strict=True)]
    return messages if messages[-1].content else messages[:-1]
