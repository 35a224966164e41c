"""Rounding, widening and sums are right to the last bit, for every float there is."""

from __future__ import annotations

import math
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pastcli.vectors.numbers import arithmetic
from pastcli.vectors.numbers.arithmetic import (
    KINDS,
    SIGNIFICAND_BITS,
    STORAGE,
    Sums,
    add_stored,
    add_to_file,
    gram,
    narrow,
    narrow_stochastic,
    recast,
    seeded,
    squared_norm,
    subtract_to_file,
    widen,
)

floats = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
needs_kernels = pytest.mark.skipif(arithmetic._kernels is None, reason="built without a C compiler")
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
    whole += _sums(values, 2 * values)
    for part in np.array_split(values, pieces):
        cut += _sums(part, 2 * part)
    assert cut.aa == pytest.approx(whole.aa, rel=1e-12) and cut.ab == pytest.approx(2 * whole.aa, rel=1e-12)
    assert whole.aa == pytest.approx(squared_norm(values), rel=1e-12)


def _sums(a, b):
    sums = Sums()
    sums.add(a, b, np.zeros_like(b))
    return sums


def test_survival_of_nothing_is_one_and_of_something_lost_is_zero():
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    assert _sums(zero, zero).cosine == 1.0 and _sums(one, zero).cosine == 0.0
    assert _sums(one, 2 * one).cosine == 1.0 and _sums(one, 2 * one).ratio == 2.0
    assert not _sums(one, np.array([1, np.nan, 1, 1], np.float32)).finite


def _both(function, *arguments):
    """What the compiled kernels give, and what numpy gives in their place."""
    compiled = function(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "_kernels", None)
        return compiled, function(*arguments)


any_floats = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3000).map(
    lambda bits: np.array(bits, np.uint32).view(np.float32)
)


@needs_kernels
@given(any_floats)
@settings(max_examples=200, deadline=None)
def test_compiled_bfloat16_conversions_equal_numpys_on_every_bit_pattern(values):
    raw = values.view(np.uint16)
    compiled, plain = _both(widen, raw, "BF16")
    assert np.array_equal(compiled.view(np.uint32), plain.view(np.uint32))
    compiled, plain = _both(narrow, values, "BF16")
    assert np.array_equal(compiled, plain)
    assert np.isnan(widen(compiled, "BF16")[np.isnan(values)]).all(), "a NaN must not be rounded into a number"


@needs_kernels
@given(st.integers(1, 5000), st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_compiled_inner_products_equal_numpys(size, count, data):
    rng = np.random.default_rng(size)
    arrays = [
        rng.standard_normal(size).astype(np.float32) * np.float32(10.0 ** rng.integers(-6, 6)) for _ in range(count)
    ]
    wide = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    arrays = [array if stays else narrow(array, "BF16") for array, stays in zip(arrays, wide, strict=True)]
    side = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(side, st.integers(-1, count - 1)), min_size=1, max_size=5))
    compiled, plain = _both(gram, arrays, edges)
    scale = np.sqrt(np.outer(np.diag(plain), np.diag(plain)))
    assert compiled.shape == (len(edges), len(edges)) and np.array_equal(compiled, compiled.T)
    assert (np.abs(compiled - plain) <= 1e-12 * scale).all()


def test_inner_products_are_summed_in_float64():
    """A million ones and tiny values that float32 sums would drop."""
    values = np.full(1 << 20, 1e-5, np.float32)
    values[0] = 1.0
    true = 1.0 + ((1 << 20) - 1) * float(np.float32(1e-5)) ** 2
    for found in _both(squared_norm, values):
        assert found == pytest.approx(true, rel=1e-14)


@needs_kernels
@pytest.mark.parametrize(
    "arguments",
    [
        ((np.ones(3, np.float32), np.ones(4, np.float32)), ((0, 1),)),
        ((np.ones(3, np.float64),), ((0, -1),)),
        ((np.ones(3, np.float16),), ((0, -1),)),
        ((np.ones(3, np.int32),), ((0, -1),)),
        ((np.ones(3, np.float32),), ((1, -1),)),
        ((np.ones(3, np.float32),), ((0, -2),)),
        ((np.ones(3, np.float32),), ((0, -1),) * 9),
        ((np.ones(3, np.float32),) * 9, ((0, -1),)),
        ((np.ones(6, np.float32)[::2],), ((0, -1),)),
        ((), ()),
        (("text",), ((0, -1),)),
        ((np.ones(3, np.float32),), (("a", -1),)),
        ((np.ones(3, np.float32),), (0,)),
    ],
)
def test_kernels_refuse_what_they_could_only_misread(arguments):
    with pytest.raises((ValueError, TypeError, BufferError)):
        arithmetic._kernels.gram(*arguments)


