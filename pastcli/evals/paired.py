"""Runs of any kind on the same queries or questions, compared pairwise: differences with intervals, tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import stats
from ..errors import UsageError

Table = Mapping[str, Mapping[str, float | None]]
"""metric -> id of a query or question -> score; None where it could not be graded."""


@dataclass(frozen=True)
class Pair:
    """Run minus reference on one metric, over the `n` ids that both have graded; `ungraded` more have no grade in one of them.

    `better` and `worse` are how many ids it does better and worse on; `test` names the test that gave `p` (McNemar's exact
    one for scores of 0 and 1, sign flips otherwise, over documents where several ids are on one); `p_holm` is corrected over
    the runs compared.
    """

    n: int
    mean: float
    reference: float
    difference: float
    low: float | None
    high: float | None
    better: int
    worse: int
    test: str
    p: float
    p_holm: float
    ungraded: int


def compare_tables(
    tables: Mapping[str, Table],
    documents: Mapping[str, Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, dict[str, Pair]]:
    """Every run but the first against the first, on every metric they share: `found[run][metric]`.

    Raises `UsageError` if a run has no id in common with the first: different questions cannot be paired.
    """
    names = list(tables)
    reference, others = names[0], names[1:]
    found: dict[str, dict[str, Pair]] = {name: {} for name in others}
    for metric in tables[reference]:
        pairs = {
            name: _pair(tables[name], tables[reference], metric, documents, (confidence, resamples, seed))
            for name in others
            if metric in tables[name]
        }
        corrected = stats.holm([pair.p for pair in pairs.values()])
        for (name, pair), p_holm in zip(pairs.items(), corrected, strict=True):
            found[name][metric] = Pair(**{**asdict(pair), "p_holm": p_holm})
    for name in others:
        if not any(pair.n for pair in found[name].values()):
            raise UsageError(
                f"{name} and {reference} have no graded query or question in common", "compare runs on the same file"
            )
    return found


def _pair(
    run: Table, reference: Table, metric: str, documents: Mapping[str, Hashable] | None, how: tuple[float, int, int]
) -> Pair:
    common = [one for one in reference[metric] if one in run[metric]]
    ids = [one for one in common if reference[metric][one] is not None and run[metric][one] is not None]
    ungraded = len(common) - len(ids)
    a, b = [float(run[metric][one] or 0) for one in ids], [float(reference[metric][one] or 0) for one in ids]
    if not ids:
        return Pair(0, 0.0, 0.0, 0.0, None, None, 0, 0, "", 1.0, 1.0, ungraded)
    confidence, resamples, seed = how
    groups = [documents.get(one, one) for one in ids] if documents else None
    if groups is not None and len(set(groups)) == len(groups):
        groups = None
    gain = stats.paired_interval(a, b, confidence, resamples, seed, groups)
    yes_no = set(a) | set(b) <= {0.0, 1.0}
    if yes_no and groups is None:
        test, p = "McNemar", stats.mcnemar(a, b)
    else:
        test, p = "sign flips", stats.sign_flip(a, b, resamples, seed, groups)
    better, worse = sum(x > y for x, y in zip(a, b, strict=True)), sum(x < y for x, y in zip(a, b, strict=True))
    means = sum(a) / len(a), sum(b) / len(b), gain.mean
    return Pair(len(ids), *means, gain.low, gain.high, better, worse, test, p, p, ungraded)


@dataclass(frozen=True)
class WinRate:
    """How often a judge prefers the second run: `rate` counts a tie as a half, with Wilson's interval; `p` is the sign test over
    queries that were not tied. An attempt is won only if both orders of showing the two say so, and a query if more of its
    attempts are won than lost. `ungraded` are the queries of which no attempt was judged in both orders: they are in none of the
    other figures."""

    queries: int
    ungraded: int
    wins: int
    losses: int
    ties: int
    rate: float
    low: float | None
    high: float | None
    p: float


def win_rate(queries: Sequence[Sequence[tuple[str | None, str | None]]], confidence: float = 0.95) -> WinRate:
    """Solvable win rate (StableToolBench, 2403.07714) over queries, with both orders.

    A query holds a pair for each attempt: what the judge preferred with the first run shown first, and with the second run shown
    first, "first" or "second" as shown, None where it failed. Raises `ValueError` if it failed on all.
    """
    judged = [[pair for pair in pairs if None not in pair] for pairs in queries]
    graded = [
        pairs.count(("second", "first")) - pairs.count(("first", "second")) for pairs in judged if pairs
    ]  # attempts won less those lost
    wins, losses = sum(ahead > 0 for ahead in graded), sum(ahead < 0 for ahead in graded)
    n = len(graded)
    if not n:
        raise ValueError("no pair was judged")
    ties = n - wins - losses
    share = stats.wilson(wins + 0.5 * ties, n, confidence)
    p = stats.mcnemar([1.0] * wins + [0.0] * losses, [0.0] * wins + [1.0] * losses)
    return WinRate(n, len(queries) - n, wins, losses, ties, share.mean, share.low, share.high, p)


def as_document(found: Mapping[str, Mapping[str, Pair]]) -> dict[str, Any]:
    return {name: {metric: asdict(pair) for metric, pair in metrics.items()} for name, metrics in found.items()}
