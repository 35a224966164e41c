"""One model answers questions without the passage; every answer is scored and written down at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import output, qa
from ..api import Completes, Completion, Progress, Question, Reward, Sampling
from ..config import EvalConfig
from ..errors import ContextOverflow, UsageError
from ..files import read_lines, write_lines

METRICS = ("exact", "contains", "f1")


@dataclass(frozen=True)
class Answer:
    """One question's row of the transcript: the model's first line and its scores (each in [0, 1]), and the document it is on."""

    id: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    exact: float
    contains: float
    f1: float
    tokens: int
    finish: str
    doc: str = ""
    judge: float | None = None
    """Whether a judge found it right; None where none was asked, or none could tell."""


@dataclass(frozen=True)
class QAResult:
    """One model's answers in the order of the questions; `ungradable` counts questions that have no answer, `too_long`
    names those that do not fit into the model."""

    answers: tuple[Answer, ...]
    ungradable: int = 0
    too_long: tuple[str, ...] = ()

    def without(self, ids: Collection[str]) -> QAResult:
        """The same without some questions: models are compared on what all of them were asked."""
        return replace(self, answers=tuple(answer for answer in self.answers if answer.id not in ids))

    def scores(self, metric: str) -> list[float]:
        return [getattr(answer, metric) for answer in self.answers]

    @property
    def tokens(self) -> float:
        """Mean length of the answers, in tokens."""
        return sum(answer.tokens for answer in self.answers) / len(self.answers)

    @property
    def empty(self) -> int:
        """How many answers are empty: a model may fail for saying nothing rather than for not knowing."""
        return sum(not answer.prediction for answer in self.answers)


def with_answers(questions: Sequence[Question]) -> list[Question]:
    """Those that an answer can be graded by; raises `UsageError` if there is none."""
    gradable = [question for question in questions if question.answers]
    if not gradable:
        raise UsageError(f"none of the {len(questions)} questions has an answer", 'add an "answer" to each row')
    return gradable


def evaluate(
    model: Completes,
    questions: Sequence[Question],
    config: EvalConfig,
    transcript: Path | None = None,
    progress: Progress | None = None,
    strict: bool = False,
    judge: Reward | None = None,
) -> QAResult:
    """Ask every gradable question once, greedily, in batches; raises `UsageError` if there is none.

    Rows go to `transcript` (JSONL) batch by batch. Rows it already holds, from an evaluation that was killed,
    are taken as they are and not asked again; a half-written last line is dropped. A question that does not fit into
    the model is left out, or raised as `UsageError` under `strict`, or if none fits. `judge` also says of every answer
    whether it is right.
    """
    gradable = with_answers(questions)
    done = _taken_up(transcript, gradable) if transcript else {}
    left = [question for question in gradable if question.id not in done]
    sampling = Sampling(max_tokens=config.max_new_tokens, temperature=0.0, stop=qa.STOP)
    progress = progress or (lambda done, total, metrics: None)
    progress(len(done), len(gradable), {})
    for start in range(0, len(left), config.batch_size):
        batch = left[start : start + config.batch_size]
        rows = [graded(question, completion) for question, completion in _asked(model, batch, sampling, strict)]
        rows = judged(rows, judge) if judge else rows
        if transcript:
            _append(transcript, rows)
        done |= {row.id: row for row in rows}
        progress(len(done), len(gradable), {"f1": sum(row.f1 for row in done.values()) / max(1, len(done))})
    too_long = tuple(question.id for question in gradable if question.id not in done)
    if len(too_long) == len(gradable):
        raise UsageError(f"none of the {len(gradable)} questions fits into {model.name}", "are these questions?")
    answered = tuple(done[question.id] for question in gradable if question.id in done)
    return QAResult(answered, len(questions) - len(gradable), too_long)


def _asked(
    model: Completes, batch: Sequence[Question], sampling: Sampling, strict: bool
) -> list[tuple[Question, Completion]]:
    """The questions of a batch with their completions; one that does not fit into the model spoils only itself."""
    try:
        prompts = [qa.prompt_for(question.question) for question in batch]
        return list(zip(batch, model.complete(prompts, sampling), strict=True))
    except ContextOverflow as error:
        if strict:
            raise UsageError(f"{error.message}: {_named(batch)}", "shorten it, or leave out --strict") from error
        if len(batch) == 1:
            output.warn(f"skipped question {batch[0].id}: {error.message}")
            return []
    return [pair for question in batch for pair in _asked(model, [question], sampling, strict)]


def _named(batch: Sequence[Question]) -> str:
    longest = max(batch, key=lambda question: len(question.question))
    return f"question {longest.id}, of {len(longest.question)} characters"


def finished(transcript: Path, questions: Sequence[Question]) -> QAResult | None:
    """What the transcript holds if it answers every gradable question, else None."""
    gradable = [question for question in questions if question.answers]
    done = _taken_up(transcript, gradable)
    if not gradable or len(done) < len(gradable):
        return None
    return QAResult(tuple(done[question.id] for question in gradable), len(questions) - len(gradable))


def graded(question: Question, completion: Completion) -> Answer:
    """Score one completion by `pastcli.qa`."""
    said, gold = qa.first_line(completion.text), question.answers
    scores = qa.exact_match(said, gold), qa.contains(said, gold), qa.f1(said, gold)
    tokens, finish = completion.completion_tokens, completion.finish
    return Answer(question.id, question.question, gold, said, *scores, tokens, finish, question.doc)


def judged(rows: Sequence[Answer], judge: Reward) -> list[Answer]:
    """The rows with what the judge says of them."""
    columns = {"question": [row.question for row in rows], "answers": [list(row.answers) for row in rows]}
    prompts = [qa.prompt_for(row.question) for row in rows]
    found = judge(prompts, [row.prediction for row in rows], **columns)
    return [replace(row, judge=value) for row, value in zip(rows, found, strict=True)]


def read_transcript(path: Path) -> list[Answer]:
    """The whole rows of a transcript; what follows the last line break was cut off by a kill and is left out."""
    return [Answer(**{**row, "answers": tuple(row["answers"])}) for row in read_lines(path)]


def _taken_up(transcript: Path, questions: Sequence[Question]) -> dict[str, Answer]:
    """Finished rows by id, only those that still answer these questions; the file is cut back to whole lines."""
    if not transcript.exists():
        return {}
    data = transcript.read_bytes()
    os.truncate(transcript, data.rfind(b"\n") + 1)
    asked = {question.id: (question.question, question.answers) for question in questions}
    docs = {question.id: question.doc for question in questions}
    taken = [row for row in read_transcript(transcript) if asked.get(row.id) == (row.question, row.answers)]
    return {row.id: replace(row, doc=docs[row.id]) for row in taken}


def _append(transcript: Path, rows: Sequence[Answer]) -> None:
    write_lines(transcript, map(asdict, rows), "a", sync=True)
