"""The types that cross borders: what a plugin implements and what stages hand to one another.

Five plugin roles, each an entry-point group (`registry.GROUPS`):

=================  =============================================================================
`past.trainers`    an object with `sft(job)` and `rl(job)`                       -> `Trainer`
`past.checkpoints` an object that opens and writes one file format              -> `CheckpointFormat`
`past.chat`        `load(path, **options) -> ChatModel`
`past.rewards`     `f(prompts, completions, **columns) -> list[float | None]`   -> `Reward`
`past.judges`      an object with `judge(episode) -> Verdict`                    -> `Judge`
=================  =============================================================================

A chat backend whose models are not files on this machine (a server's, a script) says `load.local = False`:
its names are then handed over as typed instead of being looked up as paths, runs, aliases and hub ids.

Nothing here imports numpy or torch: arrays appear only as annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

# ---------------------------------------------------------------- chat models


@dataclass(frozen=True)
class Message:
    """One chat message; `role` is `system`, `user`, `assistant` or `tool`."""

    role: str
    content: str

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy; `seed` makes sampling reproducible per call.

    `grammar` is a GBNF text for backends that support it; others must raise `UsageError` when it is set.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    grammar: str | None = None


@dataclass(frozen=True)
class Completion:
    """What a model answered. `finish` is `stop` (stop string or end token) or `length`.

    `evaluated_tokens` counts prompt tokens that were really computed (fewer than `prompt_tokens` when a
    prefix was reused); `seconds` is wall time of this answer, a batch's time divided over its rows.
    """

    text: str
    finish: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    evaluated_tokens: int = 0
    seconds: float = 0.0
    token_ids: tuple[int, ...] = ()


@runtime_checkable
class ChatModel(Protocol):
    """A loaded language model: raw completion in batches, and chat through the model's own template."""

    name: str

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Continue each raw text; results in the order of `prompts`."""

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation rendered with the model's chat template."""

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt text of a conversation, ending where the assistant is to speak.

        `complete([render(messages)], ...)` must equal `chat(messages, ...)`. The agent renders once and then only
        appends text, so that each turn reuses the evaluated prefix of the one before. A prompt that does not fit
        makes `complete` and `chat` raise `ContextOverflow`.
        """

    def close(self) -> None:
        """Free the model. Safe to call twice."""


# ---------------------------------------------------------------- checkpoints


@dataclass(frozen=True)
class TensorSpec:
    """Name (HF spelling), shape in torch order, and stored type (`F32`, `BF16`, `F16`, `Q4_1`, ...)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def columns(self) -> int:
        """Length of a row: the last dimension, or 1 for a scalar."""
        return self.shape[-1] if self.shape else 1


@dataclass(frozen=True)
class Identity:
    """What must agree before two checkpoints may be added: not the weights, but what they mean.

    `shapes_sha256` covers the sorted (name, shape) list; `tokenizer_sha256` the tokenizer files' vocabulary,
    or '' when the format carries none; `tied` says that lm_head and embeddings are one tensor.
    """

    architecture: str
    vocab_size: int
    tied: bool
    shapes_sha256: str
    tokenizer_sha256: str = ""


