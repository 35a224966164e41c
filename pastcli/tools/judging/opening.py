"""A judge by name, with the model and the settings it takes."""

from __future__ import annotations

from typing import Any

from ... import models, registry
from ...api import Judge
from ...hashing import hash_path


def open_judge(name: str, backend: str, model: str, votes: int) -> Judge:
    """The judge plugin `name`; one that has `open(chat, identity, votes)` is given its chat model, loaded by `backend`.

    Raises `UsageError` for unknown names, `PastError` where a judge needs a model and none is named.
    """
    judge = registry.load("judge", name)
    if not hasattr(judge, "open"):
        return judge
    if not model:
        return judge.open(None, "", votes)
    load = registry.load("chat", backend)
    path, identity = model, f"{backend}:{model}"
    if getattr(load, "local", True):
        path = str(models.resolve(model).path)
        identity = f"{backend}:{hash_path(models.resolve(model).path)}"
    return judge.open(load(path), identity, votes)


def close_judge(judge: Any) -> None:
    """Free a judge's model, if it has one."""
    if hasattr(judge, "close"):
        judge.close()
