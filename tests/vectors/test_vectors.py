"""Extraction and injection: exact to the bit where the format allows, measured where it does not, never silent."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from vectors_tools import HIDDEN, factors_for, moved, read_model, weights, write_adapter, write_file, write_model

from pastcli.api import TensorSpec
from pastcli.errors import GateError, MismatchError, PastError, UsageError
from pastcli.vectors import extract_skill, inject_skill, open_skill
from pastcli.vectors.checks import grid_noise
from pastcli.vectors.deltas.difference import Difference
from pastcli.vectors.files import stream
from pastcli.vectors.files.skill_description import KEY
from pastcli.vectors.numbers.arithmetic import narrow, widen

UP = "model.layers.1.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def trio(tmp_path):
    """(sft, rl, target) directories of one base, float32."""
    base = weights()
    sft, target = moved(base, 1, 2e-3), moved(base, 2, 2e-3)
    named = {"sft": sft, "rl": moved(sft, 3, 1e-3), "target": target}
    return [write_model(tmp_path / name, tensors) for name, tensors in named.items()]


@given(
    st.sampled_from(["F32", "BF16", "F16"]),
    st.sampled_from(["F32", "BF16", "F16"]),
    st.sampled_from(["auto", "f32", "bf16", "f16"]),
    st.integers(1, 3),
    st.floats(-2, 2, width=32),
    st.booleans(),
    st.integers(0, 99),
)
@example("F32", "F32", "bf16", 1, 2.0**-126, False, 1)  # nothing survives, and nobody asked that anything should
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_output_is_the_correctly_rounded_sum(
    tmp_path_factory, sft_type, target_type, dtype, shards, scale, tied, seed
):
    """16-bit outputs equal round(theta + lambda v) bit for bit, whatever the types, shards and scales."""
    folder = tmp_path_factory.mktemp("sum")
    base = weights(seed, tied=tied)
    sft = moved(base, seed + 1, 5e-3)
    models = {
        "sft": (sft, sft_type),
        "rl": (moved(sft, seed + 2, 5e-3), sft_type),
        "target": (moved(base, seed + 3, 5e-3), target_type),
    }
    paths = {
        name: write_model(folder / name, tensors, kind, shards, tied=tied) for name, (tensors, kind) in models.items()
    }
    extract_skill(paths["sft"], paths["rl"], folder / "skill", allow_lossy=True)
    inject_skill([(folder / "skill", 1.0)], paths["target"], folder / "out", scale=scale, dtype=dtype)
    read = {name: read_model(path) for name, path in paths.items()}
    kind = target_type if dtype == "auto" else dtype.upper()
    for name, got in read_model(folder / "out").items():
        exact = read["target"][name] + np.float32(scale) * (read["rl"][name] - read["sft"][name])
        assert np.array_equal(got, widen(narrow(exact.reshape(-1), kind), kind).reshape(got.shape)), name


@pytest.mark.parametrize("sft_type", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("rl_type", ["F32", "BF16", "F16"])
def test_the_skill_of_one_pass_is_that_of_blocks_to_the_last_byte(tmp_path, monkeypatch, sft_type, rl_type):
    """Tensors of many spans, of odd widths, wider than a block, wider than a span; norms in the file included."""
    shapes = {"model.embed_tokens.weight": (2500, 1027), "a.weight": (3, (1 << 17) + 5), "b.weight": (2, (1 << 21) + 9)}
    rng, pool = np.random.default_rng(0), np.random.default_rng(1).standard_normal(1 << 23, dtype=np.float32)
    models = {}
    for name, kind in (("sft", sft_type), ("rl", rl_type)):
        places = [(shape, rng.integers(0, 1 << 21)) for shape in (*shapes.values(), (7,))]
        cut = [pool[place : place + np.prod(shape)].reshape(shape) for shape, place in places]
        models[name] = write_model(tmp_path / name, dict(zip([*shapes, "model.norm.weight"], cut)), kind, shards=2)
    extract_skill(models["sft"], models["rl"], tmp_path / "one", allow_lossy=True)
    monkeypatch.setattr(Difference, "stored", lambda *_: None)
    extract_skill(models["sft"], models["rl"], tmp_path / "other", allow_lossy=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@given(st.integers(0, 99), st.floats(1e-7, 1.0))
@settings(max_examples=15, deadline=None)
def test_taking_a_skill_out_and_putting_it_back_gives_the_rl_model(tmp_path_factory, seed, sigma):
    """Bit for bit where the subtraction is exact (Sterbenz: y/2 <= x <= 2y), within one ulp elsewhere."""
    folder = tmp_path_factory.mktemp("round")
    sft = weights(seed)
    rl = moved(sft, seed + 1, sigma)
    paths = [write_model(folder / "sft", sft), write_model(folder / "rl", rl)]
    extract_skill(*paths, folder / "skill")
    inject_skill([(folder / "skill", 1.0)], paths[0], folder / "out")
    for name, got in read_model(folder / "out").items():
        a, b = sft[name].astype(np.float64), rl[name].astype(np.float64)
        sterbenz = (a * b > 0) & (np.abs(b) <= 2 * np.abs(a)) & (np.abs(a) <= 2 * np.abs(b))
        assert np.array_equal(got[sterbenz], rl[name][sterbenz])
        ulp = np.spacing(np.maximum(np.abs(sft[name]), np.abs(rl[name])))
        assert (np.abs(got - rl[name]) <= ulp).all()


def test_result_does_not_depend_on_threads_or_blocks(trio, tmp_path, monkeypatch):
    sft, rl, target = trio
    norms = []
    for count, block in ((1, 1 << 17), (3, 64)):
        monkeypatch.setattr(stream, "threads", lambda count=count: count)
        monkeypatch.setattr(stream, "BLOCK", block)
        extract_skill(sft, rl, tmp_path / f"skill{count}")
        made = inject_skill([(tmp_path / f"skill{count}", 1.0)], target, tmp_path / f"out{count}", dtype="bf16")
        norms.append((made.survival.norm, made.survival.cosine))
    assert (tmp_path / "out1/model.safetensors").read_bytes() == (tmp_path / "out3/model.safetensors").read_bytes()
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


def test_survival_is_what_is_really_in_the_file(trio, tmp_path):
    sft, rl, target = trio
    extract_skill(sft, rl, tmp_path / "skill")
    made = inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "out", dtype="bf16", scale=0.05)
    before, after, skill = read_model(target), read_model(tmp_path / "out"), open_skill(tmp_path / "skill")
    meant = np.concatenate([0.05 * skill.block(name).astype(np.float64) for name in before])
    found = np.concatenate([(after[name].astype(np.float64) - before[name]).reshape(-1) for name in before])
    cosine = meant @ found / np.linalg.norm(meant) / np.linalg.norm(found)
    assert made.survival.cosine == pytest.approx(cosine, rel=1e-6) and cosine < 0.9
    assert made.survival.ratio == pytest.approx(np.linalg.norm(found) / np.linalg.norm(meant), rel=1e-6)
    assert "cosine" in made.warnings[0] and "--dtype f32" in made.warnings[0]
    with pytest.raises(GateError):
        inject_skill(
            [(tmp_path / "skill", 1.0)], target, tmp_path / "gated", dtype="bf16", scale=0.05, min_survival=0.99
        )
    assert not (tmp_path / "gated").exists()


def test_stochastic_rounding_keeps_a_small_skill_that_nearest_erases(tmp_path):
    """A change of a tenth of a grid step on a bf16 model: rounding to nearest loses all of it."""
    theta = {"model.embed_tokens.weight": np.full((512, 64), 1.0, np.float32)}
    moved_by = {"model.embed_tokens.weight": np.full((512, 64), 1.0 + 2**-7 / 10, np.float32)}
    sft, rl = write_model(tmp_path / "sft", theta), write_model(tmp_path / "rl", moved_by)
    target = write_model(tmp_path / "target", theta, "BF16")
    extract_skill(sft, rl, tmp_path / "skill")
    nearest = inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "a")
    chance = inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "b", rounding="stochastic", seed=4)
    again = inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "c", rounding="stochastic", seed=4)
    assert nearest.survival.cosine == 0.0 and chance.survival.cosine > 0.3
    assert read_model(tmp_path / "b")["model.embed_tokens.weight"].mean() == pytest.approx(1 + 2**-7 / 10, abs=6e-5)
    assert chance.survival == again.survival


def test_an_adapter_trained_on_the_sft_model_is_the_skill_exactly(trio, tmp_path):
    sft, _, target = trio
    factors = factors_for([UP], rank=3)
    adapter = write_adapter(tmp_path / "ad", factors, base=sft, alpha=5.0, rslora=True)
    made = extract_skill(sft, adapter, tmp_path / "skill")
    a, b = factors[UP]
    skill = open_skill(tmp_path / "skill")
    stored = skill.factors(UP)
    assert (
        made.form == "low_rank"
        and np.array_equal(stored.a, a)
        and np.array_equal(stored.b, b)
        and stored.scale == 5 / np.sqrt(3)
    )
    assert made.norm == pytest.approx(np.linalg.norm(5 / np.sqrt(3) * (b.astype(float) @ a)), rel=1e-6)
    inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "out")
    before, after = read_model(target), read_model(tmp_path / "out")
    assert np.allclose(after[UP], before[UP] + 5 / np.sqrt(3) * (b @ a), atol=1e-5)
    assert all(np.array_equal(after[name], before[name]) for name in before if name != UP)


def test_two_adapters_of_one_base_are_joined_without_loss(trio, tmp_path):
    sft, _, _ = trio
    one = write_adapter(tmp_path / "one", factors_for([UP], rank=2, seed=1), base=sft)
    two = write_adapter(tmp_path / "two", factors_for([UP, DOWN], rank=3, seed=2), base=sft)
    extract_skill(one, two, tmp_path / "skill")
    skill = open_skill(tmp_path / "skill")
    (a1, b1), (a2, b2) = factors_for([UP], rank=2, seed=1)[UP], factors_for([UP, DOWN], rank=3, seed=2)[UP]
    wanted = 8 / 3 * (b2.astype(float) @ a2) - 8 / 2 * (b1.astype(float) @ a1)
    assert skill.parts[UP].rank == 5
    assert np.linalg.norm(skill.block(UP).reshape(32, HIDDEN) - wanted) < 1e-6 * np.linalg.norm(wanted)


def test_an_adapter_of_another_base_counts_as_that_base_plus_the_adapter(trio, tmp_path):
    sft, rl, _ = trio
    factors = factors_for([UP])
    adapter = write_adapter(tmp_path / "ad", factors, base=rl)
    assert extract_skill(sft, adapter, tmp_path / "skill").form == "dense"
    a, b = factors[UP]
    wanted = read_model(rl)[UP] + 8 / 3 * (b @ a) - read_model(sft)[UP]
    assert np.allclose(open_skill(tmp_path / "skill").block(UP).reshape(wanted.shape), wanted, atol=1e-5)


@pytest.mark.parametrize("form", [{"rank": 4}, {"energy": 0.8}, {"density": 0.25}])
def test_compressed_skills_keep_the_energy_they_claim(trio, tmp_path, form):
    sft, rl, _ = trio
    made = extract_skill(sft, rl, tmp_path / "skill", **form)
    skill, before, after = open_skill(tmp_path / "skill"), read_model(sft), read_model(rl)
    for name, part in skill.parts.items():
        true = (after[name] - before[name]).astype(np.float64).reshape(-1)
        kept = skill.block(name).astype(np.float64)
        assert part.energy == pytest.approx(1 - np.sum((true - kept) ** 2) / np.sum(true**2), abs=1e-4)
        assert part.norm == pytest.approx(np.linalg.norm(kept), rel=1e-5)
    if "rank" in form:
        singular = np.linalg.svd((after[UP] - before[UP]).astype(float), compute_uv=False)
        assert skill.parts[UP].energy == pytest.approx(np.sum(singular[:4] ** 2) / np.sum(singular**2), abs=1e-6)
    if "energy" in form:
        assert all(part.energy >= 0.8 - 1e-6 for part in skill.parts.values())
    if "density" in form:
        assert skill.parts[UP].nnz == 0.25 * skill.parts[UP].spec.numel
    assert 0 < made.energy < 1 and skill.norm == pytest.approx(made.norm)


def test_a_low_rank_skill_is_recompressed_without_being_multiplied_out(trio, tmp_path):
    sft, _, _ = trio
    a, b = factors_for([UP], rank=6)[UP]
    adapter = write_adapter(tmp_path / "ad", {UP: (a, b)}, base=sft)
    extract_skill(sft, adapter, tmp_path / "skill", rank=2)
    singular = np.linalg.svd(b.astype(float) @ a, compute_uv=False)
    part = open_skill(tmp_path / "skill").parts[UP]
    assert part.rank == 2 and part.energy == pytest.approx(np.sum(singular[:2] ** 2) / np.sum(singular**2), rel=1e-5)


@pytest.mark.parametrize("s", [1e-3, 0.05, 0.0999, 0.1, 0.3, 1.0, 7.0])
def test_the_noise_that_a_grid_adds_is_that_of_the_integral(s):
    z, step = np.linspace(-9, 9, 400001, retstep=True)
    fraction = np.modf(np.abs(s * z))[0]
    integral = np.sum(fraction * (1 - fraction) * np.exp(-z * z / 2)) * step / np.sqrt(2 * np.pi)
    assert grid_noise.expected_square(np.array([s]))[0] == pytest.approx(s * s + integral, rel=1e-6)


def test_differences_that_are_grid_noise_are_refused_with_the_evidence(tmp_path):
    base = {"model.embed_tokens.weight": np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32) * 0.02}
    for sigma, cosine, refused in ((1e-5, 0.37, True), (1e-4, 0.91, False)):  # METHOD 5's table
        folder = tmp_path / str(sigma)
        sft, rl = write_model(folder / "sft", base, "BF16"), write_model(folder / "rl", moved(base, 1, sigma), "BF16")
        if refused:
            with pytest.raises(MismatchError, match="exactly one grid step") as caught:
                extract_skill(sft, rl, folder / "skill")
            assert "--allow-lossy" in caught.value.hint and not (folder / "skill").exists()
        made = extract_skill(sft, rl, folder / "skill", allow_lossy=True)
        assert (
            f"{cosine:.1f}" in made.warnings[0].split("cosine of ")[1][:4]
            or abs(float(made.warnings[0].split("cosine of ")[1][:4]) - cosine) < 0.05
        )
        widened = [write_model(folder / f"{name}32", read_model(path)) for name, path in (("sft", sft), ("rl", rl))]
        assert extract_skill(*widened, folder / "skill32", allow_lossy=True).warnings == [made.warnings[0]], (
            "a 16-bit model saved again as float32 is still on the 16-bit grid"
        )


def test_float32_checkpoints_raise_no_alarm_even_for_tiny_changes(tmp_path):
    base = weights()
    sft, rl = write_model(tmp_path / "sft", base), write_model(tmp_path / "rl", moved(base, 1, 1e-6))
    assert extract_skill(sft, rl, tmp_path / "skill").warnings == []


def misfits(tmp_path):
    base = weights()
    reshaped = dict(base)
    reshaped[UP] = np.zeros((8, HIDDEN), np.float32)
    missing = {name: value for name, value in base.items() if name != UP}
    return {
        "architecture": (write_model(tmp_path / "1", base, architecture="Qwen2ForCausalLM"), "Qwen2ForCausalLM"),
        "vocabulary": (write_model(tmp_path / "2", base, vocab=41), "different vocabularies"),
        "tokenizer": (write_model(tmp_path / "3", base, tokens=["a", "c", "b"]), "different tokenizers"),
        "shape": (write_model(tmp_path / "4", reshaped), UP),
        "missing": (write_model(tmp_path / "5", missing), f"no tensor {UP}"),
        "extra": (
            write_model(tmp_path / "6", {**base, "model.layers.2.x.weight": base[UP]}),
            "no tensor model.layers.2.x.weight",
        ),
        "untied": (write_model(tmp_path / "7", weights(tied=False), tied=False), "lm_head.weight of its own"),
        "another base": (write_model(tmp_path / "8", weights(seed=77)), "another base"),
        "NaN": (write_model(tmp_path / "9", {**base, UP: np.full_like(base[UP], np.nan)}), f"{UP} holds NaN"),
        "infinity": (
            write_model(tmp_path / "a", {**base, UP: np.full_like(base[UP], np.inf)}),
            f"{UP} holds NaN or infinity",
        ),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "architecture",
        "vocabulary",
        "tokenizer",
        "shape",
        "missing",
        "extra",
        "untied",
        "another base",
        "NaN",
        "infinity",
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_nothing_is_left(tmp_path, kind):
    base = weights()
    sft = write_model(tmp_path / "sft", moved(base, 1, 1e-3), tokens=["a", "b", "c"])
    rl = write_model(tmp_path / "rl", moved(read_model(sft), 2, 1e-3), tokens=["a", "b", "c"])
    extract_skill(sft, rl, tmp_path / "skill")
    target, message = misfits(tmp_path)[kind]
    untouched = (target / "model.safetensors").read_bytes()
    with pytest.raises(MismatchError) as caught:
        inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "out")
    assert message in caught.value.message
    assert not (tmp_path / "out").exists() and (target / "model.safetensors").read_bytes() == untouched
    if kind != "another base":
        with pytest.raises(MismatchError):
            extract_skill(sft, target, tmp_path / "skill2")
        assert not (tmp_path / "skill2").exists()


def test_a_sum_that_overflows_its_type_is_an_error(tmp_path):
    sft = {EMBEDDING: np.full((8, 8), 1.0, np.float32)}
    rl = {EMBEDDING: np.full((8, 8), 60000.0, np.float32)}
    paths = [write_model(tmp_path / "sft", sft), write_model(tmp_path / "rl", rl)]
    extract_skill(*paths, tmp_path / "skill")
    with pytest.raises(MismatchError, match="overflows"):
        inject_skill([(tmp_path / "skill", 1.0)], paths[0], tmp_path / "out", dtype="f16", scale=2.0)
    assert not (tmp_path / "out").exists()


def test_identical_checkpoints_hold_no_skill(trio, tmp_path):
    with pytest.raises(PastError, match="identical"):
        extract_skill(trio[0], trio[0], tmp_path / "skill")
    assert not (tmp_path / "skill").exists()


def test_a_damaged_skill_file_is_refused(trio, tmp_path):
    extract_skill(trio[0], trio[1], tmp_path / "skill", rank=2)
    content = (tmp_path / "skill").read_bytes()
    (tmp_path / "short").write_bytes(content[:-9])
    with pytest.raises(MismatchError, match="truncated"):
        open_skill(tmp_path / "short")
    with pytest.raises(MismatchError, match="not a skill"):
        open_skill(write_file(tmp_path / "plain", {"w": np.zeros(3, np.float32)}))
    for damage in ('{"version":1}', "[]", "", '{"version":2}', json.dumps({"version": 1, "identity": 3})):
        with pytest.raises(MismatchError):
            open_skill(
                write_file(tmp_path / f"d{abs(hash(damage))}", {"w": np.zeros(3, np.float32)}, metadata={KEY: damage})
            )


def test_tensors_that_do_not_change_are_copied_to_the_byte(trio, tmp_path):
    sft, _, _ = trio
    target = write_model(tmp_path / "bf16", moved(weights(), 9, 1e-3), "BF16", shards=3)
    adapter = write_adapter(tmp_path / "ad", factors_for([UP]), base=sft)
    extract_skill(sft, adapter, tmp_path / "skill")
    (target / "tokenizer_config.json").write_text('{"a": 1}')
    inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(file.name for file in target.iterdir())
    changed = [
        f.name for f in target.glob("*.safetensors") if f.read_bytes() != (tmp_path / "out" / f.name).read_bytes()
    ]
    assert len(changed) == 1
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text())["a"] == 1


@pytest.mark.parametrize(
    "option",
    [
        {"control": "odd"},
        {"rounding": "up"},
        {"merge": "x"},
        {"scales": ["q_proj"]},
        {"scales": ["nope=1"]},
        {"depth_scale": "1"},
        {"project": "rl:3"},
        {"ties_density": 0.0},
        {"scale": float("nan")},
        {"dtype": "q4"},
    ],
)
def test_settings_that_mean_nothing_are_usage_errors(trio, tmp_path, option):
    extract_skill(trio[0], trio[1], tmp_path / "skill")
    with pytest.raises(UsageError):
        inject_skill([(tmp_path / "skill", 1.0)], trio[2], tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_an_adapter_is_merged_before_the_skill_is_added(trio, tmp_path):
    """Tensors that only the target's own adapter changes must not fall back to its base."""
    sft, _rl, target = trio
    other = "model.layers.0.self_attn.q_proj.weight"
    adapter = write_adapter(tmp_path / "ad", factors_for([other]), base=target)
    skill = write_adapter(tmp_path / "rl-ad", factors_for([UP], seed=8), base=sft)
    extract_skill(sft, skill, tmp_path / "skill")
    made = inject_skill([(tmp_path / "skill", 1.0)], adapter, tmp_path / "out")
    before, after = read_model(target), read_model(tmp_path / "out")
    (a, b), (c, d) = factors_for([other])[other], factors_for([UP], seed=8)[UP]
    assert np.allclose(after[other], before[other] + 8 / 3 * (b @ a), atol=1e-5)
    assert np.allclose(after[UP], before[UP] + 8 / 3 * (d @ c), atol=1e-5)
    assert made.changed == 1 and made.survival.cosine > 0.9999


