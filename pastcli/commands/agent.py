"""`past agent`: a model with tools."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import output, registry, runs, verdict
from ..config import AgentConfig
from ..errors import UsageError
from . import _adapter_base
from . import _estimates as estimates
from ._adapter_base import AdapterBase, as_typed, standing_in_as
from ._agent_figures import judged_again
from ._agent_setup import chat_of, check_plugins, converting, environment, model_path, tasks_of
from ._agent_setup import load as read_tools
from ._agent_setup import replay as run_again
from ._agent_show import table
from ._loading import check_model
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    close,
    complete_model,
    disk,
    finished_before,
    show_plan,
    told,
    with_settings,
)
from ._skills import Scale, Skills, Vectors, add_inputs, adding, check_vectors, listed, named, skills

if TYPE_CHECKING:
    from ..agent.player import Result
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
TEMPLATE = typer.Option(
    "--template",
    metavar="GGUF",
    help="A GGUF of the same base model, for tokenizer and chat template of a model that llama.cpp has to convert.",
)
REPLAY = typer.Option(
    "--replay", metavar="RUN", help="Run a transcript (or that of a run) again, and check every byte."
)


@with_settings("agent")
@standing_in_as(as_typed)
def command(
    tools: Annotated[Path | None, TOOLS] = None,
    query: Annotated[list[str] | None, QUERY] = None,
    tasks: Annotated[Path | None, TASKS] = None,
    model: Annotated[str | None, MODEL] = None,
    vector: Vectors = None,
    scale: Scale = 1.0,
    base: AdapterBase = None,
    *,
    config: AgentConfig,
    show: Annotated[bool | None, SHOW] = None,
    replay: Annotated[Path | None, REPLAY] = None,
    template: Annotated[Path | None, TEMPLATE] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    allow_stale: AllowStale = False,
    sources: dict[str, str] | None = None,
) -> None:
    """Let a model answer queries by calling tools it knows by name only (ReAct), on a simulated server.

    Each step is in the run's transcript before the next begins, so a killed run goes on with `--resume` where it
    stopped. Answers are judged by rules, by a model (--judge llm --judge-model NAME) or by what --tasks expects, and also
    written in ToolEval's format.
    """
    if replay is not None:
        run_again(replay, tools, tasks, as_json)
        return
    if tools is None:
        raise UsageError(
            "no tools named",
            "give --tools PATH: ToolBench queries, OpenAI functions, OpenAPI, mcp.json, a Python module, …",
        )
    if query and tasks:
        raise UsageError("--query and --tasks both say what to ask", "give one of them")
    loaded = read_tools(tools, query or [], tasks, config)
    added = skills(vector, scale)
    load = adding(registry.load("chat", config.backend), config.backend, added)
    path = model_path(model, getattr(load, "local", True), injected=not added)
    extra = {"tools": str(tools.resolve()), "queries": query or [], "model": path}
    extra |= ({"tasks": str(tasks.resolve())} if tasks else {}) | listed(added)
    extra |= {"template": str(template.resolve())} if template else {}
    extra |= {"name": name} if name else {}
    extra |= _adapter_base.listed(base)
    load = converting(load, template, config.backend)
    may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
    if dry_run:
        with runs.start("agent", config, extra=extra, **may) as run:
            _add_inputs(run, extra)
            _check(load, extra)
            show_plan(_plan(loaded, config, path), config, sources, as_json)
        return
    record = finished_before("agent", config, extra, resume)
    if record is None:
        record = _run(loaded, load, config, extra, may)
    _show(record, config, show if show is not None else len(tasks_of(loaded, config)) * config.attempts == 1, as_json)


TURN_BYTES = 10_000
"""What a transcript keeps of a turn, about."""


def _add_inputs(run: runs.Run, extra: dict[str, Any]) -> None:
    for kind in ("tools", "tasks", "model", "template", "base"):
        if kind in extra:
            run.add_input(kind, extra[kind])
    add_inputs(run, _vectors(extra))


def _vectors(extra: dict[str, Any]) -> Skills:
    return [(Path(path), factor) for path, factor in extra.get("vectors", [])]


def _check(load: Any, extra: dict[str, Any]) -> None:
    """Raise what loading the model and its skills would raise, and of weights that are no numbers."""
    check_model(load, extra["model"], Path(extra["template"]) if "template" in extra else None)
    check_vectors(_vectors(extra))


def _plan(loaded: ToolSet, config: Any, path: str) -> dict[str, Any]:
    """What would be asked. Judge and environment are looked up, so that a name that is none shows now."""
    check_plugins(config)
    tasks = tasks_of(loaded, config)
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
        **estimates.speaking(path, episodes * config.max_turns * config.max_new_tokens, config.backend),
        **disk(runs.workspace(), episodes * config.max_turns * TURN_BYTES),
    }


def _run(loaded: ToolSet, load: Any, config: Any, extra: dict[str, Any], may: runs.Options) -> runs.Record:
    from ..agent.drivers import header, run_tasks
    from ..agent.served import unlike
    from ..agent.strangers import lent
    from ..agent.summary import SCORES
    from ..agent.transcript import Transcript
    from ..agent.watch import watching
    from ..tools.judging.opening import open_judge
    from ..tools.judging.trust import error_told

    def judge_named(name: str) -> Any:
        judge = open_judge(name, config.judge_backend, config.judge_model, config.judge_votes)
        return stack.enter_context(lent(judge, "judge"))

    with runs.start("agent", config, extra=extra, **may) as run, ExitStack() as stack:
        _add_inputs(run, extra)
        _check(load, extra)
        judge = judge_named(config.judge)
        also = {name: judge_named(name) for name in config.also_judge}
        chat = stack.enter_context(closing(chat_of(load, extra["model"], config)))
        transcript = Transcript(run.dir / "transcript.jsonl")
        env = stack.enter_context(lent(environment(loaded, Path(extra["tools"]), config), "environment"))
        with watching() as watch:
            transcript.begin(header(extra, config, env, judge))
            results = run_tasks(chat, env, judge, tasks_of(loaded, config), config, transcript, watch)
            others = judged_again(run, results, also)
            told = error_told(judge, (one.episode.task for one in results if one.verdict.label in SCORES))
            _write(run, results, loaded, config, env, unlike(chat), others, told, _vectors(extra))
    return runs.read(run.final)


def _write(
    run: Any,
    results: list[Result],
    loaded: ToolSet,
    config: Any,
    env: Any,
    reasons: list[str],
    others: dict[str, dict[str, Any]],
    judge_error: dict[str, Any],
    vectors: Skills,
) -> None:
    """Transcript, summary and ToolEval files as outputs of the run."""
    from ..agent.summary import summarise
    from ..agent.tooleval import export
    from ..tools.baseline import floor
    from ..tools.judging.evidence import argument_grounding

    summary = summarise(results, len(tasks_of(loaded, config)))
    summary["argument_grounding"] = argument_grounding(result.episode for result in results)
    summary |= {f"{name} {figure}": value for name, found in others.items() for figure, value in found.items()}
    summary |= {"judge_error": judge_error} if judge_error else {}
    summary["know_nothing"] = floor(tasks_of(loaded, config), env)
    summary["tool_warnings"] = loaded.warnings.counts()
    if config.decoding == "schema" or config.show_schemas:
        reasons = [*reasons, "the model was shown the documentation that it is to recall"]
    if config.format != "react":
        reasons = [*reasons, f"{config.format} function calling is another protocol than the paper's ReAct"]
    summary |= {
        "format": config.format,
        "decoding": config.decoding,
        "comparable": not reasons,
        "not_comparable": reasons,
    }
    for reason in reasons:
        output.warn(f"not comparable with other runs: {reason}")
    runs.write_json(run.dir / "summary.json", summary)
    runs.write_json(run.dir / "tools_warnings.json", [f"{kind} {text}" for kind, text in loaded.warnings.items])
    export(
        results,
        run.dir / "tooleval",
        _file_name(run.manifest["inputs"]["model"]["path"], vectors),
        Path(run.manifest["inputs"]["tools"]["path"]).stem,
    )
    for name, file in (
        ("transcript", "transcript.jsonl"),
        ("summary", "summary.json"),
        ("tooleval", "tooleval"),
        ("figures", "figures.jsonl"),
    ):
        run.add_output(name, run.dir / file)
    run.metrics(**summary)


def _file_name(model: str, vectors: Skills) -> str:
    """A model's name as a folder: the run that made it (every run calls its model `model`), else the last part of its path; of
    one behind a server the name behind `#`, or where it is. With what was added to it."""
    import re

    owner = runs.owner_of(Path(model))
    where, _, name = model.partition("#") if "://" in model else ("", "", model.rstrip("/").rsplit("/", 1)[-1])
    name = owner.id if owner else name.rsplit("/", 1)[-1] or where.partition("://")[2].rstrip("/")
    return re.sub(r"[^\w.+-]+", "_", named(name, vectors).replace(" ", "")) or "model"


def _show(record: runs.Record, config: Any, episodes: bool, as_json: bool) -> None:
    import json

    summary = json.loads(record.made("summary").read_text(encoding="utf-8"))

    def human() -> None:
        from ..agent.show import show_episodes

        if episodes:
            show_episodes(record.made("transcript"), config.observation_chars)
        table(summary, f"run {record.id}: transcript, summary and ToolEval answers in {record.path}")

    end = verdict.attempted(summary, record.id)
    made = {"run": record.id, "outputs": record.outputs(), "seconds": record.manifest["seconds"]}
    output.emit({**made, **summary, **told(end)}, as_json, human)
    close(end, as_json)
