"""The transcript: every event of a run, one JSON line each, on disk before what follows it begins.

It is also the run's memory. Episodes may run at the same time, so events belong to their (task, attempt), not to a
place in the file. What is recorded is given back as it was recorded: no model, tool or judge is asked a second
time. So a killed run goes on where it stopped, a replay is a run that may not append, and neither counts anything twice.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..api import Step
from ..config import AgentConfig
from ..errors import MismatchError, PastError
from ..records import workspace

FORMAT = 2
"""2: token ids of completions, versions of environment and judge, episodes may interleave. 1 can be replayed."""

Key = tuple[str, int]
"""(task id, attempt)"""


class EndOfTranscript(PastError):
    """A replay has come to the end of an unfinished episode."""


@dataclass
class Recorded:
    """What a transcript holds of one attempt; `lines` are the numbers of its steps' lines, `end_line` that of its end."""

    opening: dict[str, Any] | None = None
    steps: list[Step] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    end: dict[str, Any] | None = None
    end_line: int = 0


class Transcript:
    """Append-only JSONL. Events carry no clock but the model's own seconds, so equal runs, one episode after the other,
    give equal bytes."""

    def __init__(self, path: Path, replay: bool = False):
        """Take up `path` if it exists, without the line a crash may have torn; with `replay` nothing is written."""
        self.path = path
        self.replay = replay
        self.header: dict[str, Any] | None = None
        self._episodes: dict[Key, Recorded] = {}
        self._lock = threading.Lock()
        lines = _whole_lines(path)
        for number, line in enumerate(lines, start=1):
            self._take(number, json.loads(line))
        self.lines = len(lines)
        self._size = sum(map(len, lines))
        self._held: dict[Key | None, bytes] = {}

    @property
    def format(self) -> int:
        return self.header.get("format", 1) if self.header else FORMAT

    def recorded(self, key: Key) -> Recorded:
        """What there is of an attempt, empty if nothing."""
        return self._episodes.get(key, Recorded())

    def attempts(self) -> Iterator[Key]:
        """Every attempt of which there is a record."""
        return iter(self._episodes)

    def begin(self, header: dict[str, Any]) -> None:
        """The run's first event: kept back until there is something to follow it, or checked against the recorded one."""
        if self.header is None:
            self.header = header
            self._held[None] = _line(header)
        elif named_within(self.header, workspace()) != header:  # one of before has whole paths
            self.contradicts(1, self.header, header)

    def write(self, event: dict[str, Any]) -> None:
        """Append an event and wait until it is on disk. Raises `EndOfTranscript` in a replay.

        The beginning of an episode goes to disk with its first step: a run that never got an answer leaves no file.
        """
        if self.replay:
            raise EndOfTranscript("the transcript ends here")
        key = (event["task"], event["attempt"])
        with self._lock:
            if event["event"] == "episode":
                self._held[key] = _line(event)
                return
            self._append(self._held.pop(None, b"") + self._held.pop(key, b"") + _line(event))

    def contradicts(self, number: int, old: Any, new: Any) -> None:
        """Raise the error for a recorded line that would now be another."""
        raise MismatchError(
            f"line {number} of {self.path} says otherwise: {_difference(old, new)}",
            "tools, settings, model or version are not those of the transcript",
        )

    def _take(self, number: int, event: dict[str, Any]) -> None:
        if event.get("event") == "run":
            self.header = event
            return
        kept = self._episodes.setdefault((event.get("task", ""), event.get("attempt", 0)), Recorded())
        place = f"line {number} of {self.path}"
        if kept.end is not None or (event.get("event") == "step" and event.get("step") != len(kept.steps)):
            raise MismatchError(f"{place} goes on where its episode ends, or leaves a step out")
        if event.get("event") == "episode":
            kept.opening = event
        elif event.get("event") == "step":
            kept.steps.append(Step.from_dict(event))
            kept.lines.append(number)
        elif event.get("event") == "end":
            kept.end, kept.end_line = event, number
        else:
            raise MismatchError(f"{place} is no event of an agent transcript")

    def _append(self, data: bytes) -> None:
        with open(self.path, "r+b" if self.path.exists() else "xb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
        self.lines += data.count(b"\n")


def read_header(path: Path) -> dict[str, Any]:
    """The first event of a transcript; raises `MismatchError` if the file is none."""
    lines = _whole_lines(path)
    header = json.loads(lines[0]) if lines else {}
    if not isinstance(header, dict) or header.get("event") != "run":
        raise MismatchError(f"{path} is no agent transcript", "give the transcript.jsonl of a `past agent` run")
    return header


def config_of(header: dict[str, Any]) -> AgentConfig:
    """The settings of a recorded run, also an older version's: settings unknown today are left out, new ones are default."""
    known = {f.name for f in dataclasses.fields(AgentConfig)}
    return AgentConfig(**{name: value for name, value in header["config"].items() if name in known})


def _line(event: dict[str, Any]) -> bytes:
    # backslashreplace writes a lone surrogate as its JSON escape, so any text survives the way to disk and back.
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a transcript without a torn last one, the only damage that a crash can do."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            whole = line.endswith(b"\n") and isinstance(json.loads(line), dict)
        except ValueError:
            whole = False
        if not whole and number < len(lines):
            raise MismatchError(f"line {number} of {path} is damaged", "restore the file, or run anew")
        if not whole:
            return lines[:-1]
    return lines


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first field in which two events differ, shortened."""
    name = next((key for key in {**old, **new} if old.get(key) != new.get(key)), "order of fields")
    return f"{name} was {json.dumps(old.get(name))[:120]}, is {json.dumps(new.get(name))[:120]}"


NAMED = ("tools", "tasks", "model", "vectors")
"""What the header names by a path."""


def named_within(header: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A header whose paths below `folder` are those from there; others are as they were."""

    def inside(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [inside(one) for one in value]
        below = isinstance(value, str) and value.startswith(str(folder) + os.sep)
        return os.path.relpath(value, folder) if below else value

    return {name: inside(value) if name in NAMED else value for name, value in header.items()}
