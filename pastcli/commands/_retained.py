"""The price beside the gain: what each model of `past eval` kept of its base, measured once and kept in the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, output, runs

if TYPE_CHECKING:
    from ..api import ChatModel, Completes


class Measured:
    """`measure(label, chat)` for every model; `found(label)` gives the figures, None where there are none.

    The base is loaded when the first model is measured. Figures lie in `file`, so that a resumed run has them.
    """

    def __init__(self, base: str, load: Callable[[str], ChatModel], file: Path):
        self._base, self._load, self._file = base, load, file
        self._found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self._yardstick: Any = None

    def done(self, label: str) -> bool:
        return not self._base or label in self._found

    def found(self, label: str) -> dict[str, float] | None:
        return self._found.get(label)

    def measure(self, label: str, chat: Completes) -> None:
        """Compare a loaded model with the base; a backend or vocabulary that does not allow it is said, and no figure."""
        if self.done(label):
            return
        try:
            self._yardstick = self._yardstick or self._of_base()
            figures = (
                asdict(self._yardstick.measure(chat))
                if self._yardstick and hasattr(chat, "log_probabilities")
                else None
            )
        except ValueError as reason:
            output.warn(f"{label}: what it kept of {self._base} cannot be measured: {reason}")
            figures = None
        self._found[label] = figures
        runs.write_json(self._file, self._found)

    def _of_base(self) -> Any:
        from ..evals import yardstick

        output.note(f"measuring what is kept of {self._base}")
        base = self._load(str(models.resolve(self._base).path))
        try:
            made = yardstick(base)
        finally:
            base.close()
        if made is None:
            output.warn("this backend gives no probabilities of texts: what is kept of the base is not measured")
        return made
