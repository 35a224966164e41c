"""Built-in rewards for closed-book questions; each is also the template for a reward of your own.

A reward is `f(prompts, completions, **columns) -> list[float | None]`, one number an item. `columns` holds the
other fields of the questions file, one list each; these rewards read `answers` (lists of accepted texts) and
`answer` (one text). The answer is the completion's first line, scored by `pastcli.qa` exactly as evaluation
does. An item without an accepted answer gives None: it cannot be graded, which is not the same as wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import qa

MAX_WORDS = 8
"""The longest answer that `format_gated` calls short."""


def exact_match(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """1 if the normalised answer equals an accepted one, else 0."""
    return _graded(completions, columns, qa.exact_match)


def f1(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Token F1 in [0, 1] with the best accepted answer: pays for coming closer, so fewer groups are dead."""
    return _graded(completions, columns, qa.f1)


def contains(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """1 if an accepted answer stands in the first line as whole words, else 0."""
    return _graded(completions, columns, qa.contains)


def format_gated(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """`contains`, paid only in the right form: the completion is one line of at most `MAX_WORDS` words.

    Form opens the gate and never pays by itself: a well-formed wrong answer gets 0, so does a rambling right one.
    """
    graded = zip(_graded(completions, columns, qa.contains), completions, strict=True)
    return [None if right is None else right * well_formed(text) for right, text in graded]


def well_formed(completion: str) -> bool:
    """One line that says something in at most `MAX_WORDS` words."""
    lines = completion.strip().splitlines()
    return len(lines) == 1 and len(lines[0].split()) <= MAX_WORDS and any(c.isalnum() for c in lines[0])


def _graded(
    completions: Sequence[str], columns: dict[str, Any], score: Callable[[str, Sequence[str]], float]
) -> list[float | None]:
    items = zip(completions, accepted(len(completions), columns), strict=True)
    return [score(qa.first_line(text), answers) if answers else None for text, answers in items]


def accepted(count: int, columns: dict[str, Any]) -> list[list[str]]:
    """The accepted answers of each item: `answer` first, then `answers`; [] where there is none."""
    single, many = (columns.get(name) or [None] * count for name in ("answer", "answers"))
    found = []
    for one, more in zip(single, many, strict=True):
        texts = [one, *([more] if isinstance(more, str) else more or [])]
        found.append(list(dict.fromkeys(str(text) for text in texts if text is not None and str(text).strip())))
    return found
