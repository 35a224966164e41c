"""The geometry of the updates against a second implementation, written from its definitions with numpy and scipy alone.

Definitions: 2511.08567 (an entry counts as changed above a thousandth of the larger of both weights; shift of the spectrum,
rotation of leading subspaces, overlap with the entries that carry the best rank-k approximation), 2605.00610 (sign conflict
among entries that both change). Nothing of `pastcli.vectors.numbers` is used here.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from test_vectors_probe_geometry import measured

NAME = "model.layers.0.self_attn.q_proj.weight"
SHARE = 0.1


def draw(shape, seed=0, rank=None, size=0.02):
    """A matrix with a falling spectrum, of a given rank if one is named; float32."""
    rng = np.random.default_rng(seed)
    smaller = min(shape)
    left, right = (np.linalg.qr(rng.standard_normal((side, smaller)))[0] for side in shape)
    values = size * np.sqrt(max(shape)) * 0.8 ** np.arange(smaller)
    values[rank if rank is not None else smaller :] = 0
    return ((left * values) @ right.T).astype(np.float32)


def with_values(shape, values, seed=0):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((side, min(shape))))[0] for side in shape)
    return ((left * np.asarray(values)) @ right.T).astype(np.float32)


def leading(w, k):
    """(U, s, V) of the k leading singular values that stand above float32's rounding."""
    u, s, vt = scipy.linalg.svd(w.astype(np.float64), full_matrices=False)
    kept = min(k, int(np.sum(s > 1e-6 * s[0]))) if s.size and s[0] else 0
    return u[:, :kept], s[:kept], vt[:kept].T


def changed(w, after):
    w, after = w.astype(np.float64), after.astype(np.float64)
    return np.abs(after - w) > 1e-3 * np.maximum(np.abs(w), np.abs(after))


def peer(w, after, k):
    """Each measure by its definition; None where there is nothing to measure."""
    delta, moved = after.astype(np.float64) - w, changed(w, after)
    norm = np.linalg.norm(w.astype(np.float64))
    found = {
        "norm": np.linalg.norm(delta),
        "relative_norm": np.linalg.norm(delta) / norm if norm else None,
        "sparsity": 1 - moved.mean(),
    }
    if w.ndim < 2:
        return found | dict.fromkeys(("spectral_shift", "rotation_left", "rotation_right", "principal_overlap"))
    (u, s, v), (u2, s2, v2) = leading(w, k), leading(after, k)
    r = min(len(s), len(s2))
    if not r:
        return found
    for side, one, two in (("left", u, u2), ("right", v, v2)):
        angles = scipy.linalg.subspace_angles(one[:, :r], two[:, :r])
        found[f"rotation_{side}"] = np.sqrt(np.sum(np.sin(angles) ** 2) / len(s))
    best = np.abs((u * s) @ v.T)
    order = np.sort(best.reshape(-1))
    principal = best >= order[int((1 - SHARE) * order.size)]
    return found | {
        "spectral_shift": np.linalg.norm(s2[:r] - s[:r]) / np.linalg.norm(s),
        "principal_overlap": moved[principal].mean(),
    }


def compare(w, after, k):
    w, after = np.ascontiguousarray(w, np.float32), np.ascontiguousarray(after, np.float32)
    ours, theirs = measured(w, after, after, k).updates["sft"][NAME].to_dict(), peer(w, after, k)
    for name, wanted in theirs.items():
        if wanted is None:
            assert ours[name] is None, name
        elif name == "principal_overlap":  # its limit is taken from a sample of large matrices
            assert ours[name] == pytest.approx(wanted, abs=0.02), name
        elif name == "sparsity":  # an entry that lies on the limit falls to either side by one rounding
            assert ours[name] == pytest.approx(wanted, abs=2 / w.size + 1e-6), name
        else:
            assert ours[name] == pytest.approx(wanted, rel=2e-2, abs=2e-5), name
    return ours


