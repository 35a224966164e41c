"""All queries of a run through episode and judge into the transcript: one by one, several at once, or again from the record.

Models that decode in batches, or that only one caller may use at a time, are asked in *rounds*: every live episode's turn
together, then every tool call together. Models that take calls from several threads (`concurrent = True`) are given a
thread an episode, so that none waits for the slowest.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..api import ChatModel, Completion, Judge, Task, ToolEnv
from ..config import AgentConfig
from ..errors import ContextOverflow, MismatchError, UsageError
from ..hashing import hash_path
from ..records import workspace
from ..words import counted
from .forms import Form, React
from .native import Native
from .player import Cast, Player, Result
from .tokens import takes_tokens
from .transcript import FORMAT, EndOfTranscript, Transcript, named_within
from .watch import Unwatched, Watch


def header(named: Mapping[str, Any], config: AgentConfig, env: ToolEnv, judge: Judge) -> dict[str, Any]:
    """The first event of a transcript: all that decides the rest, so that a replay needs nothing but the tools file.

    `named` is what the user named: `tools` and perhaps `tasks` (files), `queries`, `model`. What lies in the workspace is named
    from there: it may be moved between a kill and `--resume`, or before a replay.
    """
    event = {"event": "run", "format": FORMAT, "tools": named["tools"], "tools_hash": hash_path(Path(named["tools"]))}
    if "tasks" in named:
        event |= {"tasks": named["tasks"], "tasks_hash": hash_path(Path(named["tasks"]))}
    if named.get("vectors"):
        event["vectors"] = named["vectors"]
    whole = event | {
        "queries": list(named["queries"]),
        "model": named["model"],
        "environment": getattr(env, "version", ""),
        "judge": getattr(judge, "version", ""),
        "config": dataclasses.asdict(config),
    }
    return named_within(whole, workspace())


def run_tasks(
    model: ChatModel | None,
    env: ToolEnv,
    judge: Judge,
    tasks: Sequence[Task],
    config: AgentConfig,
    transcript: Transcript,
    watch: Watch | None = None,
) -> list[Result]:
    """Every attempt at every task, in their order; what the transcript already holds is taken from there, not asked again.

    Without `model` this is a replay: attempts whose record is unfinished are left out, and deterministic tools and judges
    of the versions in the transcript are asked again and compared. Raises `MismatchError` where record and run differ.
    """
    told = transcript.header or {}
    cast = Cast(
        model,
        env,
        judge,
        form_of(config),
        config,
        transcript,
        check_env=model is None and same_version(env, told.get("environment", "")),
        check_judge=model is None and same_version(judge, told.get("judge", "")),
        watch=watch or Unwatched(),
    )
    cast.watch.total(len(tasks) * config.attempts)
    wanted = [(task, attempt) for task in tasks for attempt in range(config.attempts)]
    strays = set(transcript.attempts()) - {(task.id, attempt) for task, attempt in wanted}
    if strays:
        raise MismatchError(f"{transcript.path} goes on where the run ends: it has {min(strays)}")
    if model is None:
        return list(filter(None, (_replayed(cast, task, attempt) for task, attempt in wanted)))
    lanes = min(max(config.parallel, 1), max(len(wanted), 1))
    if getattr(model, "concurrent", False) and lanes > 1:
        return _in_threads(cast, wanted, lanes)
    return _in_rounds(cast, wanted, lanes)


def form_of(config: AgentConfig) -> Form:
    """The way of talking that the settings name."""
    if config.format == "native" and config.decoding != "off":
        raise UsageError("the decoding modes are grammars of ReAct", "use --format react, or --decoding off")
    if config.format == "native" and config.prompt != "full":
        raise UsageError("a brief prompt is one of ReAct", "use --format react, or --prompt full")
    if config.format == "native":
        return Native(config.show_schemas, config.observation_chars)
    return React(config.show_schemas, config.observation_chars, config.prompt)


def same_version(part: Any, recorded: str) -> bool:
    """True if asking `part` again must give what the record of that version says."""
    return bool(recorded) and getattr(part, "deterministic", False) and getattr(part, "version", None) == recorded


def _replayed(cast: Cast, task: Task, attempt: int) -> Result | None:
    try:
        return Player(cast, task, attempt).result
    except EndOfTranscript:
        return None


def _in_rounds(cast: Cast, wanted: list[tuple[Task, int]], lanes: int) -> list[Result]:
    """Up to `lanes` episodes at a time: their turns are asked together, then their tools called together."""
    results: dict[int, Result] = {}
    live: dict[int, Player] = {}
    waiting = iter(enumerate(wanted))
    with ThreadPoolExecutor(lanes) as pool:
        # One lane stays in this thread: a tool that is not made for threads then works as it always did.
        each: Callable[..., Any] = pool.map if lanes > 1 else map
        while True:
            while len(live) < lanes and (one := next(waiting, None)) is not None:
                place, (task, attempt) = one
                _settle(Player(cast, task, attempt), place, live, results)
            if not live:
                return [results[place] for place in sorted(results)]
            players = dict(live)
            replies = _ask(cast.model, list(players.values()))
            list(each(lambda pair: pair[0].answer(pair[1]), list(zip(players.values(), replies, strict=True))))
            for place, player in players.items():
                _settle(player, place, live, results)


def _settle(player: Player, place: int, live: dict[int, Player], results: dict[int, Result]) -> None:
    """File a player under what is still live, or what is done."""
    if player.result is None:
        live[place] = player
        return
    live.pop(place, None)
    results[place] = player.result


def _in_threads(cast: Cast, wanted: list[tuple[Task, int]], lanes: int) -> list[Result]:
    """`lanes` threads, each with an episode of its own. The first error stops them all, each at its next turn."""
    stop = threading.Event()

    def whole(task: Task, attempt: int) -> Result | None:
        try:
            player = Player(cast, task, attempt)
            while player.result is None:
                if stop.is_set():
                    return None
                player.answer(_ask(cast.model, [player])[0])
        except BaseException:
            stop.set()
            raise
        return player.result

    with ThreadPoolExecutor(lanes) as pool:
        futures = [pool.submit(whole, task, attempt) for task, attempt in wanted]
        try:
            return [result for future in futures if (result := future.result()) is not None]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _ask(model: Any, players: Sequence[Player]) -> list[Completion | ContextOverflow]:
    """The model's answers to the players' turns, in one batch where it takes tokens; a prompt that is too long gets its error."""
    turns = [player.asked for player in players]
    if not takes_tokens(model):
        return [_text_answer(model, turn.prompt.text, turn.sampling) for turn in turns]
    prompts = [player.prompt_ids() for player in players]
    answers: list[Completion | ContextOverflow] = [
        ContextOverflow(f"the prompt has {counted(len(ids), 'tokens')}, the context {model.context}") for ids in prompts
    ]
    fitting = [place for place, ids in enumerate(prompts) if len(ids) < model.context]
    if fitting:
        done = model.complete_tokens([prompts[n] for n in fitting], [turns[n].sampling for n in fitting])
        for place, completion in zip(fitting, done, strict=True):
            answers[place] = completion
    return answers


def _text_answer(model: ChatModel, text: str, sampling: Any) -> Completion | ContextOverflow:
    try:
        return model.complete([text], sampling)[0]
    except ContextOverflow as error:
        return error
