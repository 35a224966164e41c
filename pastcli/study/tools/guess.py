"""What knowing nothing of the target earns: a first call that names whatever the source's APIs are called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...agent.figures import f1, needing, recall
from ...api import Task, ToolSpec


def guess(tests: Sequence[Task], source: Sequence[ToolSpec]) -> dict[str, Any] | None:
    """`first_call_recall` and `first_call_f1` of who calls the right function with every parameter of the source at once,
    and how many `names` those are. None where no test needs a parameter."""
    names = {parameter.name for spec in source for parameter in spec.parameters}
    asked = [specs for task in tests if (specs := needing(task))]
    if not asked:
        return None
    found = {"first_call_recall": recall, "first_call_f1": f1}
    means = {
        name: sum(sum(figure(spec, names) for spec in specs) / len(specs) for specs in asked) / len(asked)
        for name, figure in found.items()
    }
    return {"names": len(names), **means}
