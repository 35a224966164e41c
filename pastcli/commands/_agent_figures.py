"""What `past agent` writes beside its transcript: every attempt in figures, and what further judges say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..agent.player import Result
    from ..api import Judge


def judged_again(run: Any, results: Sequence[Result], also: Mapping[str, Judge]) -> dict[str, dict[str, Any]]:
    """Write `figures.jsonl`, one line an attempt; the success rate and the labels of each further judge.

    They read the finished episodes, so they can change nothing: neither what the model is told nor what is rewarded.
    """
    from ..agent.figures import figures
    from ..agent.strangers import judged
    from ..agent.summary import summarise
    from ..files import write_lines
    from ..tools.judging.evidence import argument_grounding

    verdicts = {name: [judged(judge, result.episode) for result in results] for name, judge in also.items()}
    rows = []
    for place, result in enumerate(results):
        others = {name: found[place] for name, found in verdicts.items()}
        rows.append(figures(result, others, argument_grounding([result.episode])))
    write_lines(run.dir / "figures.jsonl", rows)
    queries = len({result.episode.task.id for result in results})
    found = {}
    for name, labels in verdicts.items():
        again = [type(result)(result.episode, verdict) for result, verdict in zip(results, labels, strict=True)]
        told = summarise(again, queries)
        found[name] = {figure: told[figure] for figure in ("sopr", "labels", "ungraded")}
    return found
