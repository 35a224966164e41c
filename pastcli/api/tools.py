"""The types of tools and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from .schemas import Parameter, Schema, object_schema, parameters

Key = tuple[str, str, str]
"""(category, tool, api) as the source spells them: the identity of an API, whatever its shown name."""


@dataclass(frozen=True)
class ToolSpec:
    """One callable API. `name` is what the model sees; (`category`, `tool`, `api`) is the key of record.

    `schema` is the whole JSON Schema (2020-12) of the arguments, an object whose members have their names as shown to
    the model and whose references stay inside of it; `aliases` maps a name as the source spells it to the one shown.
    The response is documented by a ToolBench template (`response_template`) or a JSON Schema (`response_schema`).
    """

    name: str
    category: str
    tool: str
    api: str
    description: str = ""
    method: str = "GET"
    schema: Schema = field(default_factory=object_schema, hash=False)
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)
    response_template: Any = field(default=None, hash=False)
    response_schema: Schema | None = field(default=None, hash=False)

    @property
    def key(self) -> Key:
        return (self.category, self.tool, self.api)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The flat view of `schema`: what recall is measured by and names-only prompts know of."""
        return parameters(self.schema, self.aliases)

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        shown = {p.name: p for p in self.parameters}
        return {spelled: shown[name] for spelled, name in self.aliases.items() if name in shown} | shown

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name: as shown to the model, or as the source spelled it."""
        return self._by_name.get(name)


@dataclass(frozen=True)
class ExpectedCall:
    """A call that a good run makes: for each argument the values that are right; `optional` ones may be left out."""

    key: Key
    arguments: Mapping[str, tuple[Any, ...]] = field(default_factory=dict, hash=False)
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """One query for the agent with the tools it may use, and what is known of a good run.

    `relevant` holds the keys of tools it calls, `expected_calls` the calls with their arguments, `expected_answer` the
    answer in words, `check` a Python function as `file.py:function`.
    """

    id: str
    query: str
    tools: tuple[ToolSpec, ...]
    relevant: tuple[Key, ...] = ()
    expected_calls: tuple[ExpectedCall, ...] = ()
    expected_answer: str | None = None
    check: str = ""


@dataclass(frozen=True)
class Observation:
    """What a tool answered: `error` is '' on success; `response` any JSON value."""

    error: str
    response: Any = None

    def to_dict(self) -> dict[str, Any]:
        return {"error": self.error, "response": self.response}


class ToolEnv(Protocol):
    """Runs tool calls. Must not raise on bad arguments: those are observations with `error` set.

    Calls may come from several threads at once.
    """

    def call(self, spec: ToolSpec, arguments: Any) -> Observation: ...

    def close(self) -> None:
        """Let go of processes and connections. Safe to call twice."""


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