@needs_kernels
def test_kernels_refuse_to_write_outside_or_into_read_only_arrays():
    short, frozen = np.empty(2, np.uint16), np.empty(3, np.uint16)
    frozen.setflags(write=False)
    for target in (short, frozen, np.empty(3, np.float32)):
        with pytest.raises((ValueError, BufferError)):
            arithmetic._kernels.narrow(np.ones(3, np.float32), target)


FLOATS = (0, 0, -1, 1, 4)


@needs_kernels
@given(any_floats, st.data())
@settings(max_examples=100, deadline=None)
def test_adding_to_stored_floats_measures_what_was_added(values, data):
    """On float32 itself, of any length: the plain sum, and the products of the change with what came of it."""
    theta = np.where(np.isfinite(values), values, np.float32(1)).clip(-1e30, 1e30)
    change = np.random.default_rng(len(values)).standard_normal(len(values)).astype(np.float32)
    raw, sums = arithmetic.requantize(FLOATS, FLOATS, theta.view(np.uint8), change)
    made = (theta + change) - theta
    assert np.array_equal(raw.view(np.float32), theta + change)
    true = _sums(change, made)
    scale = math.sqrt(true.aa * true.bb)
    assert (sums.aa, sums.bb) == (pytest.approx(true.aa, rel=1e-12), pytest.approx(true.bb, rel=1e-12))
    assert sums.ab == pytest.approx(true.ab, abs=1e-12 * scale)
    change[data.draw(st.integers(0, len(change) - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    assert not arithmetic.requantize(FLOATS, FLOATS, theta.view(np.uint8), change)[1].finite


@needs_kernels
@pytest.mark.parametrize(
    "source, target, raw, change, out",
    [
        (FLOATS, FLOATS, np.zeros(8, np.uint8), np.ones(3, np.float32), np.zeros(12, np.uint8)),
        (FLOATS, FLOATS, np.zeros(12, np.uint8), np.ones(3, np.float32), np.zeros(8, np.uint8)),
        (FLOATS, FLOATS, np.zeros(12, np.uint8), np.ones(3, np.int32), np.zeros(12, np.uint8)),
        (FLOATS, FLOATS, np.zeros(12, np.uint8), np.ones(6, np.float32)[::2], np.zeros(12, np.uint8)),
        (FLOATS, FLOATS, np.zeros(12, np.uint8), np.ones(3, np.float32), b"x" * 12),
        ((0, 0, -1, 32, 4), FLOATS, np.zeros(4, np.uint8), np.ones(32, np.float32), np.zeros(128, np.uint8)),
        ((0, 0, -1, 0, 4), FLOATS, np.zeros(12, np.uint8), np.ones(3, np.float32), np.zeros(12, np.uint8)),
        ((1, 1, -1, 33, 4), FLOATS, np.zeros(4, np.uint8), np.ones(33, np.float32), np.zeros(132, np.uint8)),
        ((1, 1, -1, 32, 4), FLOATS, np.zeros(4, np.uint8), np.ones(31, np.float32), np.zeros(124, np.uint8)),
        (FLOATS, (1, 0, 8, 1, 4), np.zeros(12, np.uint8), np.ones(3, np.float32), np.zeros(12, np.uint8)),
        ((0, 0), FLOATS, np.zeros(12, np.uint8), np.ones(3, np.float32), np.zeros(12, np.uint8)),
    ],
)
def test_requantising_refuses_arrays_and_codecs_that_do_not_fit(source, target, raw, change, out):
    with pytest.raises((ValueError, TypeError, BufferError)):
        arithmetic._kernels.requantize(source, target, raw, change, out)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here, numpy does the work")
def test_kernels_are_built_where_there_is_a_compiler():
    assert arithmetic._kernels is not None


kinds = st.sampled_from(["F32", "BF16", "F16"])


def same_bits(one, other):
    """Equal bit for bit; of a NaN only that it is one."""
    nan = np.isnan(other) if other.dtype != np.uint16 else (other & 0x7FFF) > 0x7F80
    ours = np.isnan(one) if one.dtype != np.uint16 else (one & 0x7FFF) > 0x7F80
    kind = np.uint32 if one.dtype == np.float32 else np.uint16
    return np.array_equal(nan, ours) and np.array_equal(one.view(kind)[~nan], other.view(kind)[~nan])


def stored_as(values, dtype):
    """Any float32 bit patterns as stored values: those of 16 bits take every pattern, too."""
    return values if dtype == "F32" else values.view(np.uint16).view(STORAGE[dtype])[: values.size].copy()


@needs_kernels
@given(any_floats, any_floats, kinds, kinds)
@settings(max_examples=400, deadline=None)
def test_adding_to_stored_weights_is_widening_adding_and_narrowing(weights, changes, source, target):
    size = min(weights.size, changes.size)
    raw, change = stored_as(weights[:size], source), changes[:size]
    with np.errstate(all="ignore"):
        made, sums = add_stored(source, target, raw, change)
        theta = widen(raw, source)
        plain = narrow(theta + change, target)
        assert same_bits(made, plain)
        wanted = Sums()
        wanted.add(change, widen(plain, target), theta)
    assert sums.finite == wanted.finite
    if wanted.finite:
        scale = np.sqrt(wanted.aa * wanted.bb)
        for found, expected in ((sums.aa, wanted.aa), (sums.ab, wanted.ab), (sums.bb, wanted.bb)):
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)


@needs_kernels
@pytest.mark.parametrize("source", ["BF16", "F16"])
@pytest.mark.parametrize("target", ["F32", "BF16", "F16"])
def test_every_16_bit_pattern_is_recast_as_numpy_does(source, target):
    """All of them at once with nothing to add: also -0 stays -0, and subnormal halves stay what they are."""
    raw = np.arange(1 << 16, dtype=np.uint16).view(STORAGE[source])
    with np.errstate(all="ignore"):
        assert same_bits(add_stored(source, target, raw, None)[0], narrow(widen(raw, source), target))
    finite = raw[np.isfinite(widen(raw, source))]
    kept, plain = _both(recast, finite[:1000], source, target)
    assert np.array_equal(kept, plain) and recast(raw, source, target) is None


@needs_kernels
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("where", [0, 1023, 1024, 3000, 4098])
@pytest.mark.parametrize("payload", [0x7FC00000, 0x7F800001, 0xFFFFFFFF])
def test_a_nan_among_thousands_is_stored_as_one(source, target, where, payload):
    """Whole tiles round numbers only, and are gone through again if their sums say that there was something else."""
    rng = np.random.default_rng(where)
    raw = narrow(rng.standard_normal(4099, dtype=np.float32), source)
    change = rng.standard_normal(4099, dtype=np.float32)
    change[where] = np.uint32(payload).view(np.float32)
    with np.errstate(all="ignore"):
        made, sums = add_stored(source, target, raw, change)
        assert same_bits(made, narrow(widen(raw, source) + change, target)) and not sums.finite


@needs_kernels
def test_rounding_to_halves_is_right_around_every_one_of_them():
    """The neighbours in float32 of every half and of every midpoint between two: where rounding can go wrong."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    edges = np.concatenate([halves, (halves[1:] + halves[:-1]) / 2, np.float32([65519.9, 65520.0, 1e30])])
    values = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))])
    with np.errstate(over="ignore"):
        assert same_bits(add_stored("F32", "F16", values, None)[0], values.astype(np.float16))
        assert same_bits(add_stored("F32", "F16", -values, None)[0], (-values).astype(np.float16))


@needs_kernels
def test_the_compiled_sum_refuses_what_does_not_fit():
    raw, change, out = np.zeros(8, np.uint16), np.zeros(8, np.float32), np.zeros(8, np.uint16)
    add = arithmetic._kernels.add
    odd = np.zeros(17, np.uint8)[1:].view(np.uint8)
    for words in (
        (3, 1, raw, change, out),
        (-1, 1, raw, change, out),
        (1, 1, raw[:7], change, out),
        (1, 1, raw, change[:7], out),
        (1, 1, raw, change.astype(np.float64), out),
        (0, 1, raw, change, out),
        (1, 1, odd, change, out),
    ):
        with pytest.raises(ValueError):
            add(*words)
    with pytest.raises(BufferError):
        add(1, 1, raw, change, out.tobytes())


@needs_kernels
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_adding_into_a_file_stores_what_adding_into_an_array_does(tmp_path, source, target):
    """Also over several pieces with a rest, at an odd place of the file."""
    rng = np.random.default_rng(0)
    size = 3 * (1 << 16) + 1021
    raw = narrow(rng.standard_normal(size, dtype=np.float32), source)
    change = rng.standard_normal(size, dtype=np.float32) * np.float32(1e-3)
    made, sums = add_stored(source, target, raw, change)
    with open(tmp_path / "out", "wb") as file:
        found = add_to_file(file.fileno(), 4099, source, target, raw, change)
    assert (tmp_path / "out").read_bytes() == bytes(4099) + made.tobytes()
    assert (found.aa, found.ab, found.bb) == pytest.approx((sums.aa, sums.ab, sums.bb), rel=1e-12)


@needs_kernels
def test_adding_into_a_file_that_takes_nothing_is_an_error():
    raw, change = np.zeros(8, np.uint16), np.zeros(8, np.float32)
    with open(os.devnull, "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        add_to_file(file.fileno(), 0, "BF16", "BF16", raw, change)
    with pytest.raises(ValueError, match="as many float32 changes"):
        add_to_file(0, 0, "BF16", "BF16", raw, change[:7])


def difference_by_numpy(after, before, ends):
    """(bytes, sum of squares) of the difference as `extract` makes it where nothing is compiled but the inner products."""
    with np.errstate(all="ignore"):
        made = widen(after[1], after[0]) - widen(before[1], before[0])
        square = 0.0
        for start, stop in zip([0, *ends], ends):
            if stop > start:
                square += squared_norm(made[start:stop])
    return made, square


@needs_kernels
@given(any_floats, any_floats, kinds, kinds, st.data())
@settings(max_examples=400, deadline=None)
def test_a_difference_in_one_pass_is_widening_and_subtracting(tmp_path_factory, one, other, after, before, data):
    """Every float there is, at any offset, in any blocks; -0 stays -0, a NaN one, and the sum of squares is the same to the bit."""
    size = min(one.size, other.size)
    ends = [*sorted(data.draw(st.lists(st.integers(0, size), max_size=4))), size]
    offset = data.draw(st.integers(0, 5000))
    raw = stored_as(one[:size], after), stored_as(other[:size], before)
    made, square = difference_by_numpy((after, raw[0]), (before, raw[1]), ends)
    path = tmp_path_factory.mktemp("difference") / "out"
    with open(path, "wb") as file:
        found = subtract_to_file(file.fileno(), offset, (after, raw[0]), (before, raw[1]), ends)
    stored = path.read_bytes()
    assert stored[:offset] == bytes(offset) and same_bits(np.frombuffer(stored[offset:], np.float32), made)
    assert found == square or not (math.isfinite(found) or math.isfinite(square))


@needs_kernels
@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("ends", [[1 << 17, 300_001], [3, 1027, 1027, 70_000, 299_999], [300_001]])
def test_the_sum_of_squares_of_long_blocks_is_the_same_to_the_bit(tmp_path, after, before, ends):
    """Blocks longer than what is written at once, of odd lengths, one of them empty; weights that are no multiple of a tile."""
    rng = np.random.default_rng(ends[0])
    raw = [(kind, narrow(rng.standard_normal(ends[-1], dtype=np.float32), kind)) for kind in (after, before)]
    made, square = difference_by_numpy(*raw, ends)
    with open(tmp_path / "out", "wb") as file:
        assert subtract_to_file(file.fileno(), 8, *raw, ends) == square > 0
    assert (tmp_path / "out").read_bytes() == bytes(8) + made.tobytes()


@needs_kernels
def test_a_difference_into_a_file_that_takes_nothing_or_of_what_does_not_fit_is_an_error():
    raw = ("BF16", np.zeros(8, np.uint16))
    with open(os.devnull, "rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        subtract_to_file(file.fileno(), 0, raw, raw, [8])
    odd = ("F32", np.zeros(33, np.uint8)[1:].view(np.float32))
    for other, ends in ((("BF16", raw[1][:7]), [8]), (raw, [4]), (raw, [9, 8]), (raw, [-1, 8]), (raw, []), (odd, [8])):
        with pytest.raises(ValueError, match="aligned stored weights, as many on both sides"):
            subtract_to_file(0, 0, raw, other, ends)
