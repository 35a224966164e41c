"""The types of tools and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool. `type` is a JSON-schema type name, or 'any' when the source names none."""

    name: str
    type: str = "string"
    description: str = ""
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] = ()
    raw_name: str = ""


@dataclass(frozen=True)
class ToolSpec:
    """One callable API. `name` is what the model sees; (`category`, `tool`, `api`) is the key of record."""

    name: str
    category: str
    tool: str
    api: str
    description: str = ""
    method: str = "GET"
    parameters: tuple[Parameter, ...] = ()
    response_template: Any = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.category, self.tool, self.api)

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name: as shown to the model, or as the source spelled it."""
        exposed = next((p for p in self.parameters if p.name == name), None)
        return exposed or next((p for p in self.parameters if p.raw_name == name), None)


@dataclass(frozen=True)
class Task:
    """One query for the agent with the tools it may use; `relevant` holds tool keys a good run calls."""

    id: str
    query: str
    tools: tuple[ToolSpec, ...]
    relevant: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Observation:
    """What a tool answered: `error` is '' on success; `response` any JSON value."""

    error: str
    response: Any = None

    def to_dict(self) -> dict[str, Any]:
        return {"error": self.error, "response": self.response}


class ToolEnv(Protocol):
    """Runs tool calls. Must not raise on bad arguments: those are observations with `error` set."""

    def call(self, spec: ToolSpec, arguments: Any) -> Observation: ...


@dataclass
class Episode:
    """One attempt at one task: the steps as written to the transcript, and how it ended.

    A step has `thought`, `action`, `arguments`, `outcome` (`ok`, `invalid`, `unknown`, `malformed` or `finish`),
    `observation` (`Observation.to_dict()`, or None after Finish), `repairs` and `completion`; see `agent.react`.
    `status` is `finished`, `gave_up`, `max_turns`, `stuck` or `context_overflow`.
    """

    task: Task
    attempt: int
    steps: list[dict[str, Any]]
    status: str
    answer: str = ""


@dataclass(frozen=True)
class Verdict:
    """A judge's label: `Solved`, `Partially Solved`, `Unsolved`, or `Ungraded` when it cannot tell."""

    label: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """The `past.judges` role."""

    name: str

    def judge(self, episode: Episode) -> Verdict: ...
