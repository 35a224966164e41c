"""Calls into tools and judges, which may be anybody's code: what they end in is one line that names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..api import Episode, Judge, Observation, ToolEnv, ToolSpec, Verdict
from ..api.tools import LABELS
from ..errors import PastError, crashes_of

HINT = "no episode is scored for it; mend it, and --resume goes on from what is kept"

Part = TypeVar("Part")


def observed(env: ToolEnv, spec: ToolSpec, arguments: Any) -> Observation:
    """What the tool answers; a crash raises `PastError`, for what nobody answered must not be judged or learned from. So
    does what is no observation."""
    with crashes_of(_called("environment", env), HINT):
        answer: Any = env.call(spec, arguments)
    if not isinstance(answer, Observation):
        raise PastError(f"{_called('environment', env)} gave no Observation, but {_kind_of(answer)}", HINT)
    return answer


def judged(judge: Judge, episode: Episode) -> Verdict:
    """The verdict; a crash raises `PastError`, and so does a label that nobody knows: it would count as not gradable, and a
    reward would go on without its judge."""
    with crashes_of(_called("judge", judge), HINT):
        verdict: Any = judge.judge(episode)
    if not isinstance(verdict, Verdict):
        raise PastError(f"{_called('judge', judge)} gave no Verdict, but {_kind_of(verdict)}", HINT)
    if verdict.label not in LABELS:
        raise PastError(
            f"{_called('judge', judge)} gave the label {str(verdict.label)[:40]!r}", f"labels are {', '.join(LABELS)}"
        )
    return verdict


@contextmanager
def lent(part: Part, kind: str) -> Iterator[Part]:
    """An environment or a judge for as long as the block runs; a crash in letting it go raises `PastError`, unless the block
    ended in a fault of its own, which says more."""
    try:
        yield part
    except BaseException:
        with suppress(Exception, SystemExit):
            let_go(part, kind)
        raise
    let_go(part, kind)


def let_go(part: Any, kind: str) -> None:
    """Close it, if there is anything to close."""
    if hasattr(part, "close"):
        with crashes_of(f"closing {_called(kind, part)}", HINT):
            part.close()


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _called(kind: str, part: Any) -> str:
    return f"{kind} {(getattr(part, 'name', '') or type(part).__name__)!r}"
