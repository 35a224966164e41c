"""All queries of a run, one after the other, through loop and judge into the transcript."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api import ChatModel, Episode, Judge, Progress, Task, ToolEnv, Verdict
from ..config import AgentConfig
from ..errors import MismatchError
from ..hashing import hash_path
from .react import run_episode
from .transcript import EndOfTranscript, Recorded, Transcript

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """One attempt and its judgement."""

    episode: Episode
    verdict: Verdict


def header(tools: Path, queries: Sequence[str], model: str, config: AgentConfig) -> dict[str, Any]:
    """The first event of a transcript: all that decides the rest, so that a replay needs nothing but the tools file."""
    return {
        "event": "run",
        "format": FORMAT,
        "tools": str(tools.resolve()),
        "tools_hash": hash_path(tools),
        "queries": list(queries),
        "model": model,
        "config": dataclasses.asdict(config),
    }


def run_tasks(
    model: ChatModel | None,
    env: ToolEnv,
    judge: Judge,
    tasks: Sequence[Task],
    config: AgentConfig,
    transcript: Transcript,
    progress: Progress | None = None,
) -> list[Result]:
    """Every attempt at every task; what the transcript already holds is taken from there and checked, not asked again.

    Without `model` this is a replay: it ends where the transcript does. Raises `MismatchError` where the two differ.
    """
    recorded = Recorded(transcript, model)
    results: list[Result] = []

    def tell(turn: int) -> None:
        if progress:
            solved = sum(result.verdict.label == "Solved" for result in results)
            progress(len(results), len(tasks) * config.attempts, {"turn": turn, "solved": solved})

    def write(event: dict[str, Any]) -> None:
        transcript.write(event)
        tell(event.get("step", -1) + 1)

    try:
        for task in tasks:
            for attempt in range(config.attempts):
                episode = run_episode(recorded, env, task, attempt, config, write)
                result = Result(episode, judge.judge(episode))
                transcript.write(_end(result))
                results.append(result)
                tell(0)
    except EndOfTranscript:
        return results
    if transcript.peek() is not None:
        raise MismatchError(f"{transcript.path} goes on where the run ends (line {transcript.position + 1})")
    return results


def _end(result: Result) -> dict[str, Any]:
    episode, verdict = result.episode, result.verdict
    return {
        "event": "end",
        "task": episode.task.id,
        "attempt": episode.attempt,
        "status": episode.status,
        "answer": episode.answer,
        "verdict": {"label": verdict.label, "reason": verdict.reason, **verdict.details},
    }
