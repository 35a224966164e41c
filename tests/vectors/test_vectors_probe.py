"""The probe finds the angle that was put in, and its null and controls say what chance would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from vectors_tools import factors_for, moved, read_model, weights, write_adapter, write_file, write_model

from pastcli.vectors.probe import cosines as probing
from pastcli.vectors.probe import report as probe_report
from pastcli.vectors.probe.figures import figures
from pastcli.vectors.probe.interference import Interference
from pastcli.vectors.probe.measure import probe
from pastcli.vectors.probe.places import kind_of, layer_of

UP = "model.layers.1.mlp.up_proj.weight"


def with_cosine(reference, cosine, seed, norm=0.05):
    """For each tensor a change of the given cosine to `reference` (exact), and of the same share of the norm."""
    rng, made = np.random.default_rng(seed), {}
    for name, along in reference.items():
        along = along.astype(np.float64)
        other = rng.standard_normal(along.shape)
        other -= along * np.vdot(along, other) / np.vdot(along, along)
        unit, across = along / np.linalg.norm(along), other / np.linalg.norm(other)
        made[name] = (cosine * unit + math.sqrt(1 - cosine**2) * across) * norm * math.sqrt(along.size)
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """base, sft, rl with cos(sft - base, rl - sft) = -0.3, target with cosine 0.5 to the SFT change."""
    folder = tmp_path_factory.mktemp("probe")
    base = weights(layers=3)
    change = {name: np.random.default_rng(1).standard_normal(value.shape) * 0.01 for name, value in base.items()}
    change = {name: value * 0.05 / (np.linalg.norm(value) / math.sqrt(value.size)) for name, value in change.items()}
    add = lambda a, b: {name: (a[name] + b[name]).astype(np.float32) for name in a}  # noqa: E731
    sft = add(base, change)
    named = {
        "base": base,
        "sft": sft,
        "rl": add(sft, with_cosine(change, -0.3, 2)),
        "target": add(base, with_cosine(change, 0.5, 3)),
    }
    for name, tensors in named.items():
        write_model(folder / name, tensors)
    return folder


def test_the_cosine_put_in_comes_out_at_every_level(models):
    found = probe(models / "base", models / "sft", models / "rl", target_sft=models / "target")
    pairs = found.pairs()
    assert set(pairs) == {"sft_rl", "target_rl", "sft_target"}
    for row in (found.whole(), *found.rows.values(), *found.group(layer_of).values(), *found.group(kind_of).values()):
        assert probing.cosine(row, pairs["sft_rl"]).cosine == pytest.approx(-0.3, abs=1e-4)
        assert probing.cosine(row, pairs["sft_target"]).cosine == pytest.approx(0.5, abs=1e-4)
    whole = probing.cosine(found.whole(), pairs["sft_rl"])
    total = sum(value.size for value in read_model(models / "base").values())
    assert whole.n == total and whole.z == pytest.approx(-0.3 * math.sqrt(total), rel=0.15) and whole.z_rows < -10
    assert set(found.group(layer_of)) == {"embedding", "0", "1", "2", "final norm"}
    assert {"q_proj", "up_proj", "input_layernorm", "embed_tokens"} <= set(found.group(kind_of))


def test_controls_see_every_entry_and_lie_within_chance(models):
    whole = probe(models / "base", models / "sft", models / "rl").whole()
    total = sum(value.size for value in read_model(models / "base").values())
    for control in (probing.shuffled(whole, (0, 1)), probing.random_direction(whole)):
        assert control.n == total and abs(control.z) < 4
        assert control.chance == pytest.approx(1 / math.sqrt(total), rel=0.3)


def test_an_adapter_as_rl_model_is_probed_by_its_factors(models, tmp_path):
    factors = factors_for([UP])
    adapter = write_adapter(tmp_path / "ad", factors, base=models / "sft")
    found = probe(models / "base", models / "sft", adapter)
    a, b = factors[UP]
    delta = (read_model(models / "sft")[UP].astype(float) - read_model(models / "base")[UP]).reshape(-1)
    change = (8 / 3 * (b.astype(float) @ a)).reshape(-1)
    wanted = delta @ change / np.linalg.norm(delta) / np.linalg.norm(change)
    assert probing.cosine(found.rows[UP], (0, 1)).cosine == pytest.approx(wanted, abs=1e-5)
    assert probing.cosine(found.rows["model.norm.weight"], (0, 1)) is None


def test_the_verdict_says_no_more_than_the_numbers(models):
    found = probe(models / "base", models / "sft", models / "rl", target_sft=models / "target")
    text = probe_report.verdict(found)
    assert (
        "-0.3000" in text
        and "not small" in text
        and "9.00%" in text
        and "+0.5000" in text
        and "not yet about outputs" in text
    )
    found.interference = {"w": Interference(10, 0.1, 0.02, 0.01, 2.0, 0.5, 0.01, 0.03, 0.02, 0.2)}
    assert "real inputs" in probe_report.verdict(found) and "not yet" not in probe_report.verdict(found)


def test_report_has_every_level_and_figures_are_drawn(models, tmp_path):
    found = probe(models / "base", models / "sft", models / "rl", target_sft=models / "target", subspaces=3)
    document = probe_report.to_dict(found)
    assert set(document["layers"]["1"]) == {"sft_rl", "target_rl", "sft_target"}
    assert document["spread"]["sft_rl"]["layers"] == 3 and document["spread"]["sft_rl"]["mean"] == pytest.approx(
        -0.3, abs=1e-4
    )
    assert set(document["subspaces"]) == {"product", "left", "right", "largest_left", "largest_right", "matrices"}
    made = figures(found, tmp_path / "figures")
    assert len(made) == 4 and all(path.read_bytes().startswith(b"\x89PNG") for path in made)
    layers, kinds, values = probe_report.grid(found, "sft_rl")
    assert layers == ["0", "1", "2"] and values.shape == (3, len(kinds)) and values == pytest.approx(-0.3, abs=1e-4)


def test_activations_are_the_real_inputs_of_every_linear_layer(make_tiny, tmp_path, past_json):
    """Layer inputs by hooks, and with them the interference, on a model that really runs."""
    from past_hf.activations import layer_inputs

    base = make_tiny(tmp_path / "base")
    tensors = read_model(base)
    for name, seed in (("sft", 1), ("rl", 2)):
        changed = make_tiny(tmp_path / name)
        (changed / "model.safetensors").unlink()
        write_file(changed / "model.safetensors", moved(tensors, seed, 1e-2))
    seen = {}
    count = layer_inputs(
        tmp_path / "sft",
        ["Velmora bridge", "Who founded it in 1843?"],
        lambda name, inputs, _: seen.update({name: inputs}),
    )
    assert set(seen) == {name for name, value in tensors.items() if value.ndim == 2 and "embed" not in name}
    assert all(inputs.shape == (count, tensors[name].shape[1]) for name, inputs in seen.items())
    first, embeddings = (
        seen["model.layers.0.self_attn.q_proj.weight"],
        read_model(tmp_path / "sft")["model.embed_tokens.weight"],
    )
    assert first.std() == pytest.approx(1, abs=0.2), "what q_proj gets is normalised"
    assert embeddings.shape[1] == first.shape[1]
    (tmp_path / "texts.jsonl").write_text('{"question": "Who founded Velmora?"}\n{"text": "the quick brown fox"}\n')
    document = past_json(
        "probe-orthogonality",
        "--base",
        base,
        "--sft",
        tmp_path / "sft",
        "--rl",
        tmp_path / "rl",
        "--activations",
        tmp_path / "texts.jsonl",
        "--no-figures",
    )
    assert document["interference"]["layers"] == len(seen) and abs(document["interference"]["mean"]) <= 1
    assert "real inputs" in document["verdict"]


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_a_model_too_large_for_float32_is_looked_into_as_it_is_stored(make_tiny, tmp_path, monkeypatch, stored):
    """The layer inputs of a 16-bit model in its own type are those of float32 within what 16 bits can hold."""
    import torch
    from past_hf import activations

    model = make_tiny(tmp_path / "model", dtype=getattr(torch, stored))
    found = {}
    for room in (1e12, 1.0):
        monkeypatch.setattr(activations.environment, "memory", lambda room=room: (room, room))
        assert activations.precision_for(model, False, room) == ("fp32" if room > 1e6 else "stored")
        seen = found.setdefault(room, {})
        keep = lambda name, inputs, _, seen=seen: seen.update({name: inputs})  # noqa: E731
        activations.layer_inputs(model, ["Who founded Velmora in 1843?"], keep)
    assert activations.precision_for(model, True, 1e12) == "stored", "a card computes in the stored type"
    wide, narrow = found.values()
    assert wide.keys() == narrow.keys() and all(inputs.dtype == np.float32 for inputs in narrow.values())
    for name, inputs in wide.items():
        size = np.abs(inputs).max()
        np.testing.assert_allclose(narrow[name], inputs, atol=0.05 * size if stored == "bfloat16" else 1e-7 * size)
    same = all(np.array_equal(wide[name], narrow[name]) for name in wide)
    assert same == (stored == "float32")


def test_divergence_is_zero_to_itself_and_grows_with_the_change(make_tiny, tmp_path):
    from past_hf.checkpoint import HFFormat

    base = make_tiny(tmp_path / "base")
    found = []
    for sigma in (0.0, 0.01, 0.1):
        changed = make_tiny(tmp_path / str(sigma))
        (changed / "model.safetensors").unlink()
        write_file(changed / "model.safetensors", moved(read_model(base), 1, sigma))
        found.append(changed)
    price = HFFormat().divergence(base, ["the quick brown fox jumps over a lazy dog"])
    none, little, much = map(price, found)
    assert none == pytest.approx(0, abs=1e-6) and 0 < little < much