SHAPES = {
    "one entry": (1, 1),
    "tiny": (3, 5),
    "a row": (1, 500),
    "a column": (700, 1),
    "flat": (3, 2000),
    "tall": (2000, 4),
    "square": (200, 200),
    "beyond the whole decomposition": (420, 300),
    "oblong beyond it": (1500, 290),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("size", [1e-5, 1e-3])
def test_both_implementations_agree(shape, k, size):
    w, rng = draw(shape), np.random.default_rng(7)
    delta = size * rng.standard_normal(shape) * (rng.random(shape) < 0.6)
    compare(w, w + delta.astype(np.float32), k)


@pytest.mark.parametrize("shape", [(60, 50), (400, 300)])
def test_a_matrix_of_lower_rank_than_asked_for_has_as_many_directions_as_it_has(shape):
    """Directions beyond the numerical rank are noise: none is compared, whichever of the two matrices lacks them."""
    w = draw(shape, rank=3)
    inside = compare(w, np.float32(1.01) * w, 5)
    assert inside["spectral_shift"] == pytest.approx(0.01, rel=1e-3) and inside["rotation_left"] < 1e-3
    compare(w, w + draw(shape, seed=1, size=1e-4), 5)
    compare(draw(shape, size=0.02), w, 5)


@pytest.mark.parametrize("shape", [(40, 40), (300, 300)])
def test_of_equal_singular_values_only_what_is_determined_is_told(shape):
    """Within a group of equal values the basis is anybody's: the subspace of the whole group turns as the definition says."""
    values = [5.0] * 4 + [1.0 * 0.9**index for index in range(min(shape) - 4)]
    w = with_values(shape, values)
    rng = np.random.default_rng(3)
    compare(w, w + (1e-4 * rng.standard_normal(shape)).astype(np.float32), 4)
    same = measured(w, w, w, 4).updates["sft"][NAME].to_dict()
    assert same["rotation_left"] < 1e-3 and same["spectral_shift"] < 1e-5 and same["sparsity"] == 1


@pytest.mark.parametrize("shape", [(40, 40), (300, 300)])
def test_a_cut_through_equal_singular_values_turns_by_chance_and_its_chance_says_so(shape):
    """Where the k-th and the next value are one, any update turns the subspace: so does the null, and the ratio says nothing."""
    w = with_values(shape, np.ones(min(shape)))
    rng = np.random.default_rng(4)
    found = measured(w, w + (1e-4 * rng.standard_normal(shape)).astype(np.float32), w, 4).updates["sft"][NAME].to_dict()
    for side in ("left", "right"):
        assert found[f"rotation_{side}"] <= 1 and found[f"rotation_{side}_chance"] > 0.5 * found[f"rotation_{side}"]


def test_vectors_are_counted_and_not_turned():
    rng = np.random.default_rng(5)
    w = rng.standard_normal(321).astype(np.float32)
    compare(w, w + (1e-3 * rng.standard_normal(321)).astype(np.float32), 4)


def test_a_zero_matrix_has_no_directions():
    w = np.zeros((30, 20), np.float32)
    found = measured(w, w + np.float32(0.1), w, 4).updates["sft"][NAME].to_dict()
    assert found["relative_norm"] is None and found["spectral_shift"] is None and found["rotation_left"] is None
    assert found["sparsity"] == 0


@pytest.mark.parametrize("shape", [(1, 7), (12, 9), (350, 301), (5000,)])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_sign_conflict_is_counted_where_both_change_and_has_the_chance_of_random_signs(shape, share):
    rng = np.random.default_rng(6)
    w = (0.02 * rng.standard_normal(shape)).astype(np.float32)
    one, two = (
        (1e-3 * np.abs(rng.standard_normal(shape)) * np.where(rng.random(shape) < p, 1, -1)).astype(np.float32)
        for p in (share, 0.4)
    )
    sft = w + one
    rl = sft + two * (rng.random(shape) < 0.7)
    found = measured(w, sft, rl).meetings[NAME].to_dict()
    both = changed(w, sft) & changed(sft, rl)
    one, two = np.sign(sft.astype(float) - w)[both], np.sign(rl.astype(float) - sft)[both]
    if not one.size:
        assert found["sign_conflict"] is None
        return
    assert abs(found["both_change"] - one.size) <= 2
    assert found["sign_conflict"] == pytest.approx(np.mean(one != two), abs=2 / one.size)
    shuffled = np.mean([np.mean(rng.permutation(one) != two) for _ in range(400)])
    assert found["sign_conflict_chance"] == pytest.approx(shuffled, abs=0.02 + 0.5 / np.sqrt(one.size * 400))
    norms = [np.linalg.norm(b.astype(float) - a) for a, b in ((w, sft), (sft, rl))]
    assert found["norm_ratio"] == pytest.approx(norms[0] / norms[1], rel=1e-5)


def test_overlap_with_the_principal_mask_is_at_chance_for_a_mask_that_knows_nothing():
    """Changes on entries drawn at random, large against every weight, so that size does not decide what counts as changed."""
    w = draw((300, 200))
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        delta = np.where(rng.random(w.shape) < 0.3, np.sign(rng.standard_normal(w.shape)), 0)
        found.append(compare(w, w + np.float32(np.abs(w).max()) * delta.astype(np.float32), 4))
    mean = {name: np.mean([one[name] for one in found]) for name in ("principal_overlap", "principal_overlap_chance")}
    assert mean["principal_overlap"] == pytest.approx(mean["principal_overlap_chance"], abs=0.01)
    assert mean["principal_overlap_chance"] == pytest.approx(0.3, abs=0.01)
