"""A model's answer, read strictly: what is not in the form that was asked for is rejected, never guessed at."""

from __future__ import annotations

import re

from ..passages import statements

_PAIR = re.compile(r"<question>(.*?)</question>\s*<answer>(.*?)</answer>", re.S)
_TAG = re.compile(r"</?(?:question|answer)>")


def pairs(answer: str) -> list[tuple[str, str]]:
    """(question, answer) of each complete pair of tags; one that is cut off or nested is not one."""
    found = [(" ".join(q.split()), " ".join(a.split())) for q, a in _PAIR.findall(answer)]
    return [(q, a) for q, a in found if q and a and not _TAG.search(q) and not _TAG.search(a)]


def lines(answer: str, finished: bool) -> list[str]:
    """Statements, one a line; the last one is left out where the model was cut off in it."""
    found = statements(answer)
    return found if finished or not found else found[:-1]


def text(answer: str, finished: bool) -> list[str]:
    """The answer as one text, in a list; none where it was cut off, or begins by talking about itself."""
    body = "\n".join(line.strip() for line in answer.strip().splitlines() if line.strip())
    chatter = re.match(r"(?:here is|here's|sure|certainly|of course|rewritten|summary\b)[^\n]*:\s*", body, re.I)
    body = body[chatter.end() :].strip() if chatter else body
    return [body] if body and finished else []
