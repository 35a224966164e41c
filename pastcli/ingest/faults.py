"""One bad item spoils only itself: what was left out, where, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import output
from ..errors import UsageError


@dataclass
class Faults:
    """What could not be used of one or several files, as (place, reason); under `strict` the first one is an error."""

    strict: bool = False
    items: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, reason: str, hint: str | None = None) -> None:
        """Leave something out. Raises `UsageError` under `strict`."""
        if self.strict:
            raise UsageError(f"{place}: {reason}", hint)
        self.items.append((place, reason))

    def warn(self, most: int = 20) -> None:
        """One numbered warning each, up to `most`, then how many more."""
        for number, (place, reason) in enumerate(self.items[:most], 1):
            output.warn(f"skipped {number}: {place}: {reason}")
        if len(self.items) > most:
            output.warn(f"skipped {len(self.items) - most} more", "`--strict` makes the first of them an error")
