"""Calls into tools and judges, which may be anybody's code: what they end in is one line that names them."""

from __future__ import annotations

from typing import Any

from ..api import Episode, Judge, Observation, ToolEnv, ToolSpec, Verdict
from ..errors import crashes_of

HINT = "no episode is scored for it; mend it, and --resume goes on from what is kept"


def observed(env: ToolEnv, spec: ToolSpec, arguments: Any) -> Observation:
    """What the tool answers; a crash raises `PastError`, for what nobody answered must not be judged or learned from."""
    with crashes_of(f"environment {getattr(env, 'name', type(env).__name__)!r}", HINT):
        return env.call(spec, arguments)


def judged(judge: Judge, episode: Episode) -> Verdict:
    """The verdict; a crash raises `PastError`."""
    with crashes_of(f"judge {getattr(judge, 'name', '')!r}", HINT):
        return judge.judge(episode)