def test_quantised_checkpoints_are_refused_as_a_source_of_skills(trio, tmp_path, monkeypatch):
    from past_hf.checkpoint import HFCheckpoint

    from pastcli.api import TensorSpec

    real = HFCheckpoint.specs
    quantised = lambda self: {n: TensorSpec(n, s.shape, "Q4_K") for n, s in real(self).items()}  # noqa: E731
    monkeypatch.setattr(HFCheckpoint, "specs", quantised)
    with pytest.raises(MismatchError, match="quantised"):
        extract_skill(trio[0], trio[1], tmp_path / "skill")
    assert "quantised" in extract_skill(trio[0], trio[1], tmp_path / "skill", allow_lossy=True).warnings[0]


def test_as_many_threads_as_cores_unless_each_holds_too_much(monkeypatch):
    """No cap at eight; and no machine with many cores runs out of memory over whole tensors."""
    from threading import Barrier, BrokenBarrierError

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(24)), raising=False)
    assert stream.threads() == 24
    tasks = stream.spans([TensorSpec(f"t{number}", (4,), "F32") for number in range(24)])
    together = Barrier(24, timeout=20)
    assert len(list(stream.run(tasks, lambda span: together.wait()))) == 24, "all 24 are at work at once"
    two = Barrier(3, timeout=0.5)
    with pytest.raises(BrokenBarrierError):
        list(stream.run(tasks, lambda span: two.wait(), held=stream.MOST_HELD // 2))
