"""What a judge's word is worth: its measured errors, told beside what it says of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...api import Judge, JudgeError, Task
from ...stats import wilson


def error_told(judge: Judge, read: Iterable[Task]) -> dict[str, Any]:
    """The judge's version and its two rates of error with 95 % intervals (Wilson); {} of a judge that nobody measured, and where each of
    the tasks that it graded (`read`) says itself what is expected, which decides without it."""
    error: JudgeError | None = getattr(judge, "error", None)
    if error is None or all(task.expected_calls or task.expected_answer is not None or task.check for task in read):
        return {}
    told: dict[str, Any] = {"judge": getattr(judge, "version", judge.name), "answers": error.not_solved + error.solved}
    for name, wrong, of in (
        ("false_solved", error.false_solved, error.not_solved),
        ("false_not_solved", error.false_not_solved, error.solved),
    ):
        told[name], told[f"{name}_low"], told[f"{name}_high"] = (wrong / of, *wilson(wrong, of)[1:])
    return told
