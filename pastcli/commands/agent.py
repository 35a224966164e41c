"""`past agent`: a model with tools."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import models, output, registry, runs
from ..config import AgentConfig
from ..errors import MismatchError, UsageError
from ._lineage import model_of, newest
from ._options import AllowStale, DryRun, Force, Json, Resume, complete_model, finished_before, with_settings

if TYPE_CHECKING:
    from ..agent.player import Result
    from ..api import ToolEnv
    from ..tools.load import ToolSet

EXAMPLE = "Example: `past agent --tools toolbench.json --limit 10`"


TOOLS = typer.Option(
    "--tools",
    metavar="FILE",
    help="Tools file or folder (ToolBench, OpenAI functions, OpenAPI, MCP, BFCL), mcp.json, or a Python module.",
)
QUERY = typer.Option("--query", metavar="TEXT", help="Ask this, not the file's queries; may repeat.")
MODEL = typer.Option(
    "--model",
    metavar="PATH",
    autocompletion=complete_model,
    help="Model to run (default: newest inject, else rl or sft run).",
)
SHOW = typer.Option("--show/--no-show", help="Print the episodes (default: if there is only one).")
REPLAY = typer.Option("--replay", metavar="TRANSCRIPT", help="Run a transcript again, and check every byte.")


@with_settings("agent")
def command(
    tools: Annotated[Path | None, TOOLS] = None,
    query: Annotated[list[str] | None, QUERY] = None,
    model: Annotated[str | None, MODEL] = None,
    *,
    config: AgentConfig,
    show: Annotated[bool | None, SHOW] = None,
    replay: Annotated[Path | None, REPLAY] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
) -> None:
    """Let a model answer queries by calling tools it knows by name only (ReAct), on a simulated server.

    Each step is in the run's transcript before the next begins, so a killed run goes on with `--resume` where it
    stopped. Answers are judged by rules and also written in ToolEval's format.
    """
    if replay is not None:
        _replay(replay, tools, as_json)
        return
    if tools is None:
        raise UsageError(
            "no tools named",
            "give --tools PATH: ToolBench queries, OpenAI functions, OpenAPI, mcp.json, a Python module, …",
        )
    loaded = _load(tools, query or [], config)
    load = registry.load("chat", config.backend)
    path = _model_path(model, getattr(load, "local", True))
    extra = {"tools": str(tools.resolve()), "queries": query or [], "model": path}
    if dry_run:
        output.emit(_plan(loaded, config, path), as_json)
        return
    record = finished_before("agent", config, extra, resume)
    if record is None:
        record = _run(loaded, load, config, extra, resume, force, allow_stale)
    _show(record, config, show if show is not None else len(_tasks(loaded, config)) * config.attempts == 1, as_json)


def _load(tools: Path, queries: list[str], config: Any) -> ToolSet:
    """The tools file, its warnings said, and settings that flags alone cannot check."""
    from ..agent.grammar import MODES
    from ..tools.load import load_tools

    if config.decoding not in MODES:
        raise UsageError(f"no decoding mode {config.decoding!r}", f"modes: {', '.join(MODES)}")
    lowest = {
        "attempts": 1,
        "parallel": 1,
        "max_turns": 1,
        "max_new_tokens": 1,
        "limit": 0,
        "observation_chars": 16,
        "temperature": 0,
    }
    for name, bound in lowest.items():
        if getattr(config, name) < bound:
            raise UsageError(f"{name} must be at least {bound}, not {getattr(config, name)}")
    if config.attempts > 1 and config.temperature == 0:
        output.warn("greedy decoding gives the same attempt every time", "add --temperature 0.7")
    if config.decoding == "schema":
        output.warn("decoding mode `schema` shows the model what it is to recall: not comparable with other modes")
    loaded = load_tools(tools, queries, config.strict_tools)
    for line in loaded.warnings.lines():
        output.warn(line)
    return loaded


def _tasks(loaded: ToolSet, config: Any) -> tuple[Any, ...]:
    return loaded.tasks[: config.limit] if config.limit else loaded.tasks


def _model_path(name: str | None, local: bool) -> str:
    """What the backend is given: a path for backends that run files, else the name as typed."""
    if name is not None:
        return str(models.resolve(name).path) if local else name
    if not local:
        raise UsageError("this backend needs the name of a model", "give --model NAME")
    hint = "give --model PATH, or run `past sft` first"
    try:
        record = newest("inject", made=models.MODEL_OUTPUTS, hint=hint)
    except UsageError:
        record = newest("rl", "sft", made=models.MODEL_OUTPUTS, hint=hint)
    return str(model_of(record, "model").path)


def _plan(loaded: ToolSet, config: Any, path: str) -> dict[str, Any]:
    tasks = _tasks(loaded, config)
    episodes = len(tasks) * config.attempts
    return {
        "format": loaded.format,
        "queries": len(tasks),
        "tools": loaded.tools,
        "warnings": loaded.warnings.counts(),
        "model": path,
        "backend": config.backend,
        "judge": config.judge,
        "decoding": config.decoding,
        "episodes": episodes,
        "model_calls_at_most": episodes * config.max_turns,
    }


def _run(
    loaded: ToolSet, load: Any, config: Any, extra: dict[str, Any], resume: bool, force: bool, allow_stale: bool
) -> runs.Record:
    from ..agent.drivers import header, run_tasks
    from ..agent.transcript import Transcript

    tasks = _tasks(loaded, config)
    judge = registry.load("judge", config.judge)
    chat = load(extra["model"])
    try:
        with runs.start("agent", config, extra=extra, resume=resume, force=force, allow_stale=allow_stale) as run:
            run.add_input("tools", extra["tools"])
            run.add_input("model", extra["model"])
            transcript = Transcript(run.dir / "transcript.jsonl")
            file = Path(extra["tools"])
            with closing(_environment(loaded, file, config)) as env, output.progress("agent", "episodes") as progress:
                transcript.begin(header(file, extra["queries"], extra["model"], config, env, judge))
                results = run_tasks(chat, env, judge, tasks, config, transcript, progress)
            _write(run, results, loaded, config)
    finally:
        chat.close()
    return runs.read(run.final)


def _environment(loaded: ToolSet, tools: Path, config: AgentConfig) -> ToolEnv:
    """What answers the calls; a model of its own for the environment `llm`."""
    from ..tools.load import open_environment

    options = {"model": config.simulator_model, "backend": config.simulator_backend}
    return open_environment(loaded, tools, config.environment, **options)


def _write(run: Any, results: list[Result], loaded: ToolSet, config: Any) -> None:
    """Transcript, summary and ToolEval files as outputs of the run."""
    from ..agent.summary import summarise
    from ..agent.tooleval import export

    summary = summarise(results, len(_tasks(loaded, config)))
    summary["tool_warnings"] = loaded.warnings.counts()
    summary |= {"decoding": config.decoding, "comparable": config.decoding != "schema" and not config.show_schemas}
    runs.write_json(run.dir / "summary.json", summary)
    runs.write_json(run.dir / "tools_warnings.json", [f"{kind} {text}" for kind, text in loaded.warnings.items])
    export(
        results,
        run.dir / "tooleval",
        _file_name(run.manifest["inputs"]["model"]["path"]),
        Path(run.manifest["inputs"]["tools"]["path"]).stem,
    )
    for name, file in (("transcript", "transcript.jsonl"), ("summary", "summary.json"), ("tooleval", "tooleval")):
        run.add_output(name, run.dir / file)
    run.metrics(**summary)


def _file_name(model: str) -> str:
    """A model's name as a folder: the last part of its path, without what file names may not hold."""
    import re

    return re.sub(r"[^\w.+-]+", "_", model.rstrip("/").rsplit("/", 1)[-1]) or "model"


