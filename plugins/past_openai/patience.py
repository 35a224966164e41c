"""Waiting for a server: said while it lasts, and ended when the server is dead rather than slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pastcli import output
from pastcli.errors import PastError

if TYPE_CHECKING:
    import openai

NOTE = 10.0
"""Seconds of silence after which, and how often from then on, somebody at the terminal is told that we wait."""

SIGN = 5.0
"""Seconds that a server has to give one."""


class Patience:
    """Calls of one server. A slow one may take `timeout` seconds for an answer; one that after `silence` seconds gives no
    sign of life, asked for its models, may not."""

    def __init__(self, client: openai.OpenAI, url: str, timeout: float, silence: float):
        self.client, self.url, self.timeout, self.silence = client, url, timeout, silence
        self._heard = self._told = time.monotonic()
        self._lock = threading.Lock()

    def heard(self, *_: Any) -> None:
        """Something came from the server: an answer, or an error that will be tried again."""
        self._heard = time.monotonic()

    def call(self, ask: Callable[..., Any], **arguments: Any) -> Any:
        """`ask(**arguments)`, waited for. Raises what it raises, and `PastError` if nothing comes."""
        came: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def work() -> None:
            try:
                came.put((ask(**arguments), None))
            except BaseException as error:
                came.put((None, error))

        began = looked = time.monotonic()
        threading.Thread(target=work, daemon=True).start()  # one that hangs must not keep the process from ending
        while True:
            try:
                answer, error = came.get(timeout=max(0.01, min(0.5, self.timeout / 4)))
            except Empty:
                looked = self._wait(began, looked)
                continue
            self.heard()
            if error is not None:
                raise error
            return answer

    def _wait(self, began: float, looked: float) -> float:
        """Nothing yet: say so, look whether the server lives, or give up. Gives the time of the last look."""
        now = time.monotonic()
        silent = now - max(began, self._heard)
        if silent > self.timeout:
            hint = "raise PAST_OPENAI_TIMEOUT (seconds), or try again"
            raise PastError(f"{self.url} did not answer in time: nothing for {silent:.0f} s", hint)
        with self._lock:
            if silent >= NOTE and now - self._told >= NOTE:
                self._told = now
                output.note(f"waiting for {self.url}: nothing for {silent:.0f} s")
        if silent < self.silence or now - looked < self.silence:
            return looked
        if not self._alive():
            hint = "is it still running? One that answers one request at a time needs PAST_OPENAI_SILENCE=600 (seconds)"
            raise PastError(f"{self.url} gave nothing for {silent:.0f} s, nor a sign of life when asked for one", hint)
        return time.monotonic()

    def _alive(self) -> bool:
        """Whether the server answers something else at once; which status it gives does not matter."""
        import openai

        try:
            self.client.with_options(timeout=SIGN, max_retries=0).get("/models", cast_to=object)
        except openai.APIStatusError:
            return True
        except openai.APIConnectionError:  # time-outs are such, too
            return False
        except openai.OpenAIError:
            return True
        return True
