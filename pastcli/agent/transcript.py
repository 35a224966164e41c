"""The transcript: every event of a run, one JSON line each, on disk before the next one begins.

It is also the run's memory. A transcript opened with lines in it first *checks* what is written against them,
and only then appends; `Recorded` answers from it until it is exhausted. So a killed run goes on where it
stopped, a replay is a run that may not append, and neither can count anything twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..api import ChatModel, Completion, Message, Sampling
from ..errors import ContextOverflow, MismatchError, PastError


class EndOfTranscript(PastError):
    """A replay has come to the end of an unfinished transcript."""


class Transcript:
    """Append-only JSONL. Events carry no clock but the model's own seconds, so equal runs give equal bytes."""

    def __init__(self, path: Path, replay: bool = False):
        """Take up `path` if it exists, without the line a crash may have torn; with `replay` nothing is written."""
        self.path = path
        self.replay = replay
        self.position = 0
        self._lines = _whole_lines(path)
        self._size = sum(map(len, self._lines))
        self._pending = b""

    def peek(self) -> dict[str, Any] | None:
        """The recorded event that comes next; None when everything recorded has been passed."""
        return json.loads(self._lines[self.position]) if self.position < len(self._lines) else None

    def write(self, event: dict[str, Any]) -> None:
        """Append one event and wait until it is on disk; or check it against the recorded one in its place.

        What comes before a step goes to disk with it: a run that never got an answer leaves no file.
        """
        # backslashreplace writes a lone surrogate as its JSON escape, so any text survives the way to disk and back.
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self.position < len(self._lines):
            if line != self._lines[self.position]:
                difference = _difference(self.peek() or {}, json.loads(line))
                raise MismatchError(
                    f"line {self.position + 1} of {self.path} says otherwise: {difference}",
                    "tools, settings, model or version are not those of the transcript",
                )
        elif self.replay:
            raise EndOfTranscript("the transcript ends here")
        else:
            self._pending += line
            if event["event"] in ("step", "end"):
                self._append()
        self.position += 1

    def _append(self) -> None:
        with open(self.path, "r+b" if self.path.exists() else "xb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(self._pending)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(self._pending)
        self._pending = b""


class Recorded:
    """A `ChatModel` that gives the recorded completions first and then asks `live`, if there is one."""

    def __init__(self, transcript: Transcript, live: ChatModel | None):
        self.name = live.name if live else "transcript"
        self._transcript = transcript
        self._live = live

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        event = self._transcript.peek()
        if event is None:
            return self._model().complete(prompts, sampling)
        if event["event"] == "step":
            return [Completion(**event["completion"])]
        if event.get("status") == "context_overflow":
            raise ContextOverflow("recorded")
        where = f"line {self._transcript.position + 1} of {self._transcript.path}"
        raise MismatchError(f"{where} holds no step where one is due")

    def render(self, messages: Sequence[Message]) -> str:
        """The live model's rendering, which is then checked against the record; without one, the record's."""
        event = self._transcript.peek()
        if self._live is None and event is not None:
            return event.get("prompt", "")
        return self._model().render(messages)

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return self.complete([self.render(messages)], sampling)[0]

    def close(self) -> None:
        if self._live is not None:
            self._live.close()

    def _model(self) -> ChatModel:
        if self._live is None:
            raise EndOfTranscript("the transcript ends here")
        return self._live


def read_header(path: Path) -> dict[str, Any]:
    """The first event of a transcript; raises `MismatchError` if the file is none."""
    lines = _whole_lines(path)
    header = json.loads(lines[0]) if lines else {}
    if not isinstance(header, dict) or header.get("event") != "run":
        raise MismatchError(f"{path} is no agent transcript", "give the transcript.jsonl of a `past agent` run")
    return header


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
