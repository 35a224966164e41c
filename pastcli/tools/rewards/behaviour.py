"""An episode in figures: the parts of a reward as they are before weights, and the known ways of cheating one.

A training logs their means; its watchdog stops when a policy has settled on calling everything, on handing over what it saw,
or on finishing at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import SequenceMatcher

from ...api import Episode
from ..judging.checks import is_copied, repeats_all
from ..judging.claims import read
from ..judging.rules import LONGEST, weigh
from .calls import first_attempts, right_first_calls, strangers, wanted_calls

CALLED = ("ok", "invalid", "unknown")
COPIED = 20
"""Characters of an observation's JSON in an answer, spaces and quotes left out, from which it is copied."""


def describe(episode: Episode) -> Mapping[str, float | None]:
    """Figures by name, each between 0 and 1 but `turns` and `calls`; None where an episode says nothing of one."""
    outcomes = [step.outcome for step in episode.steps]
    calls = [step for step in episode.steps if step.outcome in CALLED]
    wanted = sum(wanted_calls(episode).values())
    weighed = weigh(episode) if calls else None
    finished = episode.status == "finished"
    return {
        "turns": len(outcomes),
        "calls": len(calls),
        "valid_calls": _share(sum(step.outcome == "ok" for step in calls), len(calls)),
        "unknown_calls": _share(outcomes.count("unknown"), len(calls)),
        "malformed": _share(outcomes.count("malformed"), len(outcomes)),
        "grounded": _share(weighed.grounded, weighed.values) if weighed else None,
        "tried_wanted": _share(len(first_attempts(episode)), wanted),
        "first_calls_right": _share(right_first_calls(episode), wanted),
        "strangers_called": _share(*_called_strangers(episode)),
        "finished": float(finished),
        "finished_at_once": float(bool(outcomes) and outcomes[0] == "finish"),
        "dumped": float(is_dump(episode)) if finished else None,
    }


def _called_strangers(episode: Episode) -> tuple[int, int]:
    """(functions called that are not needed, functions shown that are not needed)."""
    wanted = wanted_calls(episode)
    shown = {spec.name for spec in episode.task.tools} - set(wanted)
    return len(strangers(episode) & shown), len(shown) if wanted else 0


def is_dump(episode: Episode) -> bool:
    """True for an answer that hands over what was observed instead of saying what was asked, in whatever length."""
    if not episode.answer or not any(step.outcome in CALLED for step in episode.steps):
        return False
    facts = weigh(episode).facts
    if len(episode.answer) > LONGEST or is_copied(episode.answer, facts) or _holds_json(episode):
        return True
    return repeats_all(facts, read(episode.answer, facts).used)


def _holds_json(episode: Episode) -> bool:
    """True if half of the answer, and `COPIED` characters at least, are one stretch of an observation with two of its JSON keys."""
    answer = "" if re.search(r"\bjson\b", episode.task.query, re.IGNORECASE) else _squeezed(episode.answer)
    for step in episode.steps:
        if step.observation is None or not answer:
            continue
        shown = _squeezed(json.dumps(step.observation.to_dict(), ensure_ascii=False))
        same = SequenceMatcher(None, answer, shown, autojunk=False).find_longest_match()
        piece = answer[same.a : same.a + same.size]
        if same.size >= max(COPIED, len(answer) / 2) and re.search(r"\w:.*,\w+:", piece):
            return True
    return False


def _squeezed(text: str) -> str:
    """Without spaces, quotes and backslashes: JSON in JSON."""
    return re.sub(r"[\s'\"\\\\]", "", text)[:LONGEST]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
