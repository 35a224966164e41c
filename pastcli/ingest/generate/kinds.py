"""What can be made of a passage: each kind with its prompt, how its answer is read, and what becomes of it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ...errors import UsageError


@dataclass(frozen=True)
class Kind:
    """One kind of knowledge.

    `gives` is `lines` (statements, one a line), `text` (one passage) or `pairs` (question and answer). `short` answers
    are taken from the passage word by word and can be asked for by `past rl` and `past eval`. Without a `prompt` the
    kind is made by rule.
    """

    name: str
    gives: str
    prompt: bool = True
    short: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("implications", "lines"),
        Kind("rewrite", "text"),
        Kind("summary", "text"),
        Kind("self_qa", "pairs", short=True),
        Kind("factual", "pairs", short=True),
        Kind("reasoning", "pairs"),
        Kind("definition", "pairs"),
        Kind("comparison", "pairs"),
        Kind("listing", "pairs"),
        Kind("significance", "pairs"),
        Kind("verbatim", "pairs", prompt=False),
        Kind("recall", "pairs", prompt=False),
        Kind("cloze", "pairs", prompt=False, short=True),
    )
}

SIX = ("factual", "reasoning", "definition", "comparison", "listing", "significance")
"""The question kinds of long documents, in rotation (METHOD 3): passage i gets kind i mod 6."""

GROUPS = {"six": SIX, "rules": ("verbatim", "recall", "cloze")}


def chosen(names: Sequence[str], has_model: bool) -> list[str]:
    """The kinds asked for: names of `KINDS`, `six` (in rotation) or `rules`. Raises `UsageError` for what is unknown, or needs
    a model where there is none."""
    found: list[str] = []
    for name in names:
        if name not in KINDS and name not in GROUPS:
            known = [*KINDS, *GROUPS]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise UsageError(f"no kind of knowledge is called {name!r}", hint)
        found += GROUPS["rules"] if name == "rules" else [name]
    needing = [name for name in found if name == "six" or KINDS[name].prompt]
    if needing and not has_model:
        raise UsageError(
            f"{', '.join(needing)} must be written by a model", "name one: --model NAME, or use --kind rules"
        )
    return list(dict.fromkeys(found))


def kind_for(name: str, number: int) -> Kind:
    """The kind that passage `number` gets under a chosen name."""
    return KINDS[SIX[number % len(SIX)] if name == "six" else name]


def prompt_text(kind: Kind, overrides: Path | None) -> str:
    """The prompt of a kind: `NAME.txt` of the user's folder if it is there, else the one that comes with `past`.

    Raises `UsageError` if it has no place for the passage.
    """
    own = overrides / f"{kind.name}.txt" if overrides else None
    if own is not None and own.is_file():
        text = own.read_text(encoding="utf-8")
    else:
        text = (resources.files(__package__) / "prompts" / f"{kind.name}.txt").read_text(encoding="utf-8")
    if "{text}" not in text:
        raise UsageError(
            f"the prompt {own} has no {{text}}", "write {text} where the passage goes, and {title} for its title"
        )
    return text


def filled(prompt: str, title: str, text: str) -> str:
    """The prompt with a passage in it; braces in either stay as they are."""
    before, after = prompt.split("{text}", 1)
    return before.replace("{title}", title) + text + after.replace("{title}", title)
