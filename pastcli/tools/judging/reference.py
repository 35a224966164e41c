"""The `reference` judge: did an episode do what a run known to solve the query did? For queries with a `Reference`.

Made to be a second opinion: it shares no code with `rules` and knows something that `rules` does not, the very call and
the very value. So whoever pleases one of them by accident does not please the other. It is strict where `rules` is lenient
(another way to the answer counts for nothing) and blind where `rules` looks (what else the answer claims).
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from ...api import Episode, ExpectedCall, Verdict

LONGEST = 600
"""Characters beyond which an answer that holds the value is a dump of everything rather than an answer."""


class ReferenceJudge:
    """Role `past.judges`, name `reference`."""

    name = "reference"
    version = "reference/2"
    deterministic = True

    def judge(self, episode: Episode) -> Verdict:
        """Solved: every call of the reference was made and accepted, and the final answer states its value. Partially
        Solved: the calls without the answer. `Ungraded` where no reference is known."""
        reference = episode.task.reference
        if reference is None:
            return Verdict("Ungraded", "no run is known that solves this query")
        made = sum(_was_made(call, episode) for call in reference.calls)
        details = {"calls": made, "expected": len(reference.calls)}
        if made < len(reference.calls):
            return Verdict("Unsolved", f"{len(reference.calls) - made} of the known calls not made", details)
        if episode.status != "finished":
            return Verdict("Partially Solved", f"the known calls made, and no answer: {episode.status}", details)
        if len(episode.answer) > LONGEST or not _states(episode.answer, reference.answer):
            return Verdict("Partially Solved", "the known calls made, the known value not given", details)
        return Verdict("Solved", "the known calls made and the known value given", details)


def _was_made(call: ExpectedCall, episode: Episode) -> bool:
    for step in episode.steps:
        spec = next((tool for tool in episode.task.tools if tool.name == step.action), None)
        if step.outcome != "ok" or spec is None or spec.key != call.key or not isinstance(step.arguments, dict):
            continue
        given = {spec.aliases.get(name, name): value for name, value in step.arguments.items()}
        if given.keys() == call.arguments.keys() and all(
            any(_folded(given[name]) == _folded(right) for right in allowed) for name, allowed in call.arguments.items()
        ):
            return True
    return False


def _folded(value: Any) -> str:
    """A value as one text: numbers by their value also when written as texts, texts without case and outer space."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return f"{value:g}" if abs(value) < 1e6 else f"{value}"
    if isinstance(value, str):
        text = unicodedata.normalize("NFKC", value).strip().casefold()
        return _folded(float(text)) if re.fullmatch(r"-?\d{1,6}(\.\d{1,4})?", text) else text
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


_DENIED = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bno longer|\binstead of|\brather than)(?: (?!but\b|only\b|just\b)\w+)?"
    r"(?: (?:a|an|at|be|been|by|exactly|in|is|of|on|the|to))*[ \"'“‘(]*\Z"
)
"""What says of the value behind it that it is not the one: "it is not 12", "does not cost 12", "41 rather than 12"."""


def _states(answer: str, value: str) -> bool:
    """True if the value stands in the answer as it is (not as a part of a longer word or number), and is not denied there."""
    text, wanted = (" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in (answer, value))
    found = re.finditer(rf"(?<![\w.,-]){re.escape(wanted)}(?![\w-]|[.,]\d)", text)
    return bool(wanted) and any(not _DENIED.search(text[: one.start()]) for one in found)


reference = ReferenceJudge()
