"""An episode in figures: the parts of a reward as they are before weights, and the known ways of cheating one.

A training logs their means; its watchdog stops when a policy has settled on calling everything, on calling the same again, on
handing over what it saw, or on finishing at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...api import Episode
from ..judging.evidence import weigh
from .answers import CALLED, dumps, to_the_point, told_asked
from .calls import first_attempts, right_first_calls, strangers, wanted_calls
from .repeats import repeats


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
        "asked_again": float(repeats(episode) > 0),
        "finished": float(finished),
        "finished_at_once": float(bool(outcomes) and outcomes[0] == "finish"),
        "dumped": float(dumps(episode)) if finished else None,
        "told_asked": told_asked(episode) if finished else None,
        "to_the_point": to_the_point(episode) if finished else None,
    }


def _called_strangers(episode: Episode) -> tuple[int, int]:
    """(functions called that are not needed, functions shown that are not needed)."""
    wanted = wanted_calls(episode)
    shown = {spec.name for spec in episode.task.tools} - set(wanted)
    return len(strangers(episode) & shown), len(shown) if wanted else 0


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
