"""What of past stands in the place of a library's own method, and whether the library came by there.

A later transformers or TRL may do the work of a method under another name. What was written over the old one would then never be called:
the training would go on by the library's own batches, schedule or sampling, end well, and be another one than was asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from transformers import TrainerCallback

from pastcli import tested
from pastcli.errors import PastError

Method = TypeVar("Method", bound=Callable[..., Any])

LIBRARIES = ("transformers", "trl", "accelerate", "peft")
_WITHIN, _CALLED = "_stands_in_within", "_called"


def stands_in(within: str = "training_step") -> Callable[[Method], Method]:
    """Written over a method of transformers or TRL that a training comes by whenever it comes by `within`, another method or an event."""

    def marked(method: Method) -> Method:
        @functools.wraps(method)
        def noted(self: Any, *args: Any, **named: Any) -> Any:
            self.__dict__.setdefault(_CALLED, set()).add(method.__name__)
            return method(self, *args, **named)

        setattr(noted, _WITHIN, within)
        return noted  # type: ignore[return-value]  # of the same form

    return marked


class Overrides(TrainerCallback):
    """Stops a training at the first step that passed by something that stands in. Nothing has been written by then."""

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        refuse_passed_by(self.trainer, "training_step")

    def on_save(self, *_: Any, **__: Any) -> None:
        refuse_passed_by(self.trainer, "on_save")


def refuse_passed_by(trainer: Any, event: str) -> None:
    called = {event} | trainer.__dict__.get(_CALLED, set())
    missed = {name for name, within in _standing_in(type(trainer)).items() if within in called} - called
    if missed:
        raise PastError(
            f"the libraries installed pass by what past does itself ({', '.join(sorted(missed))}): this would be another training",
            tested.suspects() or tested.install(LIBRARIES),
        )


def _standing_in(kind: type) -> dict[str, str]:
    """{method: within which it is called} of a kind of trainer, without those that it has no need of."""
    unneeded = {name for one in kind.__mro__ for name in vars(one).get("unneeded", ())}
    return {
        name: within
        for name in set(dir(kind)) - unneeded
        if (within := getattr(getattr(kind, name, None), _WITHIN, None)) is not None
    }
