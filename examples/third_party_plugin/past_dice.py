"""An environment for `past`: tools that are answered by a program of yours. `past agent --tools table.dice --query "Roll."`

The module itself is the plugin: NAME and the three functions of the protocol `Environment` in `pastcli.api` are all that
is asked of it. Here a `.dice` file says how many sides the dice have; its seed makes every run the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli.api import Observation, Parameter, Task, ToolSpec, ToolWarnings, object_schema

NAME = "dice"


def claims(path: Path) -> bool:
    """True for what is ours; other files go to the tools formats, and can still be answered here by `--environment dice`."""
    return path.suffix == ".dice"


def tools(path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
    """What a model may call. The schema is JSON Schema, as rich as you like."""
    dice = {"type": "integer", "minimum": 1, "maximum": 5}
    schema = object_schema(Parameter("dice", "integer", "How many dice.", required=True, schema=dice))
    return [ToolSpec("roll_dice", "games", "", "roll_dice", "Roll some dice.", schema=schema)]


def open(path: Path, tools: Sequence[ToolSpec], tasks: Sequence[Task], **options: Any) -> Table:
    """Called once a run. Options meant for other environments arrive too."""
    return Table(json.loads(path.read_text(encoding="utf-8")))


class Table:
    """Answers calls. `deterministic` would promise the same answer to the same call: dice promise no such thing."""

    deterministic = False

    def __init__(self, settings: dict[str, int]):
        self._sides = settings.get("sides", 6)
        self._random = random.Random(settings.get("seed", 0))

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        """Never raise for what a model sent: say what is wrong with it."""
        dice = arguments.get("dice") if isinstance(arguments, dict) else None
        if not isinstance(dice, int) or not 1 <= dice <= 5:
            return Observation("dice must be a number from 1 to 5", "")
        return Observation("", [self._random.randint(1, self._sides) for _ in range(dice)])

    def close(self) -> None:
        """Nothing to let go of."""
