"""A judge by name, with the model and the settings it takes."""

from __future__ import annotations

from ... import registry
from ...api import Judge
from ...errors import UsageError, crashes_of
from ...votes import loaded
from .llm import Preference


def open_judge(name: str, backend: str, model: str, votes: int) -> Judge:
    """The judge plugin `name`; one that has `open(chat, identity, votes)` is given its chat model, loaded by `backend`.

    Raises `UsageError` for unknown names, `PastError` where a judge needs a model and none is named.
    """
    judge = registry.load("judge", name)
    if not hasattr(judge, "open"):
        return judge
    chat, identity = loaded(backend, model) if model else (None, "")
    with crashes_of(f"judge {name!r}"):
        return judge.open(chat, identity, votes)


def open_preference(backend: str, model: str) -> Preference:
    """A judge of pairs; raises `UsageError` without a model."""
    if not model:
        raise UsageError("preferring one of two runs needs a model", "give --judge-model NAME (and --judge-backend)")
    return Preference(*loaded(backend, model))
