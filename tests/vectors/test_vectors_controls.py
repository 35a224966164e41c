"""Controls of a skill's own size, and trimming with the norm restored: each against numbers worked out apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vectors_merging import Known, everything
from vectors_tools import moved, read_model, weights, write_model

from pastcli.errors import UsageError
from pastcli.vectors import extract_skill
from pastcli.vectors.deltas.controls import LayersMoved, control
from pastcli.vectors.deltas.rescaled import Rescaled, Trimmed

SHAPES = {f"model.layers.{n}.q_proj.weight": (6, 8) for n in range(5)} | {"model.norm.weight": (8,), "lm_head": (9, 8)}


def some(seed=0, shapes=SHAPES, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * scale * (1 + n)).astype("f")
        for n, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("kind", ["random", "shuffled", "layers"])
def test_every_control_has_the_norm_of_the_skill_in_every_tensor(kind):
    delta = Known(some())
    made = control(kind, delta, 3)
    assert made.specs() == delta.specs()
    for name, value in delta.tensors.items():
        found = everything(made, name)
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(value), rel=1e-5)
        if "layers" in name:
            assert abs(np.vdot(found, value)) < 0.7 * np.vdot(value, value)
        assert np.array_equal(found, everything(control(kind, delta, 3), name)), "the same for the same seed"


@pytest.mark.parametrize("seed", range(20))
def test_no_layer_stays_in_its_place_and_each_is_used_once(seed):
    delta = Known(some())
    made = LayersMoved(delta, seed)
    sources = []
    for name, value in delta.tensors.items():
        found = everything(made, name)
        if "layers" in name:
            sources += [other for other, there in delta.tensors.items() if np.array_equal(there, found)]
            assert sources[-1] != name
        else:
            assert np.array_equal(found, value), "what is outside the layers stays"
    assert sorted(sources) == sorted(name for name in SHAPES if "layers" in name)


def test_only_layers_alike_change_places():
    shapes = {f"model.layers.{n}.mlp.weight": (4, 3 + n // 2) for n in range(4)} | {"model.layers.4.mlp.weight": (1, 1)}
    delta = Known(some(shapes=shapes))
    made = LayersMoved(delta, 0)
    swapped = {0: 1, 1: 0, 2: 3, 3: 2, 4: 4}
    for into, source in swapped.items():
        wanted = delta.tensors[f"model.layers.{source}.mlp.weight"]
        assert np.array_equal(everything(made, f"model.layers.{into}.mlp.weight"), wanted)
    with pytest.raises(UsageError, match="two layers alike"):
        LayersMoved(Known({"model.layers.0.w": np.ones(3), "lm_head": np.ones(3)}), 0)


def test_another_vector_gets_the_size_of_the_skill():
    skill, other = (
        Known(some(0)),
        Known({k: v for k, v in some(1, scale=50).items() if k != "lm_head"} | {"extra": np.ones(4)}),
    )
    made = Rescaled(other, skill)
    assert set(made.specs()) == set(SHAPES) - {"lm_head"}
    for name in made.specs():
        found = everything(made, name)
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(skill.tensors[name]), rel=1e-5)
        cosine = np.vdot(found, other.tensors[name]) / np.linalg.norm(found) / np.linalg.norm(other.tensors[name])
        assert cosine == pytest.approx(1, abs=1e-6)
    assert not everything(Rescaled(Known({"w": np.zeros((2, 2))}), Known({"w": np.ones((2, 2))})), "w").any()


@settings(max_examples=40, deadline=None)
@given(density=st.floats(0.01, 1), rows=st.integers(1, 30), columns=st.integers(1, 30), seed=st.integers(0, 99))
def test_trimming_keeps_the_largest_and_restores_the_norm(density, rows, columns, seed):
    value = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    kept = max(1, round(density * value.size))
    largest = np.sort(np.abs(value).reshape(-1))[-kept]
    wanted = np.where(np.abs(value) >= largest, value, 0)
    assert np.array_equal(everything(Trimmed(Known({"w": value}), density, False), "w"), wanted)
    found = everything(Trimmed(Known({"w": value}), density, True), "w")
    assert np.count_nonzero(found) == kept and np.linalg.norm(found) == pytest.approx(np.linalg.norm(value), rel=1e-5)
    assert found == pytest.approx(wanted * np.linalg.norm(value) / np.linalg.norm(wanted), rel=1e-4)


def test_trimming_cuts_sign_conflicts_as_dots_says():
    """Two unrelated dense changes conflict in half of their entries; of the tenth largest of each few meet at all."""
    a, b = some(1, {"w": (300, 300)})["w"], some(2, {"w": (300, 300)})["w"]
    dense = np.mean(a * b < 0)
    x, y = (everything(Trimmed(Known({"w": v}), 0.3, True), "w") for v in (a, b))
    assert dense == pytest.approx(0.5, abs=0.01) and np.mean(x * y < 0) == pytest.approx(0.045, abs=0.005)


@pytest.fixture
def skills(tmp_path):
    """A skill, another of the same base, and a target."""
    base = weights(layers=3)
    sft = moved(base, 1, 2e-3)
    for name, tensors in {
        "sft": sft,
        "rl": moved(sft, 3, 1e-3),
        "other": moved(sft, 4, 5e-3),
        "target": moved(base, 2, 2e-3),
    }.items():
        write_model(tmp_path / name, tensors)
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "skill")
    extract_skill(tmp_path / "sft", tmp_path / "other", tmp_path / "format.skill")
    return tmp_path


def inject(past_json, folder, out, *more, **options):
    flags = ("--vector", folder / "skill", "--target", folder / "target", "-o", folder / out)
    return past_json("inject", *flags, *more, **options)


def test_a_skill_file_as_control_through_the_command_line(past, past_json, skills):
    inject(past_json, skills, "model")
    made = inject(past_json, skills, "control", "--control", skills / "format.skill")
    target, skill, control_ = (read_model(skills / name) for name in ("target", "model", "control"))
    other = {k: read_model(skills / "other")[k].astype(float) - v for k, v in read_model(skills / "sft").items()}
    for name, value in target.items():
        added, meant = control_[name].astype(float) - value, skill[name].astype(float) - value
        assert np.linalg.norm(added) == pytest.approx(np.linalg.norm(meant), rel=1e-3)
        cosine = np.vdot(added, other[name]) / np.linalg.norm(added) / np.linalg.norm(other[name])
        assert cosine == pytest.approx(1, abs=1e-3)
    shown = past_json("runs", "show", made["run"])
    assert "format.skill" in str(shown["inputs"]["control"]), "the run knows what stood in for the skill"
    flags = ("--vector", skills / "skill", "--target", skills / "target", "-o", skills / "x")
    assert "neither a control nor" in past("inject", *flags, "--control", "rnadom", code=2).stderr
    (skills / "copy").write_bytes((skills / "skill").read_bytes())
    assert "the skill itself" in past("inject", *flags, "--control", skills / "copy", code=2).stderr
    assert not (skills / "x").exists()


def test_density_and_layers_through_the_command_line(past, past_json, skills):
    made = inject(past_json, skills, "trimmed", "--density", "0.2", "--rescale")
    full = inject(past_json, skills, "full")
    assert made["metrics"]["norm"] == pytest.approx(full["metrics"]["norm"], rel=1e-4)
    target, trimmed = read_model(skills / "target"), read_model(skills / "trimmed")
    for name, value in target.items():
        assert np.mean(trimmed[name] != value) == pytest.approx(0.2, abs=0.04)
    layers = inject(past_json, skills, "layers", "--control", "layers")
    assert layers["metrics"]["norm"] == pytest.approx(full["metrics"]["norm"], rel=1e-4)
    flags = ("--vector", skills / "skill", "--target", skills / "target", "-o", skills / "x")
    assert "--density" in past("inject", *flags, "--rescale", code=2).stderr
    assert "trims by itself" in past("inject", *flags, "--density", "0.5", "--merge", "ties", code=2).stderr
    assert "--density" in past("inject", *flags, "--density", "0", code=2).stderr
