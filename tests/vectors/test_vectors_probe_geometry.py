"""The geometry of an update: each measure against its definition worked out apart, and chance for an update that lies anywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_vectors_probe_subspaces import decaying
from vectors_tools import moved, weights, write_model

from pastcli.api import TensorSpec
from pastcli.errors import MismatchError
from pastcli.vectors.probe import geometry_report
from pastcli.vectors.probe.geometry import PRINCIPAL, Geometry, measure
from pastcli.vectors.probe.geometry_figures import figures
from pastcli.vectors.probe.places import grouped

NAME = "model.layers.0.self_attn.q_proj.weight"
UPDATES = {"sft": ("base", "sft"), "rl": ("sft", "rl"), "sft_skill": ("base", "rl")}


def measured(base, sft, rl, rank=5, name=NAME, seed=0):
    arrays = {"base": base, "sft": sft, "rl": rl}
    arrays = {key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()}
    readers = {key: (lambda n, a, b, array=array: array.reshape(-1)[a:b]) for key, array in arrays.items()}
    return measure(readers, UPDATES, {name: TensorSpec(name, base.shape, "F32")}, rank, seed)


def row(found, label="sft"):
    return found.updates[label][NAME].to_dict()


@pytest.fixture
def matrix():
    rng = np.random.default_rng(0)
    return decaying((300, 280), rng, 0.6), rng


def test_every_measure_is_its_definition(matrix):
    w, rng = matrix
    d = (rng.standard_normal(w.shape) * 2e-4 * (rng.random(w.shape) < 0.5)).astype(np.float32)
    e = (rng.standard_normal(w.shape) * 1e-4 * (rng.random(w.shape) < 0.3)).astype(np.float32)
    sft, rl = w + d, w + d + e
    found, k = measured(w, sft, rl), 5
    d, e = sft - w, rl - sft  # as stored
    assert row(found)["norm"] == pytest.approx(np.linalg.norm(d), rel=1e-6)
    assert row(found)["relative_norm"] == pytest.approx(np.linalg.norm(d) / np.linalg.norm(w), rel=1e-6)
    changed = np.abs(d) > 1e-3 * np.maximum(np.abs(w), np.abs(sft))
    other = np.abs(e) > 1e-3 * np.maximum(np.abs(sft), np.abs(rl))
    assert row(found)["sparsity"] == pytest.approx(1 - changed.mean(), abs=1e-6)
    for torchlike in (np.linalg.svd(w.astype(float), full_matrices=False), _torch_svd(w)):
        u, s, vt = torchlike
        best = np.abs((u[:, :k] * s[:k]) @ vt[:k])
        principal = best >= np.quantile(best, 1 - PRINCIPAL)
        assert row(found)["principal_overlap"] == pytest.approx(changed[principal].mean(), abs=0.01)
        u2, s2, vt2 = np.linalg.svd(sft.astype(float), full_matrices=False)
        shift = np.linalg.norm(s2[:k] - s[:k]) / np.linalg.norm(s[:k])
        assert row(found)["spectral_shift"] == pytest.approx(shift, rel=2e-2, abs=1e-7)
        for side, one, two in (("left", u[:, :k], u2[:, :k]), ("right", vt[:k].T, vt2[:k].T)):
            cosines = np.linalg.svd(one.T @ two, compute_uv=False)
            assert row(found)[f"rotation_{side}"] == pytest.approx(np.sqrt(np.mean(1 - cosines**2)), rel=2e-2)
    assert row(found)["principal_overlap_chance"] == pytest.approx(changed.mean(), abs=1e-3)
    assert row(found)["principal_overlap_elsewhere"] == pytest.approx(row(found)["principal_overlap"], abs=0.02)
    both = found.meetings[NAME].to_dict()
    assert both["both_change"] == (changed & other).sum()
    assert both["sign_conflict"] == pytest.approx(np.mean((d * e < 0)[changed & other]))
    assert both["sign_conflict_chance"] == pytest.approx(0.5, abs=0.01)
    assert both["norm_ratio"] == pytest.approx(np.linalg.norm(d) / np.linalg.norm(e), rel=1e-5)


def _torch_svd(array):
    import torch

    return [part.numpy() for part in torch.linalg.svd(torch.from_numpy(array).double(), full_matrices=False)]


def test_an_update_that_lies_anywhere_is_at_chance(matrix):
    """Mean over several: rotation, shift, sparsity and principal overlap of Gaussian updates against their own chance."""
    w, _ = matrix
    ratios = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found = row(measured(w, w + 1e-4 * rng.standard_normal(w.shape), w, seed=seed))
        ratios.append(
            [
                found[key] / found[f"{key}_chance"]
                for key in ("sparsity", "principal_overlap", "rotation_left", "rotation_right")
            ]
        )
    assert np.mean(ratios, axis=0)[:2] == pytest.approx([1, 0.97], abs=0.05)
    assert np.mean(ratios, axis=0)[2:] == pytest.approx([1, 1], abs=0.15)


def test_updates_on_and_off_the_principals_are_told_apart(matrix):
    """SFT inside the leading subspaces shifts the spectrum; RL off the principal entries leaves it and overlaps less."""
    w, rng = matrix
    u, s, vt = np.linalg.svd(w.astype(float), full_matrices=False)
    inside = (u[:, :5] * (0.01 * s[:5])) @ vt[:5]
    best = np.abs((u[:, :5] * s[:5]) @ vt[:5])
    outside = np.where(best < np.quantile(best, 0.8), rng.standard_normal(w.shape), 0)
    outside *= np.linalg.norm(inside) / np.linalg.norm(outside)
    found = measured(w, w + inside, w + inside + outside)
    sft, rl = row(found), row(found, "rl")
    assert (
        sft["spectral_shift"] == pytest.approx(0.01, rel=0.01)
        and sft["spectral_shift"] > 3 * sft["spectral_shift_chance"]
    )
    assert rl["spectral_shift"] < 0.5 * sft["spectral_shift"]
    assert rl["principal_overlap"] < 0.1 < rl["principal_overlap_chance"]
    assert sft["rotation_left"] < 0.2 * sft["rotation_left_chance"], "scaling its own directions turns nothing"


def test_sign_conflict_has_the_chance_of_its_own_margins():
    rng = np.random.default_rng(1)
    w = rng.standard_normal((300, 300)) * 0.02
    d, e = (np.where(rng.random(w.shape) < p, 1, -1) * 1e-3 for p in (0.8, 0.3))
    both = measured(w, w + d, w + d + e).meetings[NAME].to_dict()
    assert both["sign_conflict_chance"] == pytest.approx(0.8 * 0.7 + 0.2 * 0.3, abs=0.01)
    assert both["sign_conflict"] == pytest.approx(both["sign_conflict_chance"], abs=0.01)


def test_sums_over_groups_are_those_of_the_entries_and_nothing_measured_is_none():
    rng = np.random.default_rng(2)
    geometry = Geometry(5, {label: {} for label in UPDATES})
    for name, shape in ((NAME, (40, 30)), ("model.norm.weight", (16,)), ("model.embed_tokens.weight", (50, 16))):
        w = rng.standard_normal(shape).astype(np.float32)
        part = measured(w, w + np.float32(0.1), w, name=name)
        geometry.meetings |= part.meetings
        for label in UPDATES:
            geometry.updates[label] |= part.updates[label]
    document = geometry_report.to_dict(geometry)
    assert document["whole"]["sft"]["entries"] == 40 * 30 + 16 + 50 * 16
    assert document["tensors"]["model.norm.weight"]["sft"]["rotation_left"] is None
    assert document["layers"]["embedding"]["sft"]["principal_overlap"] is None
    assert set(document["layers"]) == {"0", "final norm", "embedding"}
    assert document["whole"]["sft_skill"]["norm"] == 0 and document["whole"]["sft_skill"]["sparsity"] == 1
    assert grouped(geometry.updates["sft"], lambda name: "")[""].directions == 5
    assert json.dumps(document, allow_nan=False) and "opposite ways" in geometry_report.sentence(geometry)
    with pytest.raises(MismatchError, match="NaN"):
        measured(np.full((3, 3), np.nan), np.ones((3, 3)), np.ones((3, 3)))


def test_geometry_through_the_command_line(past, past_json, tmp_path):
    base = weights(layers=3, hidden=48)
    sft = moved(base, 1, 2e-3)
    for name, tensors in {"base": base, "sft": sft, "rl": moved(sft, 2, 1e-4), "target": moved(base, 3, 2e-3)}.items():
        write_model(tmp_path / name, tensors)
    flags = [word for name in ("base", "sft", "rl") for word in (f"--{name}", tmp_path / name)]
    flags += ["--target-sft", tmp_path / "target", "--geometry", "4"]
    found = past_json("probe-orthogonality", *flags, "-o", tmp_path / "figures")
    geometry = found["geometry"]
    assert geometry["rank"] == 4 and set(geometry["whole"]) == {"sft", "rl", "target_sft", "sft_skill", "sft_and_rl"}
    assert set(geometry["tensors"]) == set(base) and len(geometry["layers"]) == 5
    whole = geometry["whole"]
    assert whole["rl"]["sparsity"] > whole["sft"]["sparsity"] and whole["sft_and_rl"]["norm_ratio"] == pytest.approx(
        20, rel=0.05
    )
    target = {k: np.float64(v) - base[k] for k, v in moved(base, 3, 2e-3).items()}
    skill = {k: np.float64(v) - sft[k] for k, v in moved(sft, 2, 1e-4).items()}
    norm = np.sqrt(sum(np.sum((target[k] + skill[k]) ** 2) for k in base))
    assert whole["sft_skill"]["norm"] == pytest.approx(norm, rel=1e-4)
    for name in ("geometry_by_layer.png", "geometry_by_module.png"):
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")
    shown = past("probe-orthogonality", *flags, "--no-figures")
    assert "unchanged in bfloat16" in shown.stdout and "opposite ways" in shown.stdout


def test_figures_of_a_geometry_without_layers_are_drawn(tmp_path):
    w = np.random.default_rng(0).standard_normal((20, 20))
    assert len(figures(measured(w, w + 0.01, w + 0.02), tmp_path)) == 2
    only = measured(w, w + 0.01, w + 0.02, name="lm_head.weight")
    assert [path.name for path in figures(only, tmp_path)] == ["geometry_by_module.png"]
