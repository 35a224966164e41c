"""The episodes of a training step: the same generator as `past agent`, its tokens kept, all under way together.

Turns of all live episodes are asked of the policy in one batch, then their tools are called in parallel, then the next
turns are asked. Nothing is recorded: a step that was killed is played again, from the same seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..api import Completion, Episode, Judge, Rollout, Step, Task, Timed, TokenModel, ToolEnv, Verdict
from ..config import AgentConfig
from ..errors import ContextOverflow
from .drivers import form_of
from .episode import Turn, play
from .figures import figures
from .forms import Form
from .player import Result
from .strangers import judged, lent
from .tokens import TokenLine

AT_ONCE = 16
"""Tools called at the same time."""

Figures = Callable[[Episode], Mapping[str, float | None]]


class Lane:
    """One episode under way: `turn` is what is asked for, None once `episode` is there."""

    def __init__(self, model: TokenModel, task: Task, attempt: int, config: AgentConfig, form: Form, env: ToolEnv):
        self.tokens = TokenLine(model)
        self.turn: Turn | None = None
        self.episode: Episode | None = None
        self.ids: list[int] = []
        self._last = Completion("")
        self._play = play(task, attempt, config, form, form.render(model, task), env, _forget)
        self._receive(lambda: next(self._play))

    @property
    def asked(self) -> Turn:
        """The turn that waits for an answer: there is one until `episode` is there."""
        assert self.turn is not None, "an episode that has ended asks nothing"
        return self.turn

    def answer(self, reply: Completion | ContextOverflow) -> None:
        """Give the policy's answer: the tool is called, and the next turn or the episode is there."""
        if isinstance(reply, ContextOverflow):
            self._last = Completion("")
            self._receive(lambda: self._play.throw(reply))
        else:
            self._last = reply
            self._receive(lambda: self._play.send(reply))

    def rollout(self) -> tuple[list[int], list[int], list[int]]:
        """(prompt ids, completion ids, mask) of the whole episode."""
        return self.tokens.rollout(self._last)

    def _receive(self, step: Callable[[], Turn]) -> None:
        try:
            self.turn = step()
            self.ids = self.tokens.extend(self.turn.prompt)
        except StopIteration as end:
            self.turn, self.episode = None, end.value


@dataclass
class ToolEpisodes:
    """`api.Episodes` of some tasks. `opened()` gives tools and judge, once in every process; `measures` are what
    describes an episode in the log."""

    tasks: Mapping[str, Task]
    config: AgentConfig
    opened: Callable[[], tuple[ToolEnv, Judge]]
    measures: Sequence[Figures] = ()

    _parts: tuple[ToolEnv, Judge] | None = None

    def openings(self, model: TokenModel) -> dict[str, int]:
        form = form_of(self.config)
        return {
            key: len(TokenLine(model).extend(form.opening(form.render(model, task))))
            for key, task in self.tasks.items()
        }

    def play(self, model: TokenModel, asked: Sequence[tuple[str, int]], seed: int, timed: Timed) -> list[Rollout]:
        if self._parts is None:
            self._parts = self.opened()
        env, judge = self._parts
        config, form = replace(self.config, seed=seed), form_of(self.config)
        lanes = [Lane(model, self.tasks[key], attempt, config, form, env) for key, attempt in asked]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while live := [lane for lane in lanes if lane.turn is not None]:
                replies = _ask(model, live)
                with timed("tools"):
                    list(pool.map(lambda pair: pair[0].answer(pair[1]), zip(live, replies, strict=True)))
            episodes = [lane.episode for lane in lanes if lane.episode is not None]
            with timed("judge"):
                verdicts = _judged(judge, episodes, pool)
                described = [self._measured(*pair) for pair in zip(episodes, verdicts, strict=True)]
        return [
            Rollout(*lane.rollout(), episode, verdict, figured)
            for lane, episode, verdict, figured in zip(lanes, episodes, verdicts, described, strict=True)
        ]

    def close(self) -> None:
        parts, self._parts = self._parts, None
        if parts is not None:
            with lent(parts[0], "environment"), lent(parts[1], "judge"):
                pass

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_parts": None}

    def _measured(self, episode: Episode, verdict: Verdict) -> dict[str, float | None]:
        counted = figures(Result(episode, verdict), {}, None)
        recalled = {name: counted[name] for name in ("first_call_recall", "first_call_f1", "first_call_valid")}
        return recalled | {name: value for measure in self.measures for name, value in measure(episode).items()}


def _ask(model: TokenModel, lanes: Sequence[Lane]) -> list[Completion | ContextOverflow]:
    """The policy's answers, in one batch; an episode that has outgrown the context gets its error."""
    answers: list[Completion | ContextOverflow] = [ContextOverflow("the episode has outgrown the context")] * len(lanes)
    fitting = [place for place, lane in enumerate(lanes) if len(lane.ids) < model.context]
    samplings = [lanes[place].asked.sampling for place in fitting]
    done = model.complete_tokens([lanes[place].ids for place in fitting], samplings) if fitting else []
    for place, completion in zip(fitting, done, strict=True):
        answers[place] = completion
    return answers


def _judged(judge: Judge, episodes: Sequence[Episode], pool: ThreadPoolExecutor) -> list[Verdict]:
    """A verdict for each episode; a policy that has settled says the same again and again, and that is judged once."""
    said = [_what_was_done(episode) for episode in episodes]
    first = dict(zip(reversed(said), reversed(episodes), strict=True))
    verdicts = dict(zip(first, pool.map(partial(judged, judge), first.values()), strict=True))
    return [verdicts[key] for key in said]


def _what_was_done(episode: Episode) -> str:
    steps = [
        [step.thought, step.action, step.arguments, step.outcome, step.observation and step.observation.to_dict()]
        for step in episode.steps
    ]
    return json.dumps([episode.task.id, episode.status, episode.answer, steps])


def _forget(step: Step) -> None:
    """Episodes of a training are not written down step by step."""
