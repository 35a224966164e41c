"""Agent runs in a report: their figures, and what every episode did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .. import runs
from ..agent.reading import Read, episodes, scores
from ..agent.told import told
from ..api import Step
from ..stats import wilson
from ..verdict import judged
from .blocks import Block, Dots, Episodes, EpisodeView, Part, QueryView, Score, Section, Shares, StepView, Table
from .compared import output_of

EXPLAIN = {
    "first_call_recall": "first-call recall",
    "first_call_f1": "first-call F1",
    "first_call_parameter_recall": "of calls made",
    "argument_grounding": "grounded",
    "valid_call_rate": "valid calls",
    "finish_rate": "finished",
    "hallucinated_calls": "unknown functions",
    "malformed_turns": "malformed turns",
    "turns": "turns",
    "completion_tokens": "tokens said",
}
"""Figures without a judge that explain a score."""


def agent_section(records: Sequence[runs.Record], differences: Sequence[Block]) -> Section:
    """SoPR with its interval, what explains it, and what knowing nothing is worth."""
    rows, sopr, solved, verdicts = [], [], [], []
    errors: dict[str, None] = {}  # each once, in their order
    for record in records:
        summary = json.loads(output_of(record, "summary").read_text(encoding="utf-8"))
        found = episodes(output_of(record, "transcript"))
        wins = [score for score in scores(found)["solved"].values() if score is not None]
        share = wilson(sum(wins), summary["queries"])
        errors[judged(summary.get("judge_error") or {})] = None
        if summary["sopr"] is not None:
            sopr.append(Score(record.id, summary["sopr"], summary["sopr_low"], summary["sopr_high"]))
            solved.append(Score(record.id, share.mean, share.low, share.high))
        verdicts.append((record.id, Counter(one.verdict.label for one in found)))
        rows.append(
            [record.id, summary["queries"], _score(summary), *(summary.get(name) for name in EXPLAIN), _floor(summary)]
        )
    columns = ("run", "queries", "SoPR", *EXPLAIN.values(), "know-nothing SoPR")
    caption = "SoPR: solved counts 1, partly solved ½, of all queries; 95 % Wilson intervals. Know-nothing: what a program without a model scores here"
    blocks: list[Block] = [Table(columns, rows, f"{caption}{''.join(errors)}.")]
    if sopr:
        blocks += [Dots("SoPR", sopr), Dots("Solved", solved)]
    return Section("Agents", [*blocks, Shares("Verdicts over attempts", verdicts), *differences])


def _score(summary: Mapping[str, Any]) -> str:
    if summary["sopr"] is None:
        return "ungraded"
    most = summary.get("sopr_at_most", summary["sopr"])
    ungraded = f", up to {most:.3f} with what was not graded" if most > summary["sopr"] else ""
    return f"{summary['sopr']:.3f} [{summary['sopr_low']:.3f}, {summary['sopr_high']:.3f}]{ungraded}"


def _floor(summary: Mapping[str, Any]) -> float | None:
    floor = summary.get("know_nothing")
    return floor["sopr"] if floor else None


def episodes_of(records: Sequence[runs.Record], most: int | None) -> tuple[Section, int, int]:
    """Every query with the episodes of all runs; (the section, episodes in it, queries left out)."""
    played: dict[tuple[str, str], list[EpisodeView]] = {}
    places: dict[tuple[str, str], int] = {}
    for record in records:
        limit = int(record.manifest["config"].get("observation_chars", 1024))
        for one in episodes(output_of(record, "transcript")):
            key = (one.episode.task.id, one.episode.task.query)
            if places.setdefault(key, len(places)) < (len(places) if most is None else most):
                played.setdefault(key, []).append(_episode(record.id, one, limit))
    views = [QueryView(name, text, views) for (name, text), views in played.items()]
    left_out = len(places) - len(views)
    return Section("Episodes", [Episodes(views, left_out)]), sum(len(view.episodes) for view in views), left_out


def _episode(run: str, one: Read, limit: int) -> EpisodeView:
    episode, verdict = one.episode, one.verdict
    facts = {
        name.replace("_", " "): _flat(value) for name, value in verdict.details.items() if value not in ([], "", None)
    }
    said = [step.completion for step in episode.steps]
    facts["tokens"] = (
        f"{sum(c.completion_tokens for c in said):,} said, {sum(c.evaluated_tokens for c in said):,} of {sum(c.prompt_tokens for c in said):,} prompt tokens evaluated"
    )
    return EpisodeView(
        run,
        episode.attempt,
        verdict.label,
        verdict.reason,
        episode.status,
        episode.answer,
        [_step(step, limit) for step in episode.steps],
        facts,
        one.opening,
    )


def _flat(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


KINDS = {"said": "raw", "repaired": "plain"}


def _step(step: Step, limit: int) -> StepView:
    """A step's texts as the model wrote and saw them; its raw words and a longer observation are folded."""
    plain = step.action.isidentifier() and len(step.action) <= 100  # then the heading says it whole
    said = [one for one in told(step, limit) if one.text.strip() and not (plain and one.label == "Action")]
    parts = [Part(one.label, one.text, KINDS.get(one.kind, one.kind)) for one in said]
    whole = json.dumps(step.observation.to_dict(), ensure_ascii=False, indent=1) if step.observation else ""
    if len(whole) > limit:
        parts.append(Part(f"the whole observation, of which the model saw {limit:,} characters", whole, "raw", True))
    parts.append(Part("raw text", step.completion.text, "raw", True))
    notes = [f"not read: {step.error}"] if step.error else []
    notes += [f"ended by {step.completion.finish}"] if step.completion.finish not in ("", "stop") else []
    return StepView(step.action or "no call", step.outcome, parts, "; ".join(notes))
