"""Subspaces and interference: against two independent SVDs, and within chance for changes that are strangers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vectors_merging import Known
from vectors_tools import factors_for, read_model, weights, write_adapter, write_model

from pastcli.errors import MismatchError
from pastcli.vectors.numbers.svd import svd
from pastcli.vectors.probe.interference import Meter, interference
from pastcli.vectors.probe.matrices import Matrix, Sum, Turned
from pastcli.vectors.probe.measure import probe
from pastcli.vectors.probe.subspaces import overlap

SHAPES = [(300, 280), (700, 300), (290, 400), (40, 300), (8, 3), (1, 50)]


def stored(array):
    array = np.ascontiguousarray(array, np.float32)
    return Matrix(lambda start, stop: array.reshape(-1)[start:stop], array.shape)


def decaying(shape, rng, power=0.5):
    """A matrix with random singular vectors and a slowly falling spectrum."""
    u, v = (np.linalg.qr(rng.standard_normal((size, min(shape))))[0] for size in shape)
    return ((u * np.arange(1, min(shape) + 1.0) ** -power) @ v.T).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_leading_triplets_equal_those_of_two_other_implementations(shape):
    """LAPACK's divide and conquer through numpy, and torch's."""
    rng = np.random.default_rng(0)
    array = decaying(shape, rng)
    u, s, vt = svd(stored(array), 8, rng, 1e-5)
    k = len(s)
    assert k == min(8, *shape) and u.shape == (shape[0], k) and vt.shape == (k, shape[1])
    for full in (
        np.linalg.svd(array.astype(float), full_matrices=False),
        [part.numpy() for part in torch.linalg.svd(torch.from_numpy(array).double(), full_matrices=False)],
    ):
        assert s == pytest.approx(full[1][:k], rel=1e-5)
        for mine, theirs in ((u, full[0][:, :k]), (vt.T, full[2][:k].T)):
            assert np.linalg.norm(mine.T @ mine - np.eye(k)) < 1e-5
            assert np.linalg.svd(mine.T @ theirs, compute_uv=False).min() == pytest.approx(1, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(rank=st.integers(0, 5), asked=st.integers(1, 20), rows=st.integers(2, 400), columns=st.integers(2, 400))
def test_directions_beyond_the_numerical_rank_do_not_exist(rank, asked, rows, columns):
    rng = np.random.default_rng(rank + 10 * asked)
    rank = min(rank, rows, columns)
    array = (rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))).astype(np.float32)
    u, s, vt = svd(stored(array), asked, rng)
    assert len(s) == min(rank, asked)
    assert np.linalg.norm(u.T @ u - np.eye(len(s))) < 1e-4 and np.linalg.norm(vt @ vt.T - np.eye(len(s))) < 1e-4


@pytest.mark.parametrize("shape", [(300, 280), (700, 300), (600, 520)])
@pytest.mark.parametrize("scaled", [False, True])
def test_overlaps_of_strangers_are_what_chance_gives(shape, scaled):
    """Also where both change the same rows most; one random start for both once made them 1.7 to 20 times as large."""
    ratios, z = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        scale = np.exp(1.2 * np.random.default_rng(99).standard_normal((shape[0], 1))) if scaled else 1.0
        a, b = rng.standard_normal(shape) * scale, rng.standard_normal(shape) * scale
        found = overlap(stored(a), stored(b), "w", 8, seed)
        ratios.append([found.left / found.left_chance, found.right / found.right_chance])
        ratios[-1] += [found.product / found.product_chance, found.largest_left / found.largest_left_chance]
        z.append([(found.left - found.left_chance) / found.left_deviation])
        z[-1] += [(found.right - found.right_chance) / found.right_deviation]
    assert np.mean(ratios, axis=0) == pytest.approx(1, abs=0.15)
    assert 0.5 < np.std(z) < 1.7 and abs(np.mean(z)) < 0.9
    if scaled:
        assert found.left_chance > 2 * 8 / shape[0], "sharing rows is chance, and more than k / m"
    else:
        assert found.left_chance == pytest.approx(8 / shape[0], rel=0.2)


def test_overlap_equals_the_exact_one_and_is_one_for_the_same_change():
    rng = np.random.default_rng(1)
    a, b = decaying((400, 300), rng, 1.0), decaying((400, 300), rng, 1.0)
    b = (b + 0.7 * a).astype(np.float32)
    found = overlap(stored(a), stored(b), "w", 6, 0)
    (ua, _, va), (ub, _, vb) = (np.linalg.svd(x.astype(float), full_matrices=False) for x in (a, b))
    assert found.left == pytest.approx(np.mean(np.linalg.svd(ua[:, :6].T @ ub[:, :6])[1] ** 2), abs=2e-3)
    assert found.right == pytest.approx(np.mean(np.linalg.svd(va[:6] @ vb[:6].T)[1] ** 2), abs=2e-3)
    product = np.linalg.norm(a.T.astype(float) @ b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert found.product == pytest.approx(product, rel=0.15)
    same = overlap(stored(a), stored(3 * a), "w", 6, 0)
    assert same.left == pytest.approx(1, abs=1e-5) and same.right == pytest.approx(1, abs=1e-5)
    assert same.left > same.left_chance + 10 * same.left_deviation


def test_ranks_below_the_one_asked_for_are_compared_as_they_are():
    rng = np.random.default_rng(2)
    low = [rng.standard_normal((300, r)) @ rng.standard_normal((r, 260)) for r in (3, 5)]
    found = overlap(stored(low[0]), stored(low[1]), "w", 16, 0)
    assert found.ranks == (3, 5) and found.left <= 1 and found.largest_left <= 1
    assert found.left == pytest.approx(found.left_chance, abs=6 * found.left_deviation)
    assert overlap(stored(low[0]), stored(np.zeros((300, 260))), "w", 16, 0) is None


def test_rounding_that_stands_in_both_changes_is_not_taken_for_a_shared_direction(tmp_path):
    """A LoRA merged into float32 differs from its base by rank 3 and by rounding; the rounding of the SFT model is in both
    changes, and would make the directions beyond rank 3 look alike."""
    base = weights(hidden=64)
    name = "model.layers.0.self_attn.q_proj.weight"
    rng = np.random.default_rng(0)
    step = lambda: (rng.standard_normal((64, 3)) @ rng.standard_normal((3, 64)) * 1e-4).astype(np.float32)  # noqa: E731
    sft = base | {name: base[name] + step()}
    rl = sft | {name: sft[name] + step()}
    for folder, tensors in (("base", base), ("sft", sft), ("rl", rl)):
        write_model(tmp_path / folder, tensors)
    found = probe(tmp_path / "base", tmp_path / "sft", tmp_path / "rl", subspaces=12).subspaces
    assert set(found) == {name} and found[name].ranks == (3, 3)


def test_an_operator_of_several_parts_multiplies_like_the_whole():
    rng = np.random.default_rng(3)
    array = rng.standard_normal((30, 20)).astype(np.float32)
    turned = Turned(stored(array), rng)
    dense = turned @ np.eye(20, dtype=np.float32)
    assert np.allclose(turned.T @ np.eye(30, dtype=np.float32), dense.T)
    assert np.linalg.svd(dense, compute_uv=False) == pytest.approx(np.linalg.svd(array, compute_uv=False), rel=1e-5)
    assert sorted(np.linalg.norm(dense, axis=1)) == pytest.approx(sorted(np.linalg.norm(array, axis=1)), rel=1e-5)
    assert abs(np.vdot(dense, array)) < 0.2 * np.vdot(array, array)
    both = Sum(stored(array), turned)
    assert np.allclose(both.T @ np.eye(30, dtype=np.float32), (array + dense).T, atol=1e-6)
    array[3, 4] = np.nan
    with pytest.raises(MismatchError, match="NaN"):
        stored(array) @ np.eye(20, dtype=np.float32)


def test_interference_is_the_trace_with_the_covariance_not_with_the_mean():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((12, 20)), rng.standard_normal((12, 20))
    x = rng.standard_normal((5000, 20)) * np.linspace(0.1, 3, 20) + 4 * rng.standard_normal(20)
    meter = Meter(Known({"w": a, "v": a}), Known({"w": b}))
    meter.visit("w", x.astype(np.float32), False)
    meter.visit("v", x.astype(np.float32), False)
    meter.visit("unknown", x.astype(np.float32), False)
    (found,) = meter.found.values()
    covariance = np.cov(x.T, bias=True)
    assert found.trace == pytest.approx(np.trace(a.T @ b @ covariance), rel=1e-3)
    u, w = x.mean(axis=0) @ a.T, x.mean(axis=0) @ b.T
    assert found.mean_part == pytest.approx(u @ w / np.linalg.norm(u) / np.linalg.norm(w), rel=1e-3)
    assert found.weights == pytest.approx(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-4)
    assert 0 < found.typical < found.p95 <= 1


@pytest.mark.parametrize("outputs", [12, 20])
def test_a_weight_stored_as_in_by_out_gives_the_interference_of_its_transpose(outputs):
    """GPT-2's matrices; a square one would otherwise be measured the wrong way round without a word."""
    rng = np.random.default_rng(4)
    a, b, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((outputs, 20), (outputs, 20), (500, 20)))
    usual, turned = Meter(Known({"w": a}), Known({"w": b})), Meter(Known({"w": a.T.copy()}), Known({"w": b.T.copy()}))
    usual.visit("w", x, False)
    turned.visit("w", x, True)
    assert turned.found["w"].trace == pytest.approx(usual.found["w"].trace, rel=1e-4)
    assert turned.found["w"].z == pytest.approx(usual.found["w"].z, rel=1e-4)


