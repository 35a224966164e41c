"""What a page is made of. Texts are as they came: escaping is the page's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under columns; `caption` says what the figures are."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Score:
    """A mean with its interval; bounds are None where the data give none."""

    label: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Dots:
    """A row a score: a dot with its interval, on one scale. `zero` draws a line at 0: the scores are differences."""

    title: str
    scores: Sequence[Score]
    zero: bool = False


@dataclass(frozen=True)
class Shares:
    """A bar a row, divided by what was counted. The names are those of verdicts."""

    title: str
    rows: Sequence[tuple[str, Mapping[str, int]]]


@dataclass(frozen=True)
class Curve:
    """One quantity over steps: (step, value) in order of the steps."""

    title: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Words:
    """Sentences, each a line."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Node:
    """A run of a lineage: what it is, what went into it that no run made, and the runs that the rest came from."""

    label: str
    leaves: Sequence[str]
    parents: Sequence[Node]


@dataclass(frozen=True)
class Tree:
    """The lineages of the runs."""

    nodes: Sequence[Node]


@dataclass(frozen=True)
class Part:
    """One stretch of text of a step. `folded` ones are shown when asked for."""

    label: str
    text: str
    kind: str = ""
    folded: bool = False


@dataclass(frozen=True)
class StepView:
    """One turn: what was called, what came of it, and its texts."""

    title: str
    outcome: str
    parts: Sequence[Part]
    note: str = ""


@dataclass(frozen=True)
class EpisodeView:
    """One attempt of one run at a query."""

    run: str
    attempt: int
    verdict: str
    reason: str
    status: str
    answer: str
    steps: Sequence[StepView]
    facts: Mapping[str, str] = field(default_factory=dict)
    opening: str = ""


@dataclass(frozen=True)
class QueryView:
    """A query and what every run made of it."""

    id: str
    text: str
    episodes: Sequence[EpisodeView]


@dataclass(frozen=True)
class Episodes:
    """Every query; `left_out` are those that the page was asked not to hold."""

    queries: Sequence[QueryView]
    left_out: int = 0


@dataclass(frozen=True)
class Folded:
    """Blocks that the reader opens."""

    title: str
    blocks: Sequence[Block]


Block = Table | Dots | Shares | Curve | Words | Tree | Episodes | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]
