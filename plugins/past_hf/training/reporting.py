"""Reporters of `--report-to` beside a training: what they wait for it does not wait for, and what they fail at does not end it."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import os
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import MLflowCallback, TensorBoardCallback, WandbCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from pastcli import leaving, output
from pastcli.errors import UsageError

PATIENCE = 60.0
"""Seconds a reporter has to begin, and at the end to take in what it was told."""

_KEPT = "log.jsonl has every number, `past runs watch` draws them"
_WAYS = {
    "wandb": "`wandb login`, or WANDB_MODE=offline to write beside the run and send it later",
    "mlflow": "is MLFLOW_TRACKING_URI one that answers? Without it mlflow writes here",
    "trackio": "without TRACKIO_SPACE_ID trackio writes on this machine",
}
_UNTRUE = ("epoch", "total_flos", "train_loss", "train_samples_per_second", "train_steps_per_second", "train_runtime")
"""What transformers adds that is another number here: the plan is one epoch to it, however many it holds, operations are not counted
in the tuned step, and its means over a training are too small after a resume."""


class Reporter(TrainerCallback):
    """One of transformers' callbacks in a thread of its own.

    What keeps it from beginning is a `UsageError` before the first step. Of what it fails at later the user is warned once.
    """

    def __init__(self, name: str, inner: Any, run: str):
        self.name, self.inner, self.run = name, inner, run
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._warned = self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"report-to-{name}", daemon=True)

    def _work(self) -> None:
        while True:
            call, done = self._calls.get()
            if self._failure is None:
                try:
                    call()
                except BaseException as error:  # wandb's own is told as such, and some end in SystemExit
                    self._failure = error
            done.set()

    def _do(self, call: Callable[[], object]) -> threading.Event:
        done = threading.Event()
        self._calls.put((call, done))
        return done

    def _pass_on(self, event: str, args: Any, state: Any, control: Any, **more: Any) -> threading.Event:
        """Hand an event to the thread, with the state as it is now."""
        at = copy.copy(state)
        return self._do(lambda: getattr(self.inner, event)(args, at, control, **more))

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._thread.start()
        named = copy.copy(args)
        named.run_name = self.run
        with _nobody_to_ask():
            in_time = self._waited(self._pass_on("on_train_begin", named, state, control, **more))
        if in_time and self._failure is None:
            return
        self._ended = True
        said = _reason(self._failure) if self._failure else f"no answer in {PATIENCE:.0f} seconds"
        way = _WAYS.get(self.name, f"is {self.name} set up and reachable?")
        raise UsageError(f"--report-to {self.name}: {said}", f"{way}; or leave it out: {_KEPT}") from self._failure

    @staticmethod
    def _waited(done: threading.Event) -> bool:
        """Whether it was done in time; if not, its library must not keep this process at its end either."""
        in_time = done.wait(PATIENCE)
        if not in_time:
            leaving.wait_for_nobody()
        return in_time

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **more: Any) -> None:
        told = {key: value for key, value in (logs or {}).items() if key not in _UNTRUE}
        if told:
            self._pass_on("on_log", args, state, control, logs=told, **more)
        self._warn()

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._pass_on("on_save", args, state, control, **more)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.end(state.global_step >= state.max_steps, args, state, control, **more)

    def end(self, whole: bool, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Close what is reported to; a training that ends before its last step must not stand there as finished."""
        if self._ended or not self._thread.is_alive():
            return
        self._ended = True
        inner = self.inner

        def close() -> None:
            if isinstance(inner, MLflowCallback) and not whole:
                inner._ml_flow.end_run("FAILED")
            if whole or not isinstance(inner, WandbCallback):
                inner.on_train_end(args, state, control, **more)
            if isinstance(inner, WandbCallback):
                inner._wandb.finish(exit_code=int(not whole))

        in_time = self._waited(self._do(close))
        self._warn(None if in_time else f"it had not taken in everything {PATIENCE:.0f} seconds after the end")

    def _warn(self, trouble: str | None = None) -> None:
        trouble = trouble or (_reason(self._failure) if self._failure else None)
        if trouble and not self._warned:
            self._warned = True
            output.warn(f"--report-to {self.name} failed, the training does not: {trouble}; {_KEPT}")


def guard(trainer: Any) -> None:
    """Put a `Reporter` in the place of each callback of `--report-to`; only the first process has any."""
    names = {kind: name for name, kind in INTEGRATION_TO_CALLBACK.items()}
    callbacks, folder = trainer.callback_handler.callbacks, trainer.job.watch
    for place, one in reversed(list(enumerate(callbacks))):
        if name := names.get(type(one)):
            guarded = Reporter(name, one, _called(name, folder.name if folder else "training"))
            callbacks[place : place + 1] = [guarded] if trainer.args.should_save else []


def _called(name: str, run: str) -> str:
    """The run's name where people look for it. trackio goes on with one of the same name, which another workspace may have."""
    own = os.environ.get("WANDB_NAME") if name == "wandb" else None
    return own or (f"{run}-{secrets.token_hex(3)}" if name == "trackio" else run)


def purge_curves(trainer: Any, step: int) -> None:
    """Let TensorBoard forget what a run that was killed had reported of the steps after `step`, from which it goes on: each of
    them would be drawn twice."""
    for one in trainer.callback_handler.callbacks:
        if isinstance(one, Reporter) and isinstance(one.inner, TensorBoardCallback):
            one.inner._SummaryWriter = functools.partial(one.inner._SummaryWriter, purge_step=step + 1)


@contextlib.contextmanager
def closing(trainer: Any) -> Iterator[None]:
    """Where the training within fails, its reporters are told so."""
    try:
        yield
    except BaseException:
        for one in trainer.callback_handler.callbacks:
            if isinstance(one, Reporter):
                one.end(False, trainer.args, trainer.state, trainer.control)
        raise


@contextlib.contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """A library that would ask for a key must fail instead: who started the training may have left."""
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
