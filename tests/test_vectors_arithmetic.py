"""Rounding, widening and sums are right to the last bit, for every float there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from pastcli.vectors.arithmetic import SIGNIFICAND_BITS, Sums, narrow, narrow_stochastic, seeded, squared_norm, widen

floats = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
sixteen = st.sampled_from(["BF16", "F16"])


def test_every_16_bit_pattern_survives_widening_and_narrowing():
    patterns = np.arange(1 << 16, dtype=np.uint16)
    for dtype in ("BF16", "F16"):
        raw = patterns if dtype == "BF16" else patterns.view(np.float16)
        value = widen(raw, dtype)
        finite = np.isfinite(value)
        assert np.array_equal(narrow(value[finite], dtype).view(np.uint16), patterns[finite])


@given(floats)
@settings(max_examples=200, deadline=None)
def test_narrowing_rounds_to_nearest_even_like_torch(values):
    import torch

    for dtype, kind in (("BF16", torch.bfloat16), ("F16", torch.float16)):
        wanted = torch.from_numpy(values).to(kind).view(torch.int16).numpy().view(np.uint16)
        assert np.array_equal(narrow(values, dtype).view(np.uint16), wanted)


@given(floats, sixteen, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_stochastic_rounding_picks_one_of_the_two_neighbours(values, dtype, seed):
    values = values[np.abs(values) < 6e4]
    got = widen(narrow_stochastic(values, dtype, np.random.default_rng(seed)), dtype).astype(np.float64)
    step = 2.0 ** (np.frexp(np.abs(values))[1] - SIGNIFICAND_BITS[dtype])
    step = np.maximum(step, 2.0 ** (-24 if dtype == "F16" else -133))
    assert (np.abs(got - values) < step).all()
    on_grid = widen(narrow(values, dtype), dtype) == values
    assert np.array_equal(got[on_grid], values[on_grid])


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
@pytest.mark.parametrize("value", [0.0123, -3.3, 1e-5, 3e-7])
def test_stochastic_rounding_is_right_on_average(dtype, value):
    values = np.full(200_000, value, np.float32)
    got = widen(narrow_stochastic(values, dtype, np.random.default_rng(0)), dtype).astype(np.float64)
    assert abs(got.mean() - np.float32(value)) < 5 * got.std() / np.sqrt(len(got)) + 1e-12


def test_seeds_depend_on_tensor_and_place_but_not_on_order():
    assert np.array_equal(seeded(1, "a", 7).random(5), seeded(1, "a", 7).random(5))
    draws = [seeded(*key).random() for key in ((1, "a", 7), (2, "a", 7), (1, "b", 7), (1, "a", 8), (1, "a", 7 + 2**32))]
    assert len(set(draws)) == len(draws)


@given(floats, st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_sums_do_not_depend_on_how_blocks_are_cut(values, pieces):
    values = np.clip(values, -1e15, 1e15)
    whole, cut = Sums(), Sums()
    whole.add(values, 2 * values)
    for part in np.array_split(values, pieces):
        cut += _sums(part, 2 * part)
    assert cut.aa == pytest.approx(whole.aa, rel=1e-12) and cut.ab == pytest.approx(2 * whole.aa, rel=1e-12)
    assert whole.aa == pytest.approx(squared_norm(values), rel=1e-12)


def _sums(a, b):
    sums = Sums()
    sums.add(a, b)
    return sums


def test_survival_of_nothing_is_one_and_of_something_lost_is_zero():
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    assert _sums(zero, zero).cosine == 1.0 and _sums(one, zero).cosine == 0.0
    assert _sums(one, 2 * one).cosine == 1.0 and _sums(one, 2 * one).ratio == 2.0
    assert not _sums(one, np.array([1, np.nan, 1, 1], np.float32)).finite
