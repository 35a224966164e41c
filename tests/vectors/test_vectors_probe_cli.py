"""The probe through the real command line: what it refuses, what it says, and what it keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from vectors_tools import moved, weights, write_model

BIG = dict(layers=3, hidden=64)


@pytest.fixture
def written(tmp_path):
    """`written(name, tensors, dtype)` writes a model and gives its path as text."""
    return lambda name, tensors, dtype="F32": str(write_model(tmp_path / name, tensors, dtype))


def run(past_json, base, sft, rl, *more):
    return past_json("probe-orthogonality", "--base", base, "--sft", sft, "--rl", rl, "--no-figures", *more)


def test_checkpoints_that_differ_by_rounding_are_refused_and_said(past, past_json, written):
    """Changes of 1e-5 with cosine +0.5 are measured as opposed in bfloat16: the rounding of the SFT model is in both."""
    base = weights(**BIG)
    rng = np.random.default_rng(1)
    small = {name: rng.standard_normal(value.shape) * 1e-5 for name, value in base.items()}
    other = {n: 0.5 * v + 0.75**0.5 * rng.standard_normal(v.shape) * 1e-5 for n, v in small.items()}
    sft = {name: (base[name] + small[name]).astype(np.float32) for name in base}
    rl = {name: (sft[name] + other[name]).astype(np.float32) for name in base}
    exact = run(past_json, written("base", base), written("sft", sft), written("rl", rl))
    assert exact["global"]["sft_rl"]["cosine"] == pytest.approx(0.5, abs=0.03) and not exact["warnings"]
    paths = [written(f"{name}16", tensors, "BF16") for name, tensors in (("base", base), ("sft", sft), ("rl", rl))]
    models = ("--base", paths[0], "--sft", paths[1], "--rl", paths[2])
    refused = past("probe-orthogonality", *models, "--no-figures", code=3)
    assert "rounding noise" in refused.stderr and "--allow-lossy" in refused.stderr
    lossy = run(past_json, *paths, "--allow-lossy")
    assert lossy["global"]["sft_rl"]["cosine"] < 0, "the fault that this is about"
    assert (
        len(lossy["warnings"]) == 2
        and all("rounding" in text for text in lossy["warnings"])
        and set(lossy["noise"]) == {"sft", "rl"}
    )
    assert lossy["noise"]["sft"]["cosine"] < 0.7 and "rounding of the stored weights" in lossy["verdict"]


def test_sixteen_bits_that_hold_the_change_pass_without_a_word(past_json, written):
    base = weights(**BIG)
    sft = moved(base, 1, 0.05)
    paths = [written(n, t, "BF16") for n, t in (("base", base), ("sft", sft), ("rl", moved(sft, 2, 0.05)))]
    found = run(past_json, *paths)
    assert not found["warnings"] and found["noise"]["sft"]["cosine"] > 0.99
    assert "rounding" not in found["verdict"]


def test_unrelated_changes_with_shared_row_scales_are_chance(past_json, written):
    """cos * sqrt(n) called such a pair up to 25 standard deviations from chance."""
    base, naive = weights(**BIG), []
    for seed in range(6):
        scales = {name: np.exp(1.5 * np.random.default_rng(0).standard_normal(len(v))) for name, v in base.items()}
        rng = np.random.default_rng(10 + seed)
        draw = lambda: {n: (1e-3 * rng.standard_normal(v.shape).T * scales[n]).T for n, v in base.items()}  # noqa: E731,B023
        first, second = draw(), draw()
        sft = {name: (base[name] + first[name]).astype(np.float32) for name in base}
        rl = {name: (sft[name] + second[name]).astype(np.float32) for name in base}
        paths = [written(f"{name}{seed}", t) for name, t in (("base", base), ("sft", sft), ("rl", rl))]
        found = run(past_json, *paths)["global"]["sft_rl"]
        assert abs(found["z"]) < 4 and abs(found["z_rows"]) < 4
        naive.append(found["cosine"] * found["n"] ** 0.5)
    assert np.std(naive) > 2


def test_every_number_is_kept_with_its_null(past_json, written, tmp_path):
    base = weights(**BIG)
    sft = moved(base, 1, 1e-3)
    paths = [written(n, t) for n, t in (("base", base), ("sft", sft), ("rl", moved(sft, 2, 1e-3)))]
    found = run(past_json, *paths, "--subspaces", "4")
    keys = {"cosine", "n", "chance", "z", "chance_rows", "z_rows"}
    assert set(found["global"]["sft_rl"]) == set(found["controls"]["shuffled"]) == keys
    assert all(set(one["sft_rl"]) == keys for level in ("layers", "kinds", "tensors") for one in found[level].values())
    total = sum(value.size for value in base.values())
    assert found["controls"]["shuffled"]["n"] == found["controls"]["random"]["n"] == total
    assert set(found["tensors"]) == set(base) and json.dumps(found, allow_nan=False)
    for one in found["subspaces"]["matrices"].values():
        assert one["ranks"] == [4, 4] and {"left", "left_chance", "left_deviation", "right_chance"} <= set(one)
