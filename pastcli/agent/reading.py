"""Episodes read back from a transcript: for comparing runs and for judging them again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..api import Episode, Task, Verdict
from .summary import SCORES
from .transcript import Transcript, read_header


@dataclass(frozen=True)
class Read:
    """One finished attempt. Its task has the query and no tools: those are in the tools file.

    `opening` is the text that the model was to continue first, '' where the record has none.
    """

    episode: Episode
    verdict: Verdict
    opening: str = ""


def episodes(path: Path) -> list[Read]:
    """Every finished attempt of a transcript, in its order. Raises `MismatchError` if the file is none."""
    read_header(path)
    transcript = Transcript(path, replay=True)
    found = []
    for key in transcript.attempts():
        recorded = transcript.recorded(key)
        if recorded.end is None or recorded.opening is None:
            continue
        task = Task(key[0], recorded.opening["messages"][-1]["content"], ())
        end = recorded.end
        details = {name: value for name, value in end["verdict"].items() if name not in ("label", "reason")}
        verdict = Verdict(end["verdict"]["label"], end["verdict"]["reason"], details)
        episode = Episode(task, key[1], tuple(recorded.steps), end["status"], end["answer"])
        found.append(Read(episode, verdict, recorded.opening.get("prompt", "")))
    return found


def scores(found: list[Read]) -> dict[str, dict[str, float | None]]:
    """Metric -> query -> mean over its attempts: `sopr` (partly solved is a half), `solved` and `finished`; None where an
    attempt could not be graded."""
    table: dict[str, dict[str, list[float | None]]] = {"sopr": {}, "solved": {}, "finished": {}}
    for one in found:
        score = SCORES.get(one.verdict.label)
        query = one.episode.task.id
        table["sopr"].setdefault(query, []).append(score)
        table["solved"].setdefault(query, []).append(None if score is None else float(score == 1.0))
        table["finished"].setdefault(query, []).append(float(one.episode.status == "finished"))
    return {metric: {query: _mean(values) for query, values in rows.items()} for metric, rows in table.items()}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(values) if len(known) == len(values) else None
