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
TASKS = typer.Option(
    "--tasks", metavar="FILE", help="Queries of your own with what is expected of a good run (JSON, JSONL)."
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
    tasks: Annotated[Path | None, TASKS] = None,
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
    stopped. Answers are judged by rules, by a model (--judge llm --judge-model NAME) or by what --tasks expects, and also
    written in ToolEval's format.
    """
    if replay is not None:
        _replay(replay, tools, tasks, as_json)
        return
    if tools is None:
        raise UsageError(
            "no tools named",
            "give --tools PATH: ToolBench queries, OpenAI functions, OpenAPI, mcp.json, a Python module, …",
        )
    if query and tasks:
        raise UsageError("--query and --tasks both say what to ask", "give one of them")
    loaded = _load(tools, query or [], tasks, config)
    load = registry.load("chat", config.backend)
    path = _model_path(model, getattr(load, "local", True))
    extra = {"tools": str(tools.resolve()), "queries": query or [], "model": path}
    extra |= {"tasks": str(tasks.resolve())} if tasks else {}
    if dry_run:
        output.emit(_plan(loaded, config, path), as_json)
        return
    record = finished_before("agent", config, extra, resume)
    if record is None:
        record = _run(loaded, load, config, extra, resume, force, allow_stale)
    _show(record, config, show if show is not None else len(_tasks(loaded, config)) * config.attempts == 1, as_json)


def _load(tools: Path, queries: list[str], tasks: Path | None, config: Any) -> ToolSet:
    """The tools file, its warnings said, and settings that flags alone cannot check."""
    if config.attempts > 1 and config.temperature == 0:
        output.warn("greedy decoding gives the same attempt every time", "add --temperature 0.7")
    if config.decoding == "schema":
        output.warn("decoding mode `schema` shows the model what it is to recall: not comparable with other modes")
    loaded = _read(tools, queries, tasks, config.strict_tools)
    for line in loaded.warnings.lines():
        output.warn(line)
    return loaded


def _read(tools: Path, queries: list[str], tasks: Path | None, strict: bool) -> ToolSet:
    """The tools with the file's own queries, those typed, or those of a tasks file."""
    from dataclasses import replace

    from ..tools.load import load_tools
    from ..tools.tasks import expected_tasks, read_tasks

    if tasks is None:
        return load_tools(tools, queries, strict)
    entries = read_tasks(tasks)
    loaded = load_tools(tools, [entry["query"] for entry in entries], strict)
    return replace(loaded, tasks=tuple(expected_tasks(entries, loaded.tasks, tasks)))


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
    from ..tools.judging.opening import close_judge, open_judge

    judge = open_judge(config.judge, config.judge_backend, config.judge_model, config.judge_votes)
    chat = load(extra["model"])
    try:
        with runs.start("agent", config, extra=extra, resume=resume, force=force, allow_stale=allow_stale) as run:
            for name in ("tools", "tasks", "model"):
                if name in extra:
                    run.add_input(name, extra[name])
            transcript = Transcript(run.dir / "transcript.jsonl")
            file = Path(extra["tools"])
            with closing(_environment(loaded, file, config)) as env, output.progress("agent", "episodes") as progress:
                transcript.begin(header(extra, config, env, judge))
                results = run_tasks(chat, env, judge, _tasks(loaded, config), config, transcript, progress)
                _write(run, results, loaded, config, env)
    finally:
        chat.close()
        close_judge(judge)
    return runs.read(run.final)


def _environment(loaded: ToolSet, tools: Path, config: AgentConfig) -> ToolEnv:
    """What answers the calls; a model of its own for the environment `llm`."""
    from ..tools.load import open_environment

    options = {"model": config.simulator_model, "backend": config.simulator_backend}
    return open_environment(loaded, tools, config.environment, **options)


def _write(run: Any, results: list[Result], loaded: ToolSet, config: Any, env: Any) -> None:
    """Transcript, summary and ToolEval files as outputs of the run."""
    from ..agent.summary import summarise
    from ..agent.tooleval import export
    from ..tools.baseline import floor
    from ..tools.judging.rules import argument_grounding

    summary = summarise(results, len(_tasks(loaded, config)))
    summary["argument_grounding"] = argument_grounding(result.episode for result in results)
    summary["know_nothing"] = floor(_tasks(loaded, config), env)
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
            value = {key: f"{count:.3f}" if isinstance(count, float) else count for key, count in value.items()}
            value = ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
        rows.append((name.replace("_", " "), value))
    output.table("", ("measure", "value"), rows, caption)


def _replay(path: Path, tools: Path | None, tasks: Path | None, as_json: bool) -> None:
    """Run a transcript again from its own words: same parsing, same observations, same verdicts, to the byte."""
    from ..agent.drivers import run_tasks, same_version
    from ..agent.transcript import Transcript, config_of, read_header
    from ..hashing import is_hash_of

    if not path.is_file():
        raise UsageError(f"no transcript {path}", "give the transcript.jsonl of a `past agent` run")
    recorded = read_header(path)
    config = config_of(recorded)
    file = tools or Path(recorded["tools"])
    asked = tasks or (Path(recorded["tasks"]) if recorded.get("tasks") else None)
    loaded = _read(file, recorded["queries"], asked, config.strict_tools)
    for name, given in (("tools", file), ("tasks", asked)):
        if given is not None and not (given.exists() and is_hash_of(recorded.get(f"{name}_hash", ""), given)):
            raise MismatchError(
                f"{given} is not the {name} file of the transcript any more", f"give that file: --{name} FILE"
            )
    transcript = Transcript(path, replay=True)
    wanted = _tasks(loaded, config)
    judge = registry.load("judge", config.judge)  # without a model: its verdicts are in the record
    with closing(_environment(loaded, file, config)) as env:
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
