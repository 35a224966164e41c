"""One episode under way: the generator, what the transcript remembers of it, and what is written down next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..api import ChatModel, Completion, Episode, Judge, Observation, Step, Task, ToolEnv, Verdict
from ..config import AgentConfig
from ..errors import ContextOverflow
from .episode import Turn, plain, play
from .forms import Form
from .strangers import judged, observed
from .tokens import TokenLine, takes_tokens
from .transcript import EndOfTranscript, Key, Transcript
from .watch import Unwatched, Watch


@dataclass(frozen=True)
class Result:
    """One attempt and its judgement."""

    episode: Episode
    verdict: Verdict


@dataclass(frozen=True)
class Cast:
    """What all episodes of a run share. `model` is None in a replay; `check` then asks deterministic tools and judges again."""

    model: ChatModel | None
    env: ToolEnv
    judge: Judge
    form: Form
    config: AgentConfig
    transcript: Transcript
    check_env: bool = False
    check_judge: bool = False
    watch: Watch = field(default_factory=Unwatched)


class Player:
    """Plays one attempt up to the first turn that nobody has answered yet, and then turn by turn.

    `turn` is what is asked for now; None once `result` is there. What the transcript holds is given to the episode as it
    stands, and must agree with what this run would ask, read and conclude; raises `MismatchError` where it does not.
    """

    def __init__(self, cast: Cast, task: Task, attempt: int):
        self._cast = cast
        self.key: Key = (task.id, attempt)
        self._where: dict[str, Any] = {"task": task.id, "attempt": attempt}
        self._memory = cast.transcript.recorded(self.key)
        self._next = 0
        self.tokens = TokenLine(cast.model) if takes_tokens(cast.model) else None
        self.turn: Turn | None = None
        self.result: Result | None = None
        cast.watch.begun(self.key, task.query)
        self._play = play(task, attempt, cast.config, cast.form, self._open(task), cast.env, self._tell)
        self._receive(lambda: next(self._play))
        self._remember(task)

    @property
    def asked(self) -> Turn:
        """The turn that waits for an answer: there is one until `result` is there."""
        assert self.turn is not None, "an episode that has ended asks nothing"
        return self.turn

    def prompt_ids(self) -> list[int]:
        """The prompt of that turn for a model that takes tokens."""
        assert self.tokens is not None, "this model takes text"
        return self.tokens.extend(self.asked.prompt)

    def answer(self, reply: Completion | ContextOverflow) -> None:
        """Give the model's answer to `turn`: the tool is called, the step written, and the next turn or the result there."""
        if isinstance(reply, ContextOverflow):
            self._receive(lambda: self._play.throw(reply))
        else:
            self._receive(lambda: self._play.send(reply))

    def _receive(self, step: Callable[[], Turn]) -> None:
        try:
            self.turn = step()
        except StopIteration as end:
            self.turn = None
            self._finish(end.value)

    def _open(self, task: Task) -> str:
        """The conversation in the model's template, written down or compared; a replay takes the recorded one."""
        cast, recorded = self._cast, self._memory.opening
        if cast.model is None:
            if recorded is None:
                raise EndOfTranscript("the transcript ends here")
            rendered = recorded.get("prompt", "")
        else:
            rendered = cast.form.render(cast.model, task)
        opening = [message.to_dict() for message in cast.form.messages(task)]
        event = {"event": "episode", **self._where, "messages": opening, "prompt": rendered}
        if recorded is None:
            cast.transcript.write(event)
        elif recorded != event and cast.transcript.format > 1:  # older versions had a prompt of their own
            cast.transcript.contradicts(self._memory.lines[0] - 1 if self._memory.lines else 2, recorded, event)
        return rendered

    def _remember(self, task: Task) -> None:
        """Give the episode what was recorded."""
        for step, number in zip(self._memory.steps, self._memory.lines, strict=True):
            if self.turn is None:
                self._cast.transcript.contradicts(number, {"event": "step"}, {"event": "end"})
            self._compare(task, step, number)
            self._cast.watch.stepped(self.key, step, True)  # before it is given: with the last one the episode ends
            self._receive(partial(self._play.send, step))
        end = self._memory.end
        if end and end["status"] == "context_overflow" and self.turn is not None:
            self.answer(ContextOverflow("recorded"))
        if end and self.turn is not None:
            self._cast.transcript.contradicts(self._memory.end_line, {"event": "end"}, {"event": "step"})

    def _compare(self, task: Task, step: Step, number: int) -> None:
        """A recorded step against what this version reads in the same words and, where asked for, its tool against now."""
        cast = self._cast
        heard = cast.form.read(step.completion)
        old = {"seed": step.seed, "thought": step.thought, "action": step.action, "arguments": step.arguments}
        old |= {"repairs": step.repairs, "error": step.error}
        new: dict[str, Any] = {
            "seed": self.turn.sampling.seed if self.turn else None,
            "thought": heard.thought,
            "action": heard.action,
        }
        new |= {"arguments": heard.arguments, "repairs": heard.repairs, "error": heard.error}
        if cast.transcript.format > 1 and old != new:  # how older versions read a turn is theirs
            cast.transcript.contradicts(number, old, new)
        spec = next((spec for spec in task.tools if spec.name == step.action), None)
        if cast.check_env and spec is not None and step.outcome in ("ok", "invalid") and step.observation is not None:
            now = plain(observed(cast.env, spec, step.arguments))
            if now != step.observation:
                cast.transcript.contradicts(number, _shown(step.observation), _shown(now))

    def _tell(self, step: Step) -> None:
        self._cast.transcript.write({"event": "step", **self._where, **step.to_dict()})
        self._cast.watch.stepped(self.key, step, False)

    def _finish(self, episode: Episode) -> None:
        """Take the recorded verdict, or ask the judge and write the end down."""
        cast, end = self._cast, self._memory.end
        if end is None:
            if cast.transcript.replay:
                raise EndOfTranscript("the transcript ends here")
            verdict = judged(cast.judge, episode)
            cast.transcript.write({"event": "end", **self._where, **_conclusion(episode, verdict)})
        else:
            label, reason = end["verdict"]["label"], end["verdict"]["reason"]
            details = {name: value for name, value in end["verdict"].items() if name not in ("label", "reason")}
            verdict = Verdict(label, reason, details)
            again = judged(cast.judge, episode) if cast.check_judge else verdict
            now, old = _conclusion(episode, again), {name: end.get(name) for name in ("status", "answer", "verdict")}
            if now != old:
                cast.transcript.contradicts(self._memory.end_line, old, now)
        self.result = Result(episode, verdict)
        cast.watch.ended(self.key, verdict)


def _conclusion(episode: Episode, verdict: Verdict) -> dict[str, Any]:
    told = {"label": verdict.label, "reason": verdict.reason, **verdict.details}
    return {"status": episode.status, "answer": episode.answer, "verdict": told}


def _shown(observation: Observation) -> dict[str, Any]:
    return {"observation": observation.to_dict()}
