"""Intervals and paired tests for scores over questions and over seeds. Pure: numbers in, numbers out; numpy only.

Everything random takes a seed and gives the same result on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .student import t_above_median, t_below, t_quantile

_DRAWS = 1 << 22
"""Random numbers held at once by the resampling: bounds memory at about 32 MB whatever n is."""


FEW = 30
"""Below so many independent units an interval is Student's."""


NOTHING = 1e-12
"""A difference below this is the last digit of a sum."""


class Estimate(NamedTuple):
    """A mean and its confidence interval; the bounds are None where the data cannot give any."""

    mean: float
    low: float | None
    high: float | None


def wilson(successes: float, n: float, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval for a share (Wilson 1927): unlike p ± z·se it stays in [0, 1] and works near 0 and 1."""
    if n == 0:
        return Estimate(0.0, None, None)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def clustered_share(values: Sequence[float], groups: Sequence[Hashable], confidence: float = 0.95) -> Estimate:
    """Wilson's interval for a mean of scores in [0, 1], several on one document, by the effective sample size: as many
    independent yes-or-no questions as would vary as much as the documents do (Korn and Graubard 1998; below `FEW`
    documents with Student's quantile). Where all are right or all wrong, which says nothing of that, a document counts
    as one question; a document of one question each is the plain case.
    """
    data = np.asarray(values, dtype=np.float64)
    sums, sizes = _by_group(data, groups)
    n, p, count = data.size, float(data.mean()), sums.size
    variance = count / max(count - 1, 1) * float(((sums - p * sizes) ** 2).sum()) / n**2
    spread = p * (1 - p)
    effective = float(count) if spread == 0 else float(n) if spread >= n * variance else max(1.0, spread / variance)
    if 1 < count < FEW:  # the variance itself is a guess from few documents: fewer still, by Student's quantile
        effective *= (NormalDist().inv_cdf(0.5 + confidence / 2) / t_quantile(0.5 + confidence / 2, count - 1)) ** 2
    return wilson(p * effective, effective, confidence)


def mean_interval(
    values: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Estimate:
    """Interval of a mean: Student's below `FEW` independent units (documents, or questions without groups), where the
    percentile bootstrap is too narrow (nominal 95 % covers 84 % at six documents); the bootstrap from there on.
    """
    count = len(values) if groups is None else len(set(groups))
    if count >= FEW:
        return bootstrap_mean(values, confidence, resamples, seed, groups)
    return clustered_t(values, confidence, groups)


def clustered_t(
    values: Sequence[float] | np.ndarray, confidence: float = 0.95, groups: Sequence[Hashable] | None = None
) -> Estimate:
    """Student's interval of a mean of questions of which several are on one document: the mean is a ratio of sums over
    documents, its variance that of the linearised ratio, with documents - 1 degrees of freedom (Cochran 1977, 6.3).

    One document (or question) has a mean and no interval.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Estimate(0.0, None, None)
    mean, error, df = _ratio(data, groups)
    if df == 0:
        return Estimate(mean, None, None)
    half = t_quantile(0.5 + confidence / 2, df) * error
    return Estimate(mean, mean - half, mean + half)


def _ratio(data: np.ndarray, groups: Sequence[Hashable] | None) -> tuple[float, float, int]:
    """Mean, its standard error by groups, and degrees of freedom."""
    sums, sizes = _by_group(data, groups)
    count, mean = sums.size, float(sums.sum() / sizes.sum())
    if count == 1:
        return mean, math.inf, 0
    residuals = (sums - mean * sizes) / sizes.mean()
    return mean, math.sqrt(float((residuals**2).sum()) / (count - 1) / count), count - 1


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Estimate:
    """Percentile bootstrap interval of a mean (Efron 1979): questions are drawn again with replacement.

    Of differences of two models on the same questions it is the paired bootstrap. With `groups` (the document of each
    question) whole groups are drawn, because questions on one document are not independent (Davison and Hinkley 1997, 3.8).
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Estimate(0.0, None, None)
    sums, sizes = _by_group(data, groups)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS // sums.size)
    for start in range(0, resamples, step):
        picks = rng.integers(0, sums.size, size=(min(step, resamples - start), sums.size), dtype=np.int32)
        means[start : start + step] = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(data.mean()), float(low), float(high))


def paired_interval(
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> Estimate:
    """Mean of a - b over the same questions, with its interval: `mean_interval` of the differences."""
    found = mean_interval(_differences(a, b), confidence, resamples, seed, groups)
    if found.low is None or found.high is None or not all(0 <= score <= 1 for score in (*a, *b)):
        return found
    return Estimate(
        found.mean, max(found.low, -1.0), min(found.high, 1.0)
    )  # Student's knows no bounds; two shares differ by 1 at most


def sign_flip(
    a: Sequence[float],
    b: Sequence[float],
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> float:
    """Two-sided p-value of "a and b score alike" by the paired permutation test (Fisher 1935).

    If the models are exchangeable the sign of each question's difference is a coin; with `groups`, that of the sum over
    each group. With at most 14 differences that are not zero all sign patterns are counted; beyond that they are sampled,
    and the observed one counts among them, so that p is never 0.
    """
    differences, _ = _by_group(_differences(a, b), groups)
    differences = differences[np.abs(differences) > NOTHING]  # a group's ups and downs may cancel but for rounding
    n = differences.size
    if n == 0:
        return 1.0
    observed = abs(differences.sum()) * (1 - 1e-9)  # so that equal sums in another order still count as equal
    if n <= 14:
        signs = 1 - 2 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ differences) >= observed).mean())
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS // n)
    extreme = 0
    for start in range(0, resamples, step):
        flips = rng.integers(0, 2, size=(min(step, resamples - start), n), dtype=np.int8) * 2.0 - 1
        extreme += int((np.abs(flips @ differences) >= observed).sum())
    return (extreme + 1) / (resamples + 1)


def least_sign_flip(units: int, resamples: int = 10_000) -> float:
    """The smallest p-value that `sign_flip` of so many questions, or groups of them, can have: that of all on one side."""
    return max(2.0 ** (1 - units), 1 / (resamples + 1))


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided McNemar test (1947) for right-or-wrong scores: only questions decided differently count.

    Under the null each of them is a fair coin, so p is a binomial tail.
    """
    differences = _differences(a, b)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    n, most = wins + losses, max(wins, losses)
    tail = sum(math.comb(n, k) for k in range(most, n + 1))
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float], declared: int = 0) -> list[float]:
    """Holm's step-down correction (1979): adjusted p-values in the order given, family-wise error held at any level. Of more
    tests that were `declared`, those without a p-value count as having the largest: one that failed makes no other easier."""
    tests = max(declared, len(p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (tests - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Mean over seeds with Student's interval. One seed has a mean and no interval, and so have seeds that agree to the last
    digit: shares of a few questions often do by chance, and an interval of no width would call that certainty."""
    n = len(values)
    if n == 0:
        raise ValueError("no values")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    if deviation < NOTHING:
        return Estimate(mean, None, None)
    half = t_quantile(0.5 + confidence / 2, n - 1) * deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def t_test(values: Sequence[float]) -> float | None:
    """Two-sided p-value of "the mean is 0" over seeds by Student's t; None where `t_interval` has no interval."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    if error * math.sqrt(n) < NOTHING:
        return None
    return 2 * (0.5 - t_above_median(math.atan(abs(mean / error) / math.sqrt(n - 1)), n - 1))


class Error(NamedTuple):
    """The standard error of a mean, and its degrees of freedom (0: nothing is known of it)."""

    size: float
    df: int


def standard_error(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Error:
    """Of a mean over independent values, or over questions of which several are on one document (`clustered_t`)."""
    return Error(*_ratio(np.asarray(values, dtype=np.float64), groups)[1:])


def smallest_detectable(errors: Sequence[Error], alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true mean that tests of it with these standard errors show *together*, two-sided at `alpha` each, with a
    probability of at least `power`. None where one of them shows nothing.

    A test misses where its t stays below the critical value; chances of missing are added (Bonferroni), since the tests are of
    one sample. For a single test it is (t of the test + t of the power) standard errors (Bloom 1995, there for samples of any size).
    """
    if not errors or any(error.df < 1 for error in errors):
        return None
    largest = max(error.size for error in errors)
    if largest < NOTHING:
        return 0.0

    def missed(effect: float) -> float:
        chances = (t_below(t_quantile(1 - alpha / 2, df) - effect / size, df) for size, df in errors if size)
        return math.fsum(chances)

    low, high = 0.0, largest
    while missed(high) > 1 - power:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle) > 1 - power else (low, middle)
    return high


def _by_group(values: np.ndarray, groups: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and size of every group, in order of first occurrence; of every value by itself without groups."""
    if groups is None:
        return values, np.ones(values.size)
    if len(groups) != values.size:
        raise ValueError(f"{values.size} values in groups of {len(groups)}")
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    index = [places[group] for group in groups]
    return np.bincount(index, weights=values), np.bincount(index).astype(np.float64)


def _differences(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    if len(a) != len(b):
        raise ValueError(f"paired scores of different length: {len(a)} and {len(b)}")
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
