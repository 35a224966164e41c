"""More than one plus sign: scales, projection, TIES, controls and adapters, each against numbers worked out apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_tools import factors_for, llama_shapes, moved, read_model, weights, write_adapter, write_model

from pastcli.api import LowRank, TensorSpec
from pastcli.errors import UsageError
from pastcli.vectors import extract_skill, inject_skill, open_skill
from pastcli.vectors.deltas.compression import magnitude_for
from pastcli.vectors.deltas.controls import control
from pastcli.vectors.deltas.delta import Sum, whole
from pastcli.vectors.deltas.projection import Projected
from pastcli.vectors.deltas.scales import multipliers, parse_depth, parse_rules
from pastcli.vectors.deltas.ties import Ties
from pastcli.vectors.export_adapter import export_adapter
from pastcli.vectors.numbers import lowrank
from pastcli.vectors.numbers.svd import svd

UP, QUERY = "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight"


class Known:
    """A delta that is a dictionary of arrays."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(value, np.float32) for name, value in tensors.items()}

    def specs(self):
        return {name: TensorSpec(name, value.shape, "F32") for name, value in self.tensors.items()}

    def block(self, name, start, stop):
        return self.tensors[name].reshape(-1)[start:stop].copy()


def everything(delta, name):
    return whole(delta, delta.specs()[name])


@pytest.fixture
def skill_and_target(tmp_path):
    base = weights()
    sft = moved(base, 1, 2e-3)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "sft", sft)
    write_model(tmp_path / "rl", moved(sft, 3, 1e-3))
    write_model(tmp_path / "target", moved(base, 2, 2e-3))
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "skill")
    return tmp_path / "skill", tmp_path / "target"


def test_rules_match_runs_of_name_parts_and_the_last_one_wins():
    names = [*llama_shapes(layers=12), "model.layers.3.self_attn.q_proj.bias"]
    found = multipliers(
        names, parse_rules(["layers.0-9=0.5", "q_proj=2", "layers.11.*_attn=0", "embed_tokens=3"]), None
    )
    assert found["model.layers.9.mlp.up_proj.weight"] == 0.5 and found["model.layers.10.mlp.up_proj.weight"] == 1.0
    assert found["model.layers.3.self_attn.q_proj.weight"] == found["model.layers.3.self_attn.q_proj.bias"] == 2.0
    assert found["model.layers.11.self_attn.q_proj.weight"] == 0.0 and found["model.embed_tokens.weight"] == 3.0
    with pytest.raises(UsageError, match="no tensor"):
        multipliers(names, parse_rules(["layers.12=1"]), None)


def test_depth_scale_runs_linearly_from_the_first_layer_to_the_last():
    found = multipliers(llama_shapes(layers=5), [], parse_depth("0:1"))
    assert [found[f"model.layers.{layer}.mlp.up_proj.weight"] for layer in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["model.embed_tokens.weight"] == 0.0 and found["model.norm.weight"] == 1.0


def test_scales_reach_the_weights(skill_and_target, tmp_path):
    skill, target = skill_and_target
    inject_skill([(skill, 0.5)], target, tmp_path / "out", scale=2.0, scales=["q_proj=-1", "mlp=0"])
    before, after, v = read_model(target), read_model(tmp_path / "out"), open_skill(skill)
    assert np.array_equal(after[QUERY], before[QUERY] - v.block(QUERY).reshape(before[QUERY].shape))
    assert np.array_equal(after[UP], before[UP])
    assert np.array_equal(after["model.norm.weight"], before["model.norm.weight"] + v.block("model.norm.weight"))


def test_several_vectors_add_up_with_their_own_factors(skill_and_target, tmp_path):
    skill, target = skill_and_target
    adapter = write_adapter(tmp_path / "ad", factors_for([UP]), base=tmp_path / "sft")
    extract_skill(tmp_path / "sft", adapter, tmp_path / "second")
    inject_skill([(skill, 0.8), (tmp_path / "second", -0.3)], target, tmp_path / "out")
    a, b = factors_for([UP])[UP]
    first = open_skill(skill).block(UP).reshape(32, 16)
    wanted = read_model(target)[UP] + 0.8 * first - 0.3 * (8 / 3) * (b.astype(float) @ a)
    assert np.allclose(read_model(tmp_path / "out")[UP], wanted, atol=1e-5)


def test_ties_on_the_numbers_of_a_worked_example():
    """Trim to the top half; elect (+, -, +, +); mean of those that agree (2306.01708, figure 2 in small)."""
    one, two = [4.0, -3.0, 0.1, 0.2], [2.0, 1.0, 0.3, 0.1]
    merged = Ties([Known({"w": [one]}), Known({"w": [two]})], 0.5)
    assert everything(merged, "w").tolist() == [[3.0, -3.0, 0.0, 0.0]]
    alone = Ties([Known({"w": [one]}), Known({"x": [two]})], 1.0)
    assert everything(alone, "w").tolist() == [pytest.approx(one)]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200), st.floats(0.01, 1.0))