def _show(record: runs.Record, config: Any, episodes: bool, as_json: bool) -> None:
    import json

    summary = json.loads(record.output("summary").read_text(encoding="utf-8"))
    outputs = record.outputs()

    def human() -> None:
        from ..agent.show import show_episodes

        if episodes:
            show_episodes(record.output("transcript"), config.observation_chars)
        _table(summary, f"run {record.id}: transcript, summary and ToolEval answers in {record.path}")

    document = {"run": record.id, "outputs": outputs, "seconds": record.manifest["seconds"], **summary}
    output.emit(document, as_json, human)


def _table(summary: dict[str, Any], caption: str) -> None:
    """The figures, one a row; counts by name are spelled out."""
    rows = []
    for name, value in summary.items():
        if name in ("sopr_low", "sopr_high"):
            continue
        if name == "sopr" and value is not None:
            value = f"{value:.3f} [{summary['sopr_low']:.3f}, {summary['sopr_high']:.3f}]"
        if isinstance(value, dict):
            value = ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
        rows.append((name.replace("_", " "), value))
    output.table("", ("measure", "value"), rows, caption)


def _replay(path: Path, tools: Path | None, as_json: bool) -> None:
    """Run a transcript again from its own words: same parsing, same observations, same verdicts, to the byte."""
    from ..agent.drivers import run_tasks, same_version
    from ..agent.transcript import Transcript, config_of, read_header
    from ..hashing import is_hash_of
    from ..tools.load import load_tools

    if not path.is_file():
        raise UsageError(f"no transcript {path}", "give the transcript.jsonl of a `past agent` run")
    recorded = read_header(path)
    config = config_of(recorded)
    file = tools or Path(recorded["tools"])
    loaded = load_tools(file, recorded["queries"], config.strict_tools)
    if not is_hash_of(recorded["tools_hash"], file):
        raise MismatchError(f"{file} is not the tools file of the transcript any more", "give that file: --tools FILE")
    transcript = Transcript(path, replay=True)
    tasks = _tasks(loaded, config)
    judge = registry.load("judge", config.judge)
    with closing(_environment(loaded, file, config)) as env:
        results = run_tasks(None, env, judge, tasks, config, transcript)
    document = {
        "transcript": str(path),
        "identical": True,
        "complete": len(results) == len(tasks) * config.attempts,
        "episodes": len(results),
        "lines": transcript.lines,
        "observations": "as computed now" if same_version(env, recorded.get("environment", "")) else "as recorded",
        "verdicts": "as computed now" if same_version(judge, recorded.get("judge", "")) else "as recorded",
    }
    output.emit(document, as_json)