def test_interference_of_strangers_lies_within_its_chance():
    """On inputs that are neither isotropic nor centred, with outputs of unlike size."""
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        scale = np.exp(np.random.default_rng(7).standard_normal((40, 1)))
        a, b = (rng.standard_normal((40, 16)) * scale for _ in range(2))
        x = (rng.standard_normal((200, 16)) * np.linspace(0.2, 3, 16) + 5).T
        found.append(interference(a @ x, b @ x, 0.0))
    assert np.std([one.z for one in found]) == pytest.approx(1, abs=0.15)
    assert np.mean([one.typical / one.typical_chance for one in found]) == pytest.approx(1, abs=0.1)
    same = interference(a @ x, a @ x, 1.0)
    assert same.pooled == pytest.approx(1) and same.z > 2


def test_exact_changes_have_no_rounding(tmp_path):
    tensors = weights(layers=2)
    write_model(tmp_path / "base", tensors)
    write_model(tmp_path / "sft", {k: v + np.float32(0.01) for k, v in tensors.items()})
    name = "model.layers.1.mlp.up_proj.weight"
    adapter = write_adapter(tmp_path / "rl", factors_for([name]), base=tmp_path / "sft")
    found = probe(tmp_path / "base", tmp_path / "sft", adapter, subspaces=8).subspaces
    assert set(found) == {name} and found[name].ranks[1] == 3 and math.isfinite(found[name].left)
    assert read_model(tmp_path / "base")
