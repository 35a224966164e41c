"""The types of tools and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from .chat import Completion
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
class Reference:
    """A run that is known to solve a query: its calls, and what its answer must hold.

    It grades nothing by itself: only a judge that is named for it (`reference`) looks at it, so that a reward by another
    judge and an evaluation by this one have no code and no knowledge in common.
    """

    calls: tuple[ExpectedCall, ...]
    answer: str


@dataclass(frozen=True)
class Task:
    """One query for the agent with the tools it may use, and what is known of a good run.

    `relevant` holds the keys of tools it calls, `expected_calls` the calls with their arguments, `expected_answer` the
    answer in words, `check` a Python function as `file.py:function`. `reference` is a run known to solve it.
    """

    id: str
    query: str
    tools: tuple[ToolSpec, ...]
    relevant: tuple[Key, ...] = ()
    expected_calls: tuple[ExpectedCall, ...] = ()
    expected_answer: str | None = None
    check: str = ""
    reference: Reference | None = None


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


@dataclass(frozen=True)
class Step:
    """One turn of an episode: what the model said, how it was read, and what came of it.

    `completion` is the raw answer, `arguments` any JSON value, `repairs` what had to be mended to read it. `error` is ''
    when there is an action with readable arguments. `outcome` is `ok` or `invalid` (the tool's word), `unknown` (no such
    function), `malformed` (nothing to call) or `finish`; `observation` is None after Finish.
    """

    index: int
    seed: int
    completion: Completion
    thought: str
    action: str
    arguments: Any
    repairs: tuple[str, ...]
    error: str
    outcome: str
    observation: Observation | None

    def to_dict(self) -> dict[str, Any]:
        """The step as a transcript holds it."""
        return {
            "step": self.index,
            "seed": self.seed,
            "completion": {**vars(self.completion), "token_ids": list(self.completion.token_ids)},
            "thought": self.thought,
            "action": self.action,
            "arguments": self.arguments,
            "repairs": list(self.repairs),
            "error": self.error,
            "outcome": self.outcome,
            "observation": self.observation.to_dict() if self.observation else None,
        }

    @staticmethod
    def from_dict(event: Mapping[str, Any]) -> Step:
        """The step of a transcript's event; transcripts before format 2 kept no token ids."""
        said = event["completion"]
        observed = event["observation"]
        return Step(
            index=event["step"],
            seed=event["seed"],
            completion=Completion(**{**said, "token_ids": tuple(said.get("token_ids", ()))}),
            thought=event["thought"],
            action=event["action"],
            arguments=event["arguments"],
            repairs=tuple(event["repairs"]),
            error=event["error"],
            outcome=event["outcome"],
            observation=None if observed is None else Observation(observed["error"], observed["response"]),
        )


@dataclass(frozen=True)
class Episode:
    """One attempt at one task: its steps, and how it ended.

    `status` is `finished`, `gave_up`, `max_turns`, `stuck` or `context_overflow`.
    """

    task: Task
    attempt: int
    steps: tuple[Step, ...]
    status: str
    answer: str = ""


LABELS = ("Solved", "Partially Solved", "Unsolved", "Ungraded")


@dataclass(frozen=True)
class Verdict:
    """A judge's label, one of `LABELS`: `Ungraded` when it cannot tell."""

    label: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgeError:
    """How often a judge was wrong about answers that it met for the first time, labelled by people: `false_solved` of
    `not_solved` were called Solved, and `false_not_solved` of `solved` were not."""

    false_solved: int
    not_solved: int
    false_not_solved: int
    solved: int


class Judge(Protocol):
    """The `past.judges` role. May be asked from several threads at once (`--parallel`).

    A judge that always says the same of the same episode may have `deterministic = True` and a `version`: a replay then
    asks it again and compares, if the version is that of the transcript. One that needs a model has
    `open(chat, identity, votes) -> Judge` instead: it is given the loaded `ChatModel` of `--judge-model` (None without
    one), a text that says which model it is, and `--judge-votes`. One whose errors were measured may have an `error`
    (`JudgeError`), which is told beside what it says of a run.
    """

    name: str

    def judge(self, episode: Episode) -> Verdict: ...
