"""The types that cross borders: what a plugin implements and what stages hand to one another.

Seven plugin roles, each an entry-point group (`registry.GROUPS`):

===================  ===========================================================================
`past.trainers`      an object with `sft(job)` and `rl(job)`                     -> `Trainer`
`past.checkpoints`   an object that opens and writes one file format            -> `CheckpointFormat`
`past.chat`          `load(path, **options) -> ChatModel`
`past.rewards`       `f(prompts, completions, **columns) -> list[float | None]` -> `Reward`
`past.judges`        an object with `judge(episode) -> Verdict`                  -> `Judge`
`past.tool_formats`  a module: NAME, `accepts(document)`, `read(document, …)`    -> `ToolFormat`
`past.environments`  a module: NAME, `claims(path)`, `tools(path, …)`, `open(…)` -> `Environment`
===================  ===========================================================================

A chat backend whose models are not files on this machine (a server's, a script) says `load.local = False`:
its names are then handed over as typed instead of being looked up as paths, runs, aliases and hub ids. Where a name alone
does not tell the model, as of two servers that call theirs alike, `load.identity(name)` does: answers are kept under it.

A chat backend that can compute in other types than the one a model is stored in lists them in `load.precisions` (of
`fp32`, `bf16`, `fp16`) and takes `precision`; its models say in `precision` what computed.

Nothing here imports numpy or torch: arrays appear only as annotations. A module is imported when a name in it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat import ChatModel, Completes, Completion, Message, Sampling, ScoresTexts, TokenModel
    from .checkpoints import (
        Adapter,
        AddingWriter,
        CarriesOthers,
        Checkpoint,
        CheckpointFormat,
        CheckpointWriter,
        DirectoryOf,
        HasCompanions,
        HasVocabulary,
        Identity,
        LowRank,
        NamesModules,
        RunsModels,
        SaysUsage,
        SingleFileFormat,
        StoredBits,
        StoredFloats,
        TensorSpec,
    )
    from .documents import Passage, PassageStream, Question
    from .rollouts import Episodes, Rollout, Timed
    from .schemas import Parameter, object_schema
    from .tool_plugins import Environment, ToolDocument, ToolFormat, ToolWarnings
    from .tools import (
        Episode,
        ExpectedCall,
        Judge,
        JudgeError,
        Observation,
        Reference,
        Step,
        Task,
        ToolEnv,
        ToolSpec,
        Verdict,
    )
    from .training import Progress, Reward, Trainer, TrainJob, TrainResult

__all__ = [
    "Adapter",
    "AddingWriter",
    "CarriesOthers",
    "ChatModel",
    "Checkpoint",
    "CheckpointFormat",
    "CheckpointWriter",
    "Completes",
    "Completion",
    "DirectoryOf",
    "Environment",
    "Episode",
    "Episodes",
    "ExpectedCall",
    "HasCompanions",
    "HasVocabulary",
    "Identity",
    "Judge",
    "JudgeError",
    "LowRank",
    "Message",
    "NamesModules",
    "Observation",
    "Parameter",
    "Passage",
    "PassageStream",
    "Progress",
    "Question",
    "Reference",
    "Reward",
    "Rollout",
    "RunsModels",
    "Sampling",
    "SaysUsage",
    "ScoresTexts",
    "SingleFileFormat",
    "Step",
    "StoredBits",
    "StoredFloats",
    "Task",
    "TensorSpec",
    "Timed",
    "TokenModel",
    "ToolDocument",
    "ToolEnv",
    "ToolFormat",
    "ToolSpec",
    "ToolWarnings",
    "TrainJob",
    "TrainResult",
    "Trainer",
    "Verdict",
    "object_schema",
]

_MODULES = ("checkpoints", "documents", "schemas", "chat", "tools", "tool_plugins", "rollouts", "training")
"""Where the names stand; what most commands need comes first."""


def __getattr__(name: str) -> Any:
    """A name when it is asked for: making all of these classes takes a tenth of a short command's imports."""
    if name in __all__:
        for module in _MODULES:
            home = import_module(f"{__name__}.{module}")
            if hasattr(home, name):
                globals()[name] = found = getattr(home, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