@settings(max_examples=200, deadline=None)
def test_the_magnitude_threshold_is_the_exact_order_statistic(values, density):
    delta = Known({"w": [values]})
    wanted = max(1, round(density * len(values)))
    assert magnitude_for(delta, delta.specs()["w"], density) == np.sort(np.abs(np.float32(values)))[::-1][wanted - 1]


@pytest.mark.parametrize("shape", [(200, 90), (60, 50)])
def test_projection_takes_out_exactly_the_part_inside_the_subspace(shape):
    rng = np.random.default_rng(0)
    v = rng.standard_normal(shape)
    change = 10 * rng.standard_normal((shape[0], 5)) @ rng.standard_normal((5, shape[1])) + rng.standard_normal(shape)
    u, _, vt = np.linalg.svd(change)
    u, vt = u[:, :5], vt[:5]
    left = everything(Projected(Known({"w": v}), Known({"w": change}), 5, 0), "w")
    assert np.abs(left - (v - u @ (u.T @ v @ vt.T) @ vt)).max() < 1e-4
    assert np.abs(u.T @ left @ vt.T).max() < 1e-4
    vector = Projected(Known({"w": v[0]}), Known({"w": change[0]}), 5, 0)
    assert np.array_equal(everything(vector, "w"), np.float32(v[0]))


def test_projection_through_inject_reads_the_targets_own_sft_change(skill_and_target, tmp_path):
    skill, target = skill_and_target
    made = inject_skill([(skill, 1.0)], target, tmp_path / "out", project="sft:4", base=tmp_path / "base")
    assert 0.5 < made.survival.norm / open_skill(skill).norm < 1.0
    with pytest.raises(UsageError) as caught:
        inject_skill([(skill, 1.0)], target, tmp_path / "x", project="sft:4")
    assert "--base" in caught.value.hint


@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_controls_keep_the_norm_of_every_tensor_and_nothing_else(kind):
    delta = Known(moved(weights(), 1, 1e-3))
    made, again, other = (control(kind, delta, seed) for seed in (7, 7, 8))
    for name in delta.specs():
        got = everything(made, name).astype(np.float64)
        assert np.linalg.norm(got) == pytest.approx(np.linalg.norm(delta.tensors[name]), rel=1e-5)
        assert np.array_equal(got, everything(again, name)) and not np.array_equal(got, everything(other, name))
    columns, whole_one = delta.specs()[UP].columns, everything(made, UP).reshape(-1)
    for first, last in ((0, 3), (1, 2), (2, 5)):  # where a block begins must not change what is in it
        assert np.array_equal(
            made.block(UP, first * columns, last * columns), whole_one[first * columns : last * columns]
        )
    if kind == "shuffled":
        assert np.array_equal(np.sort(everything(made, UP), axis=None), np.sort(delta.tensors[UP], axis=None))
        assert np.mean(everything(made, UP) == delta.tensors[UP]) < 0.05


def test_a_sum_with_factor_one_is_bit_for_bit_the_vector():
    delta = Known(weights())
    assert np.array_equal(everything(Sum([(delta, dict.fromkeys(delta.tensors, 1.0))]), UP), delta.tensors[UP])
    assert Sum([(delta, dict.fromkeys(delta.tensors, 0.0))]).specs() == {}


