"""The skill against what a model changes step by step: the figures are those of plain arithmetic on the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pastcli.errors import MismatchError
from pastcli.vectors.extract import extract_skill
from pastcli.vectors.probe.drift import drift


def moved(base, folder, seed, scale=1e-3):
    """A copy of the model at `base` with every weight moved a little."""
    import shutil

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    rng = torch.Generator().manual_seed(seed)
    save_file(
        {k: v + scale * torch.randn(v.shape, generator=rng) for k, v in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def flat(folder):
    weights = load_file(folder / "model.safetensors")
    return np.concatenate([weights[name].double().numpy().ravel() for name in sorted(weights)])


@pytest.fixture
def chain(tiny_model, tmp_path):
    first = moved(tiny_model, tmp_path / "a", 1)
    second = moved(first, tmp_path / "b", 2, 3e-3)
    third = moved(second, tmp_path / "c", 3)
    skilled = moved(first, tmp_path / "rl", 4)
    skill = tmp_path / "v.safetensors"
    extract_skill(first, skilled, skill)
    return tiny_model, [first, second, third], skilled, skill


def test_cosines_and_norms_are_those_of_the_weights(chain):
    base, models, skilled, skill = chain
    v = flat(skilled) - flat(models[0])
    before = flat(base)
    for model, step in zip(models, drift(base, models, skill), strict=True):
        total, own = flat(model) - flat(base), flat(model) - before
        assert step.norm == pytest.approx(np.linalg.norm(total), rel=1e-5)
        assert step.step_norm == pytest.approx(np.linalg.norm(own), rel=1e-4)
        assert step.cosine == pytest.approx(v @ total / np.linalg.norm(v) / np.linalg.norm(total), abs=1e-5)
        assert step.step_cosine == pytest.approx(v @ own / np.linalg.norm(v) / np.linalg.norm(own), abs=1e-4)
        assert abs(step.cosine) < 5 * step.chance < 0.1
        before = flat(model)


def test_a_model_that_takes_the_skill_in_is_seen(chain, tmp_path):
    """A step that adds v itself has cosine 1 with it; one that undoes it, -1; one that does nothing, none."""
    base, models, skilled, skill = chain
    v = {
        k: load_file(skilled / "model.safetensors")[k] - w
        for k, w in load_file(models[0] / "model.safetensors").items()
    }

    def plus(folder, factor):
        moved(models[0], folder, 0, 0.0)
        weights = load_file(folder / "model.safetensors")
        save_file(
            {k: w + factor * v[k] for k, w in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
        )
        return folder

    with_it, without, still = plus(tmp_path / "x", 1.0), plus(tmp_path / "y", -1.0), plus(tmp_path / "z", 0.0)
    assert drift(base, [models[0], with_it], skill)[1].step_cosine == pytest.approx(1, abs=1e-3)
    assert drift(base, [models[0], without], skill)[1].step_cosine == pytest.approx(-1, abs=1e-3)
    last = drift(base, [models[0], still], skill)[1]
    assert last.step_norm == pytest.approx(0, abs=1e-4) and math.isclose(last.norm, drift(base, [still], skill)[0].norm)
    assert drift(base, [base], skill)[0].cosine is None


def test_a_skill_added_between_two_steps_is_no_part_of_what_the_next_one_learnt(chain, tmp_path):
    base, models, skilled, skill = chain
    after = moved(skilled, tmp_path / "after", 9)  # trained on from a model that has the skill inside
    v, own = flat(skilled) - flat(models[0]), flat(after) - flat(skilled)
    first, second = drift(base, [models[0], after], skill, [skilled])
    assert second.step_cosine == pytest.approx(v @ own / np.linalg.norm(v) / np.linalg.norm(own), abs=1e-4)
    assert second.step_norm == pytest.approx(np.linalg.norm(own), rel=1e-3) and abs(second.step_cosine) < 0.05
    assert second.cosine > 0.3 and first == drift(base, [models[0]], skill)[0]


def test_a_skill_of_another_model_is_refused(chain, make_tiny, tmp_path):
    skill = chain[-1]
    other = make_tiny(tmp_path / "wide", hidden_size=64)
    with pytest.raises(MismatchError):
        drift(other, [moved(other, tmp_path / "w2", 1)], skill)
