"""The table of a study made again from its items alone, with scipy and none of our own statistics: it must agree."""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter, defaultdict

import numpy as np
import pytest
from conftest import ROOT

stats = pytest.importorskip("scipy.stats")

RESULTS = [
    file
    for file in sorted((ROOT / "docs" / "results").glob("*/results.json"))
    if json.loads(file.read_text(encoding="utf-8")).get("kind") != "tools"
]
"""Studies of questions; those of tools have other figures."""
METRICS = ("exact", "contains", "f1")


def words(text):
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return [word for word in text.split() if word not in ("a", "an", "the")]


def score(said, answers):
    """SQuAD's metrics, written anew: exact match, the answer as a run of words, token F1."""
    got, best = words(said), {"exact": 0.0, "contains": 0.0, "f1": 0.0}
    for answer in answers:
        want = words(answer)
        common = sum((Counter(got) & Counter(want)).values())
        inside = any(got[i : i + len(want)] == want for i in range(len(got) - len(want) + 1))
        one = {"exact": float(got == want), "contains": float(bool(want) and inside)}
        one["f1"] = 2 * common / (len(got) + len(want)) if got and want else float(got == want)
        best = {name: max(best[name], one[name]) for name in best}
    return best


def t_interval(values):
    if np.std(values) < 1e-15:  # scipy has no interval of width zero
        return values[0], values[0], values[0]
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return np.mean(values), low, high


def by_documents(differences, docs):
    """Student's interval of a ratio of sums over documents (Cochran 1977, 6.3), by its jackknife-free textbook formula."""
    sums, sizes = defaultdict(float), Counter(docs)
    for value, doc in zip(differences, docs, strict=True):
        sums[doc] += value
    names = list(sums)
    x, n = np.array([sums[name] for name in names]), np.array([sizes[name] for name in names], float)
    mean = x.sum() / n.sum()
    error = np.std((x - mean * n) / n.mean(), ddof=0) * math.sqrt(len(x) / (len(x) - 1) / len(x))
    half = stats.t.ppf(0.975, len(x) - 1) * error
    return mean, mean - half, mean + half


@pytest.fixture(scope="module", params=RESULTS, ids=lambda path: path.parent.name)
def document(request):
    return json.loads(request.param.read_text())


def columns(document, arm, judged=None):
    """{seed: {metric: scores of an arm on the questions it (or the arm `judged`) is judged by}} from the predictions, and the
    documents of these."""
    about = document["study"]["arms"][arm]["about"]
    items = document["items"][about]
    rows = [i for i, item in enumerate(items) if about == "source" or item["part"] == "test"]
    if within := document["study"]["arms"][judged or arm].get("within"):
        kind, value = within.split(": ")
        rows = [i for i in rows if items[i][kind] == value]
    chosen = document["summary"]["scales"].get(arm, {}).get("scale")
    found = {}
    for seed, scales in document["arms"][arm].items():
        if chosen and chosen not in scales:  # a seed whose scales were not all asked yet
            continue
        entry = scales[chosen] if chosen else next(iter(scales.values()))
        said = entry["answers"]["prediction"]
        scores = [score(said[i], items[i]["answers"]) for i in rows]
        found[seed] = {metric: np.array([one[metric] for one in scores]) for metric in METRICS}
    return found, [items[i]["doc"] or items[i]["id"] for i in rows]


def test_scores_are_those_of_the_predictions(document):
    for arm, told in document["summary"]["scores"].items():
        found, docs = columns(document, arm)
        for metric in METRICS:
            means = [found[seed][metric].mean() for seed in told["seeds"]]
            if told.get("untrained"):  # nothing differs between its seeds: one level, without an interval
                assert len(set(means)) == 1, arm
                means = means[:1]
            assert told[metric]["by_seed"] == pytest.approx(means), (arm, metric)
            if (
                len(means) > 1 and np.ptp(means) < 1e-12
            ):  # no spread: without an interval, in older results with one of no width
                assert told[metric]["low"] in (None, told[metric]["mean"])
            elif len(means) > 1:
                assert (told[metric]["mean"], told[metric]["low"], told[metric]["high"]) == pytest.approx(
                    t_interval(means), abs=1e-9
                )
        assert told["questions"] == len(docs) and told["documents"] == len(set(docs))


