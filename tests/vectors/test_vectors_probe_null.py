"""The null of the probe is the null: unrelated changes lie within chance, whatever their rows and tails look like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli.vectors.numbers import moments as pure
from pastcli.vectors.numbers.arithmetic import compiled, narrow, widen
from pastcli.vectors.numbers.moments import moments
from pastcli.vectors.probe.cosines import Row, cosine, random_direction, shuffled

PAIR = ((0, -1), (1, -1))


def row_of(a, b, seed=0):
    arrays = [np.ascontiguousarray(x, np.float32).reshape(-1) for x in (a, b)]
    return Row.of(moments(arrays, PAIR, a.shape[-1], seed))


def unrelated(kind, rng):
    """Two changes that have nothing to do with each other, but share what real changes of one matrix share."""
    shape = (96, 64)
    a, b = rng.standard_normal(shape), rng.standard_normal(shape)
    if kind in ("row scales", "all"):
        scale = np.exp(2 * np.random.default_rng(5).standard_normal((shape[0], 1)))
        a, b = a * scale, b * scale
    if kind in ("heavy tails", "all"):
        a, b = a * rng.standard_t(3, shape) ** 2, b * np.abs(rng.standard_t(2, shape))
    if kind == "shared inputs":  # every row a multiple of the same few inputs, as gradients are
        inputs = np.random.default_rng(6).standard_normal((1, shape[1]))
        a, b = (rng.standard_normal((shape[0], 1)) * inputs + 0.05 * x for x in (a, b))
    return a, b


@pytest.mark.parametrize("kind", ["plain", "row scales", "heavy tails", "all"])
def test_z_has_standard_deviation_one_on_unrelated_changes(kind):
    rng = np.random.default_rng(1)
    found = [cosine(row_of(*unrelated(kind, rng)), (0, 1)) for _ in range(400)]
    for z in ([one.z for one in found], [one.z_rows for one in found]):
        assert np.std(z) == pytest.approx(1, abs=0.12) and abs(np.mean(z)) < 0.2
    naive = np.std([one.cosine * math.sqrt(one.n) for one in found])
    assert (naive > 2) == (kind in ("row scales", "all")), "what cos * sqrt(n) makes of shared row scales"


def test_flipping_rows_allows_for_inputs_that_all_rows_share():
    """Entries of a row then depend on each other: single signs see significance everywhere, whole rows do not."""
    rng = np.random.default_rng(2)
    found = [cosine(row_of(*unrelated("shared inputs", rng)), (0, 1)) for _ in range(300)]
    assert np.std([one.z for one in found]) > 3
    assert np.std([one.z_rows for one in found]) == pytest.approx(1, abs=0.15)
    assert np.std([one.careful_z for one in found]) < 1.2


def test_z_finds_what_is_there():
    rng = np.random.default_rng(3)
    a, b = unrelated("plain", rng)
    assert cosine(row_of(a, b + 0.5 * a * np.linalg.norm(b) / np.linalg.norm(a)), (0, 1)).careful_z > 5


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.sampled_from([1, 7, 31, 32, 33, 64, 1023, 1025, 2100]),
    changes=st.integers(1, 4),
    bits=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    scale=st.sampled_from([1e-12, 1e-4, 1.0, 1e6]),
)
def test_kernel_and_numpy_agree_with_the_definitions(rows, columns, changes, bits, seed, scale):
    rng = np.random.default_rng(seed % 2**32)
    arrays = [(rng.standard_normal(rows * columns) * scale).astype(np.float32) for _ in range(changes + 1)]
    edges = tuple((k + 1, k if k % 2 else -1) for k in range(changes))
    if bits:
        arrays = [narrow(array, "BF16") for array in arrays]
    wide = [widen(array, "BF16") if bits else array for array in arrays]
    deltas = [(wide[i] if j < 0 else wide[i] - wide[j]).astype(float).reshape(rows, columns) for i, j in edges]
    for found in (moments(arrays, edges, columns, seed), pure._moments(arrays, edges, columns, seed)):
        assert found.n == rows * columns
        size = np.sqrt([np.vdot(a, a) for a in deltas])
        assert found.gram == pytest.approx(np.array([[np.vdot(a, b) for a in deltas] for b in deltas]), rel=1e-9)
        for i in range(changes):
            assert found.sums[i] == pytest.approx(deltas[i].sum(), abs=1e-4 * size[i] * math.sqrt(found.n) + 1e-30)
            for j in range(i + 1, changes):
                products = deltas[i] * deltas[j]
                assert found.squares[i, j] == pytest.approx(np.sum(products**2), rel=1e-9)
                assert found.rows[i, j] == pytest.approx(np.sum(products.sum(axis=1) ** 2), rel=1e-6, abs=1e-300)
        assert abs(found.signs) <= np.abs(deltas[0]).sum() * (1 + 1e-5)
    if compiled() and not bits:
        assert moments(arrays, edges, columns, seed).signs == pytest.approx(
            pure._moments(arrays, edges, columns, seed).signs, abs=1e-4 * size[0] * math.sqrt(found.n)
        )


def test_random_signs_are_fair_and_differ_by_seed():
    ones = np.ones(1 << 16, np.float32)
    for draw in (lambda seed: moments([ones], ((0, -1),), 1 << 8, seed).signs,):
        drawn = [draw(seed) / 256 for seed in range(200)]
        assert np.std(drawn) == pytest.approx(1, abs=0.15) and abs(np.mean(drawn)) < 0.25
    row = row_of(np.random.default_rng(0).standard_normal((300, 300)), np.ones((300, 300)))
    assert abs(random_direction(row).z) < 4 and random_direction(row).chance == pytest.approx(1 / 300)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.floats(-2, 2))
def test_the_shuffled_control_is_the_distribution_over_all_permutations(seed, offset):
    """Mean and deviation worked out, against permutations that are drawn; every entry of the tensor is in it."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((20, 15)) + offset, rng.standard_normal((20, 15)) ** 3 + 1
    found = shuffled(row_of(a, b), (0, 1))
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    drawn = [np.vdot(a, rng.permutation(b.reshape(-1)).reshape(b.shape)) / norm for _ in range(1500)]
    assert found.cosine == pytest.approx(np.mean(drawn), abs=5 * found.chance / math.sqrt(1500))
    assert found.chance == pytest.approx(np.std(drawn), rel=0.12)
    a[-1, -1] += 1000
    assert shuffled(row_of(a, b), (0, 1)).cosine != pytest.approx(found.cosine), "the last entry counts"


def test_sums_add_up_over_spans_and_tensors():
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((64, 33)).astype(np.float32) for _ in range(2))
    whole, parts = (
        moments([a.reshape(-1), b.reshape(-1)], PAIR, 33, 0),
        [moments([a[i : i + 16].reshape(-1), b[i : i + 16].reshape(-1)], PAIR, 33, i) for i in range(0, 64, 16)],
    )
    added = parts[0] + parts[1] + parts[2] + parts[3]
    for key in ("gram", "squares", "rows", "sums"):
        assert getattr(added, key) == pytest.approx(getattr(whole, key), rel=1e-5)
    one, two = row_of(a, b), row_of(3 * a, -b)
    assert cosine(one + two, (0, 1)).n == 2 * a.size