def test_low_rank_algebra_against_plain_products():
    rng = np.random.default_rng(1)
    terms = [
        (LowRank(rng.standard_normal((30, r)).astype("f"), rng.standard_normal((r, 20)).astype("f"), s), w)
        for r, s, w in ((3, 2.0, 0.5), (5, 0.25, -1.5))
    ]
    wanted = sum(w * low.scale * (low.b.astype(float) @ low.a) for low, w in terms)
    joined = lowrank.concatenated(terms)
    assert np.linalg.norm(joined.scale * (joined.b.astype(float) @ joined.a) - wanted) < 1e-6 * np.linalg.norm(wanted)
    assert lowrank.product_norm(joined) == pytest.approx(np.linalg.norm(wanted), rel=1e-6)
    u, s, vt = lowrank.svd_of_product(joined)
    assert np.allclose((u * s) @ vt, wanted, atol=1e-5)
    single = lowrank.concatenated(terms[:1])
    assert single.b is terms[0][0].b and single.scale == 1.0


@pytest.mark.parametrize("shape, rank", [((40, 30), 5), ((300, 200), 150), ((400, 500), 6)])
def test_truncated_svd_is_the_best_approximation(shape, rank):
    """Full SVD, Gram matrix and randomised sketch all reach the error of Eckart and Young."""
    rng = np.random.default_rng(2)
    matrix = (rng.standard_normal(shape) * np.linspace(1, 0.1, shape[1])).astype(np.float32)
    matrix += (rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1])) * 5).astype(np.float32)
    u, s, vt = svd(matrix, rank, rng)
    best = np.linalg.svd(matrix.astype(float), compute_uv=False)
    assert s[:3] == pytest.approx(best[:3], rel=1e-4)
    assert np.linalg.norm(matrix - (u * s) @ vt) <= 1.02 * np.linalg.norm(best[rank:])


def test_skill_merged_and_skill_as_adapter_are_the_same_skill(tmp_path):
    """PEFT loads the exported directory unchanged, and its merged weights are those of `inject`."""
    pytest.importorskip("peft")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = dict(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False)).save_pretrained(tmp_path / "sft")
    shapes = {name: value.shape for name, value in read_model(tmp_path / "sft").items()}
    rng = np.random.default_rng(0)
    names = [name for name in shapes if "_proj" in name]
    small = {
        n: (
            rng.standard_normal((2, shapes[n][1])).astype("f") * 0.1,
            rng.standard_normal((shapes[n][0], 2)).astype("f") * 0.1,
        )
        for n in names
    }
    adapter = write_adapter(
        tmp_path / "ad",
        small,
        base=tmp_path / "sft",
        alpha=3.0,
        rslora=True,
        target_modules=sorted({n.split(".")[-2] for n in names}),
    )
    extract_skill(tmp_path / "sft", adapter, tmp_path / "skill")
    made = export_adapter([(tmp_path / "skill", 0.5)], tmp_path / "sft", tmp_path / "exported", scale=2.0)
    assert made.kept == 1.0 and made.rank == 2
    inject_skill([(tmp_path / "skill", 1.0)], tmp_path / "sft", tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "sft", dtype=torch.float32)
    peft_original = PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "sft", dtype=torch.float32)
    peft_exported = PeftModel.from_pretrained(base, tmp_path / "exported").merge_and_unload().state_dict()
    for name, value in read_model(tmp_path / "merged").items():
        assert np.allclose(peft_original[name].numpy(), value, atol=1e-6), name
        assert np.allclose(peft_exported[name].numpy(), value, atol=1e-6), name


def test_exported_embeddings_are_what_peft_expects(tmp_path):
    """An embedding's factors are those of its transpose; exporting and reading back gives the same change."""
    write_model(tmp_path / "sft", weights(tied=False), tied=False)
    write_model(tmp_path / "rl", moved(weights(tied=False), 1, 1e-3), tied=False)
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "skill", rank=3)
    made = export_adapter([(tmp_path / "skill", 1.0)], tmp_path / "sft", tmp_path / "out")
    assert 0 < made.kept < 1 and "norm" in made.warnings[0], "layer norms are not low-rank: left out, and said so"
    extract_skill(tmp_path / "sft", tmp_path / "out", tmp_path / "again")
    first, second = open_skill(tmp_path / "skill"), open_skill(tmp_path / "again")
    for name in second.parts:
        assert np.allclose(first.block(name), second.block(name), atol=1e-7), name
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["r"] == 3 and "rank_pattern" not in config and "embed_tokens" in config["target_modules"]


def test_a_dense_skill_cannot_become_an_adapter_and_says_how(skill_and_target, tmp_path):
    with pytest.raises(UsageError) as caught:
        export_adapter([(skill_and_target[0], 1.0)], skill_and_target[1], tmp_path / "out")
    assert "--rank" in caught.value.hint and not (tmp_path / "out").exists()