def test_effects_intervals_and_tests_are_those_of_scipy(document):
    effects, arms = document["summary"]["effects"], document["study"]["arms"]
    for arm, told in effects.items():
        claims = sum(one["test"] for one in arms.values()) if arms[arm]["test"] else 1
        mine, docs = columns(document, arm)
        for metric in METRICS:
            one = told["metrics"][metric]
            other, _ = columns(document, one["against"], arm)
            seeds = [entry["seed"] for entry in one["by_seed"]]
            gaps = [mine[seed][metric] - other[seed][metric] for seed in seeds]
            means = [gap.mean() for gap in gaps]
            assert [entry["mean"] for entry in one["by_seed"]] == pytest.approx(means), (arm, metric)
            if len(set(docs)) < 30:
                for entry, gap in zip(one["by_seed"], gaps, strict=True):
                    assert (entry["mean"], entry["low"], entry["high"]) == pytest.approx(
                        by_documents(gap, docs), abs=1e-9
                    )
            if one.get("agree"):
                assert np.ptp(means) < 1e-12 and [one["low"], one["high"]] == one["over_documents"]
            elif len(seeds) > 1:
                assert (one["mean"], one["low"], one["high"]) == pytest.approx(t_interval(means), abs=1e-9)
                if np.std(means) > 1e-12:
                    assert one["p_seeds"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue, abs=1e-7), (arm, metric)
                    if one["detectable"] is None:  # so few documents that no p-value can be small enough
                        assert claims * 2 / 2 ** len(set(docs)) >= 0.05, (arm, metric)
                    else:
                        found = one["detectable"], means, np.mean(gaps, axis=0), docs, 0.05 / claims
                        assert chances_of_missing(*found) == pytest.approx(0.2, abs=1e-6), (arm, metric)
            theirs = sign_flips(np.mean(gaps, axis=0), docs)
            assert one["p_documents"] == pytest.approx(theirs, abs=sampled(theirs)), (arm, metric)
            assert one["p"] == max(one["p_documents"], one["p_seeds"] if one["p_seeds"] is not None else 0.0)


def chances_of_missing(effect, means, gaps, docs, alpha):
    """That Student's test over seeds, and that over documents, would each not show an effect, added."""
    _, low, high = by_documents(gaps, docs)
    count = len(set(docs))
    errors = [(stats.sem(means), len(means) - 1), ((high - low) / 2 / stats.t.ppf(0.975, count - 1), count - 1)]
    return sum(
        stats.t.cdf(stats.t.ppf(1 - alpha / 2, df) - effect / error, df) for error, df in errors if error > 1e-12
    )


def sampled(p):
    """Four standard errors of the difference of two sampled p-values: ours of 10,000 signs, and scipy's, twice the smaller tail
    of 16,384. At 0.4 these are 0.032, at 0.02 0.009."""
    return 4 * math.sqrt(p * (1 - p) / 10_000 + 4 * (p / 2) * (1 - p / 2) / 16_384) + 1e-3


def sign_flips(differences, docs):
    """scipy's permutation test of paired samples: the signs of the documents' sums are coins."""
    sums = defaultdict(float)
    for value, doc in zip(differences, docs, strict=True):
        sums[doc] += value
    sums = np.array([value for value in sums.values() if abs(value) > 1e-12])
    if len(sums) < 2:  # nothing to flip, or one coin whose two sides are as extreme
        return 1.0
    test = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=16384, rng=np.random.default_rng(1)
    )
    return test.pvalue


def test_holm_is_the_step_down_of_the_declared_tests(document):
    effects, arms = document["summary"]["effects"], document["study"]["arms"]
    for metric in METRICS:
        tested = [arm for arm in effects if arms[arm]["test"]]
        p = np.array([effects[arm]["metrics"][metric]["p"] for arm in tested])
        order = np.argsort(p)
        steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
        wanted = dict(zip(np.array(tested)[order], steps, strict=True))
        assert all(effects[arm]["metrics"][metric]["p_holm"] == pytest.approx(wanted[arm]) for arm in tested)


def test_the_page_prints_these_figures(document):
    """docs/RESULTS.md says of every effect what the items say, to the digit."""
    page = (ROOT / "docs" / "RESULTS.md").read_text()
    printed = set(re.findall(r"[+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", page))
    for arm, told in document["summary"]["effects"].items():
        mine, _ = columns(document, arm)
        other, _ = columns(document, told["metrics"]["f1"]["against"], arm)
        seeds = [entry["seed"] for entry in told["metrics"]["f1"]["by_seed"]]
        if len(seeds) > 1:
            mean, low, high = t_interval([(mine[seed]["f1"] - other[seed]["f1"]).mean() for seed in seeds])
            assert f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]".replace("+-", "-") in printed or abs(mean) < 1e-9, arm
