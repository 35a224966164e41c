"""What agents did, query by query: every run's episodes below each other, each readable step by step."""

from __future__ import annotations

from collections.abc import Iterator

from ..words import counted
from .blocks import Episodes, EpisodeView, Part, QueryView, StepView
from .plots import VERDICTS
from .text import line, shown

FILTERS = {"all": "all", **{kind: name for name, kind in VERDICTS.items()}, "differ": "runs differ"}


def episodes(block: Episodes) -> Iterator[str]:
    """A choice of verdicts (by style sheet alone: the page runs no script), then every query, folded."""
    if block.left_out:
        yield f"<p class=soft>Left out of this page: {counted(block.left_out, 'more queries')}.</p>"
    if len(block.queries) > 1:
        choices = (
            f"<label><input type=radio name=show id=show-{key}{' checked' if key == 'all' else ''}>{name}</label>"
            for key, name in FILTERS.items()
        )
        yield f"<fieldset class=filter><legend>Show queries</legend>{''.join(choices)}</fieldset>"
    for query in block.queries:
        yield from _query(query, len(block.queries) == 1)


def _query(query: QueryView, alone: bool) -> Iterator[str]:
    kinds = [_kind(one.verdict) for one in query.episodes]
    classes = " ".join(
        [*(f"has-{kind}" for kind in dict.fromkeys(kinds)), *(["differ"] if len(set(kinds)) > 1 else [])]
    )
    marks = "".join(f'<b class={kind} role=img aria-label="{kind}"></b>' for kind in kinds)
    yield (
        f'<details class="query {classes}"{" open" if alone else ""}><summary><span class=marks>{marks}</span>'
        f"<code>{line(query.id, 60)}</code> {line(query.text)}</summary>"
    )
    yield f"<pre class=ask>{shown(query.text)}</pre>"
    for one in query.episodes:
        yield from _episode(one, len(query.episodes) == 1)
    yield "</details>"


def _kind(verdict: str) -> str:
    return VERDICTS.get(verdict, "ungraded")


def _episode(one: EpisodeView, alone: bool) -> Iterator[str]:
    attempt = f", attempt {one.attempt + 1}" if one.attempt else ""
    yield (
        f"<details class=episode{' open' if alone else ''}><summary><b class={_kind(one.verdict)}></b>{line(one.run)}{attempt}: "
        f"{line(one.verdict)}, {counted(len(one.steps), 'steps')}</summary>"
    )
    if one.opening:
        yield _part(Part("what the model was given", one.opening, "raw", True))
    yield "<ol class=steps>"
    for step in one.steps:
        yield _step(step)
    yield "</ol>"
    answer = shown(one.answer) if one.answer else f"none ({line(one.status)})"
    yield f"<div class=end><h4>Answer</h4><pre dir=auto>{answer}</pre>"
    yield f"<h4>Verdict: <span class={_kind(one.verdict)}>{line(one.verdict)}</span></h4><p>{line(one.reason, 1000)}</p>"
    rows = "".join(f"<dt>{line(name)}</dt><dd>{shown(text)}</dd>" for name, text in one.facts.items())
    yield (f"<dl>{rows}</dl>" if rows else "") + "</div></details>"


def _step(step: StepView) -> str:
    kind = step.outcome if step.outcome in ("ok", "finish", "invalid", "unknown", "malformed") else "other"
    head = f"<h4><code>{line(step.title, 120)}</code> <span class=out-{kind}>{line(step.outcome)}</span></h4>"
    note = f"<p class=soft>{line(step.note)}</p>" if step.note else ""
    return f"<li>{head}{''.join(map(_part, step.parts))}{note}</li>"


def _part(part: Part) -> str:
    kind = part.kind if part.kind in ("thought", "call", "observation", "error", "raw") else "plain"
    body = f"<pre class={kind} dir=auto>{shown(part.text)}</pre>"
    if part.folded:
        return f"<details class=more><summary>{line(part.label)}</summary>{body}</details>"
    return f"<div class=part><span class=soft>{line(part.label)}</span>{body}</div>"