class Checkpoint(Protocol):
    """Read side of one model on disk (or in memory). Names are always HF names."""

    path: Path
    format: str

    def specs(self) -> Mapping[str, TensorSpec]:
        """Every stored tensor, in file order. Tied embeddings appear once, as the input embedding."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> "np.ndarray":
        """Elements [start, stop) of one tensor in C order: a fresh 1-D float32 array the caller may change.

        16-bit types widen exactly, quantised ones are dequantised. `start` and `stop` are row boundaries of
        the tensor seen as (numel / shape[-1], shape[-1]) or, inside longer rows, multiples of 256. Called
        from several threads at once. Raises `MismatchError` naming the tensor when the file is too short.
        """

    def identity(self) -> Identity:
        """See `Identity`. Reads headers only."""

    def close(self) -> None:
        """Release maps and handles."""


@dataclass(frozen=True)
class LowRank:
    """The matrix scale * b @ a: `b` is (rows, rank), `a` (rank, columns), both float32."""

    b: "np.ndarray"
    a: "np.ndarray"
    scale: float = 1.0


class Adapter(Checkpoint, Protocol):
    """A checkpoint that holds changes to another one: `specs` and `read` give the changes, named as in the base."""

    base: str

    def factors(self, name: str) -> LowRank:
        """The change of one tensor as it is stored."""


class CheckpointWriter(Protocol):
    """Write side: blocks of tensors in any order and from several threads; no model is visible before `finish`."""

    def write(self, name: str, start: int, value: "np.ndarray") -> "np.ndarray":
        """Store float32 `value` (1-D) as elements [start, start + len) in the file's type for `name`.

        Returns what was stored, as float32: survival is measured on that. Blocks are cut as for `Checkpoint.read`.
        """

    def copy(self, name: str) -> None:
        """Take the template's tensor over unchanged, byte for byte when the stored type is the same."""

    def finish(self) -> None:
        """Write headers, indexes, configs, tokenizer; only now can the result be opened."""

    def close(self) -> None:
        """Release handles, whether finished or not. Safe to call twice."""


class CheckpointFormat(Protocol):
    """The `past.checkpoints` role: one file format."""

    name: str

    def accepts(self, path: Path) -> bool:
        """True if `path` is of this format, judged by content, without importing anything heavy."""

    def open(self, path: Path) -> Checkpoint:
        """Open for reading; raises `MismatchError` on a corrupt file, naming the tensor."""

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> CheckpointWriter:
        """A writer for a checkpoint laid out like `template` (same tensors, config, tokenizer) at `out`.

        `dtype` is the stored type of every tensor (`auto`: as in the template), `types` overrides it by name;
        `rounding` is `nearest` or `stochastic` (seeded), which a format may refuse with `UsageError`.
        """

    def cast(self, value: "np.ndarray", dtype: str, columns: int) -> "np.ndarray":
        """float32 `value` (1-D, whole rows of `columns`) as it would come back from stored type `dtype`."""


# ---------------------------------------------------------------- training

Progress = Callable[[int, int, Mapping[str, float]], None]
"""progress(done_steps, total_steps, latest metrics)"""


@dataclass(frozen=True)
class TrainJob:
    """What a trainer needs, all of it on disk.

    `model` is an HF directory (fp32 or 16-bit); `examples` a JSONL file: for SFT rows of
    `{"text"}` or `{"prompt", "completion"}`, for RL rows of `{"prompt", "answer", "answers"}` plus any
    further columns, which reach the rewards. `out` is a directory the trainer creates and fills
    (`model/` or `adapter/` inside it). `state` is where resumable checkpoints live; when it holds one
    and `resume` is set, training continues from it. `config` is the stage's dataclass of `pastcli.config`.
    """

    model: Path
    examples: Path
    out: Path
    state: Path
    config: Any
    resume: bool = False
    progress: Progress | None = None
    rewards: Sequence[tuple[str, float, "Reward"]] = ()


@dataclass(frozen=True)
class TrainResult:
    """`path` is the HF directory or adapter directory made; `log` one dict a logged step."""

    path: Path
    kind: str
    steps: int
    tokens: int
    seconds: float
    initial_hash: str
    final_hash: str
    log: list[dict[str, float]] = field(default_factory=list)


class Trainer(Protocol):
    """The `past.trainers` role."""

    name: str

    def sft(self, job: TrainJob) -> TrainResult: ...

    def rl(self, job: TrainJob) -> TrainResult: ...


class Reward(Protocol):
    """The `past.rewards` role; `None` marks an item that cannot be graded (never silently 0)."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]: ...


# ---------------------------------------------------------------- tools and agents


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


# ---------------------------------------------------------------- documents


@dataclass(frozen=True)
class Passage:
    """One line of corpus.jsonl: a text with its provenance.

    `kind` is `passage` or `implication`; `source` says where it came from: path, format, page or
    character span, sha256 of the file.
    """

    id: str
    doc: str
    title: str
    text: str
    kind: str = "passage"
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A closed-book question with its accepted answers (the first is the reference)."""

    id: str
    question: str
    answers: tuple[str, ...]
    doc: str = ""


PassageStream = Iterable[Passage]
