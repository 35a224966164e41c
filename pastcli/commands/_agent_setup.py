"""What `past agent` works with: tools, tasks, the model and what answers its calls; and a transcript run again."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, output, registry, runs
from ..config import AgentConfig
from ..errors import MismatchError, PastError, UsageError
from ..regular import oddity
from ._lineage import model_of, newest
from ._loading import settled

if TYPE_CHECKING:
    from ..api import ChatModel, ToolEnv
    from ..tools.load import ToolSet


def load(tools: Path, queries: list[str], tasks: Path | None, config: Any) -> ToolSet:
    """The tools file, its warnings said, and settings that flags alone cannot check."""
    if config.attempts > 1 and config.temperature == 0:
        output.warn("greedy decoding gives the same attempt every time", "add --temperature 0.7")
    if config.decoding == "schema":
        output.warn("decoding mode `schema` shows the model what it is to recall: not comparable with other modes")
    loaded = read(tools, queries, tasks, config.strict_tools)
    for line in loaded.warnings.lines():
        output.warn(line)
    return loaded


def read(tools: Path, queries: list[str], tasks: Path | None, strict: bool) -> ToolSet:
    """The tools with the file's own queries, those typed, or those of a tasks file."""
    from dataclasses import replace

    from ..tools.load import load_tools
    from ..tools.tasks import expected_tasks, read_tasks

    if tasks is None:
        return load_tools(tools, queries, strict)
    entries = read_tasks(tasks)
    loaded = load_tools(tools, [entry["query"] for entry in entries], strict)
    return replace(loaded, tasks=tuple(expected_tasks(entries, loaded.tasks, tasks)))


def tasks_of(loaded: ToolSet, config: Any) -> tuple[Any, ...]:
    return loaded.tasks[: config.limit] if config.limit else loaded.tasks


def model_path(name: str | None, local: bool, injected: bool = True) -> str:
    """What the backend is given: a path for backends that run files, else the name as typed."""
    if name is not None:
        return str(models.resolve(name).path) if local else name
    if not local:
        raise UsageError("this backend needs the name of a model", "give --model NAME")
    hint = "give --model PATH, or run `past sft` first"
    try:  # a model that has the skill already would get it twice
        record = newest("inject" if injected else "sft", made=models.MODEL_OUTPUTS, hint=hint)
    except UsageError:
        record = newest("rl", "sft", made=models.MODEL_OUTPUTS, hint=hint)
    return str(model_of(record, "model").path)


def chat_of(load: Any, model: str, config: AgentConfig) -> ChatModel:
    """The model; one behind a server with a local tokenizer of its kind, if the user named it."""
    if not config.tokenizer:
        return load(model)
    if getattr(load, "local", True):
        raise UsageError("--tokenizer is for models behind a server", "a local model has its own")
    from ..agent.served import Served
    from ..config import EvalConfig

    found = models.resolve(config.tokenizer)
    backend = AgentConfig().backend if found.kind == "gguf" else EvalConfig().backend
    return Served(load(model), registry.load("chat", backend)(str(found.path)))


def converting(load: Any, template: Path | None, backend: str) -> Any:
    """`load` with the GGUF a model is converted like, if one was named; raises `UsageError` if the backend converts none."""
    if template is None:
        return load
    plain = load.func if isinstance(load, functools.partial) else load
    if "template" not in inspect.signature(plain).parameters:
        raise UsageError(f"the {backend} backend takes no --template", "it is for --backend llamacpp")
    if not template.is_file():
        raise UsageError(f"no file {template}", "--template names a GGUF of the base model")
    return settled(load, template=template)


def check_plugins(config: AgentConfig) -> None:
    """Raise `UsageError` for judges and environments that are not there, or need a model that is not named."""
    for name in (config.judge, *config.also_judge):
        judge = registry.load("judge", name)
        if hasattr(judge, "open") and not config.judge_model:
            judge.open(None, "", config.judge_votes)  # refuses by itself if it cannot do without
    if config.environment:
        registry.load("environment", config.environment)


def environment(loaded: ToolSet, tools: Path, config: AgentConfig) -> ToolEnv:
    """What answers the calls; a model of its own for the environment `llm`."""
    from ..tools.load import open_environment

    options = {"model": config.simulator_model, "backend": config.simulator_backend}
    return open_environment(loaded, tools, config.environment, **options)


def _transcript(given: Path) -> Path:
    """A transcript, or that of the run named; raises `UsageError` where there is none."""
    try:
        found = given if given.is_file() else runs.find(str(given)).output("transcript")
    except PastError:
        found = None
    if found is None or not found.is_file() or oddity(found):
        raise UsageError(f"no transcript {given}", "give a `past agent` run, or its transcript.jsonl")
    return found


def _named_by(transcript: Path, name: str) -> Path:
    """What a transcript names: from the workspace its run lies in, or from this one if it was taken out of there."""
    places = [folder / name for folder in (transcript.resolve().parent.parent.parent, runs.workspace())]
    return next((place for place in places if place.exists()), places[0])


def replay(path: Path, tools: Path | None, tasks: Path | None, as_json: bool) -> None:
    """Run a transcript again from its own words: same parsing, same observations, same verdicts, to the byte."""
    from ..agent.drivers import run_tasks, same_version
    from ..agent.strangers import lent
    from ..agent.transcript import Transcript, config_of, read_header
    from ..hashing import is_hash_of

    path = _transcript(path)
    recorded = read_header(path)
    config = config_of(recorded)
    file = tools or _named_by(path, recorded["tools"])
    asked = tasks or (_named_by(path, recorded["tasks"]) if recorded.get("tasks") else None)
    loaded = read(file, recorded["queries"], asked, config.strict_tools)
    for name, given in (("tools", file), ("tasks", asked)):
        if given is not None and not (given.exists() and is_hash_of(recorded.get(f"{name}_hash", ""), given)):
            raise MismatchError(
                f"{given} is not the {name} file of the transcript any more", f"give that file: --{name} FILE"
            )
    transcript = Transcript(path, replay=True)
    wanted = tasks_of(loaded, config)
    judge = registry.load("judge", config.judge)  # without a model: its verdicts are in the record
    with lent(environment(loaded, file, config), "environment") as env:
        results = run_tasks(None, env, judge, wanted, config, transcript)
    document = {
        "transcript": str(path),
        "identical": True,
        "complete": len(results) == len(wanted) * config.attempts,
        "episodes": len(results),
        "lines": transcript.lines,
        "observations": "as computed now" if same_version(env, recorded.get("environment", "")) else "as recorded",
        "verdicts": "as computed now" if same_version(judge, recorded.get("judge", "")) else "as recorded",
    }
    output.emit(document, as_json)
