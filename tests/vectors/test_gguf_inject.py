"""One skill, three ways into llama.cpp: added to the GGUF, added in HF and converted, or a LoRA at run time."""

from __future__ import annotations

import dataclasses
import random
import shutil

import dying
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf_tools import reference_gguf
from past_hf.checkpoint import HFFormat
from past_llamacpp import ggml
from past_llamacpp.convert import convert
from past_llamacpp.engine import Engine
from past_llamacpp.format import GGUFFormat
from safetensors.numpy import load_file, save_file

from pastcli import models
from pastcli.errors import MismatchError
from pastcli.vectors.extract import extract_skill
from pastcli.vectors.files.safetensors import read_header
from pastcli.vectors.inject import inject_skill
from pastcli.vectors.numbers import arithmetic

FORMAT = GGUFFormat()
ALL_TYPES = [
    pytest.param(kind.name, marks=[pytest.mark.slow] if kind.name[:3] in ("IQ2", "IQ3") else [])
    for kind in GGMLQuantizationType
    if ggml.writable(kind)
]
IDS = [86, 301, 5, 77, 120]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def family(request, make_tiny, tmp_path_factory):
    """A base, its Q8_0 and float32 GGUF, and a low-rank and a dense skill taken over the base."""
    folder = tmp_path_factory.mktemp(request.param)
    base = make_tiny(folder / "base", arch=request.param)
    gguf = {kind: reference_gguf(base, folder / f"{kind}.gguf", kind) for kind in ("F32", "Q8_0")}
    models.write_note(base, models.ModelRef("tiny", base, "hf"), gguf["F32"])
    tuned = make_tiny(folder / "tuned", arch=request.param)
    tensors, rng = load_file(tuned / "model.safetensors"), np.random.default_rng(0)
    for name, value in tensors.items():
        if "_proj.weight" in name:  # rank 2, and nothing in embeddings and norms
            change = rng.normal(0, 0.2, (value.shape[0], 2)) @ rng.normal(0, 0.2, (2, value.shape[1]))
            tensors[name] = (value + change).astype(np.float32)
    save_file(tensors, tuned / "model.safetensors", {"format": "pt"})
    dense, low = folder / "dense.safetensors", folder / "low.safetensors"
    extract_skill(base, tuned, dense)
    extract_skill(base, tuned, low, rank=2)
    return {"base": base, "gguf": gguf, "tuned": tuned, "dense": dense, "low": low}


def logits(path, adapters=()):
    engine = Engine(path, threads=1, extra_buffers=False, precise=True)
    engine.set_adapters(adapters)
    engine.prefill(IDS)
    last = np.array(engine.logits())
    engine.close()
    return last


def test_injected_into_the_gguf_is_injected_in_hf_then_converted(family, tmp_path):
    """From the same weights (the Q8_0 file, dequantised) both ways give the same file, bit for bit."""
    quantised, hf = FORMAT.open(family["gguf"]["Q8_0"]), tmp_path / "hf"
    writer = HFFormat().writer(HFFormat().open(family["base"]), hf)
    for name in quantised.specs():
        writer.write(name, 0, quantised.read(name))
    writer.finish()
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), family["gguf"]["Q8_0"])
    made = inject_skill([(family["dense"], 0.7)], family["gguf"]["Q8_0"], tmp_path / "direct.gguf")
    assert 0.9 < made.survival.cosine < 1
    inject_skill([(family["dense"], 0.7)], hf, tmp_path / "injected")
    convert(tmp_path / "injected", tmp_path / "converted.gguf", "auto")
    assert (tmp_path / "direct.gguf").read_bytes() == (tmp_path / "converted.gguf").read_bytes()


@pytest.fixture(scope="module")
def wide(make_tiny, tmp_path_factory):
    """A tiny llama whose rows hold 256 values, so that K-quants fit, as float32 GGUF, and a dense skill for it."""
    folder = tmp_path_factory.mktemp("wide")
    base, tuned = (
        make_tiny(folder / name, hidden_size=256, intermediate_size=512, seed=seed)
        for seed, name in enumerate(("base", "tuned"))
    )
    extract_skill(base, tuned, folder / "dense.safetensors")
    return reference_gguf(base, folder / "f32.gguf"), folder / "dense.safetensors"


@pytest.mark.skipif(not arithmetic.compiled(), reason="built without a C compiler")
@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_through_the_stored_bytes_or_block_by_block_is_the_same(wide, tmp_path, monkeypatch, dtype):
    """The compiled path from stored bytes to stored bytes against reading, adding and writing: every type, bit for bit."""
    source = tmp_path / "source.gguf"
    writer = FORMAT.writer(FORMAT.open(wide[0]), source, dtype=dtype)
    for name in writer.layout.specs():
        writer.copy(name)
    writer.finish()
    fast = inject_skill([(wide[1], 0.5)], source, tmp_path / "fast.gguf")
    monkeypatch.setattr(arithmetic, "_kernels", None)
    plain = inject_skill([(wide[1], 0.5)], source, tmp_path / "plain.gguf")
    assert (tmp_path / "fast.gguf").read_bytes() == (tmp_path / "plain.gguf").read_bytes() != source.read_bytes()
    assert fast.survival.cosine == pytest.approx(plain.survival.cosine, abs=1e-12)
    assert fast.survival.ratio == pytest.approx(plain.survival.ratio, abs=1e-12)
    assert fast.survival.norm == pytest.approx(plain.survival.norm, rel=1e-12)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "broken, told", [(np.nan, "the skill holds NaN"), (np.float32(1e38), "overflows the stored type")]
)
def test_a_skill_that_cannot_be_stored_is_refused_by_name(wide, tmp_path, monkeypatch, broken, told, compiled):
    """Quantisers end the process on NaN, so it must not reach them, whichever way it goes."""
    if compiled and arithmetic._kernels is None:
        pytest.skip("the compiled loops are not built here")
    if not compiled:
        monkeypatch.setattr(arithmetic, "_kernels", None)
    skill, name = tmp_path / "skill.safetensors", "model.layers.1.mlp.up_proj.weight"
    shutil.copy(wide[1], skill)
    entry = read_header(skill)[0][name]
    with open(skill, "r+b") as file:
        file.seek(entry.offset + 4 * 777)
        file.write(np.float32(broken).tobytes())
    with pytest.raises(MismatchError) as caught:
        inject_skill([(skill, 1.0)], wide[0], tmp_path / "out.gguf", dtype="f16")
    assert name in caught.value.message and (not compiled or told in caught.value.message)
    assert [path.name for path in tmp_path.iterdir()] == ["skill.safetensors"]


def test_injected_converted_or_at_run_time_gives_the_same_logits(family, tmp_path):
    base = logits(family["gguf"]["F32"])
    inject_skill([(family["low"], 1.0)], family["gguf"]["F32"], tmp_path / "gguf.gguf")
    inject_skill([(family["low"], 1.0)], family["base"], tmp_path / "hf.gguf", template=family["gguf"]["F32"])
    FORMAT.export_lora(family["low"], family["gguf"]["F32"], tmp_path / "lora.gguf")
    wanted = logits(tmp_path / "gguf.gguf")
    assert np.abs(wanted - base).max() > 0.05
    np.testing.assert_allclose(logits(tmp_path / "hf.gguf"), wanted, atol=1e-6)
    np.testing.assert_allclose(logits(family["gguf"]["F32"], [(tmp_path / "lora.gguf", 1.0)]), wanted, atol=2e-5)
    inject_skill([(family["low"], -0.5)], family["gguf"]["F32"], tmp_path / "half.gguf")
    halved = logits(family["gguf"]["F32"], [(tmp_path / "lora.gguf", -0.5)])
    np.testing.assert_allclose(halved, logits(tmp_path / "half.gguf"), atol=2e-5)


def test_tensors_without_a_change_keep_the_targets_values(family, make_tiny, tmp_path):
    """A target other than the template: nothing of the template's weights may leak into the result."""
    target = tmp_path / "target"
    base = load_file(family["base"] / "model.safetensors")
    tensors = {name: value + np.float32(0.01) for name, value in base.items()}
    make_tiny(target, arch=HFFormat().open(family["base"]).config["model_type"])
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    inject_skill([(family["low"], 1.0)], target, tmp_path / "out.gguf", template=family["gguf"]["F32"])
    made = FORMAT.open(tmp_path / "out.gguf")
    for name in ("model.embed_tokens.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight"):
        np.testing.assert_array_equal(made.read(name), tensors[name].reshape(-1))


def test_a_coarse_type_is_raised_where_the_skill_needs_it(family, tmp_path):
    small = {"options": [(family["dense"], 0.001)], "target": family["gguf"]["Q8_0"]}
    lost = inject_skill(small["options"], small["target"], tmp_path / "coarse.gguf")
    kept = inject_skill(small["options"], small["target"], tmp_path / "fine.gguf", raise_types="f32")
    assert lost.survival.cosine < 0.9 and lost.warnings
    assert kept.survival.cosine > 0.999 and not kept.warnings
    specs = FORMAT.open(tmp_path / "fine.gguf").specs()
    assert specs["model.embed_tokens.weight"].dtype == "Q8_0", "only tensors that change are raised"
    assert specs["model.layers.0.mlp.up_proj.weight"].dtype == "F32"


def test_a_dense_skill_cannot_become_lora(family, tmp_path):
    with pytest.raises(MismatchError, match="dense difference") as caught:
        FORMAT.export_lora(family["dense"], family["gguf"]["F32"], tmp_path / "lora.gguf")
    assert "--rank" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_skill_of_another_model_is_refused(family, make_tiny, tmp_path):
    other = make_tiny(tmp_path / "other", arch=HFFormat().open(family["base"]).config["model_type"], seed=5)
    gguf = reference_gguf(other, tmp_path / "other.gguf")
    for act in (
        lambda: FORMAT.export_lora(family["low"], gguf, tmp_path / "x.gguf"),
        lambda: inject_skill([(family["low"], 1.0)], gguf, tmp_path / "x.gguf"),
    ):
        with pytest.raises(MismatchError, match="another base"):
            act()
    assert not (tmp_path / "x.gguf").exists()


def test_identities_agree_across_formats(family):
    hf, gguf = HFFormat().open(family["base"]).identity(), FORMAT.open(family["gguf"]["Q8_0"]).identity()
    assert dataclasses.asdict(hf) == dataclasses.asdict(gguf)


def test_kill_9_at_any_point_leaves_the_whole_file_or_none(make_tiny, tmp_path):
    base = make_tiny(tmp_path / "base", hidden_size=256, intermediate_size=1024, num_hidden_layers=6)
    tuned = make_tiny(tmp_path / "tuned", hidden_size=256, intermediate_size=1024, num_hidden_layers=6, seed=1)
    extract_skill(base, tuned, tmp_path / "skill")
    target = reference_gguf(base, tmp_path / "base.gguf", "Q8_0")
    inject_skill([(tmp_path / "skill", 1.0)], target, tmp_path / "whole.gguf")
    before, whole = target.read_bytes(), (tmp_path / "whole.gguf").read_bytes()
    code = (
        "import sys; from pathlib import Path; from pastcli.vectors.inject import inject_skill\n"
        "skill, target, out = map(Path, sys.argv[1:]); begin(); inject_skill([(skill, 1.0)], target, out)"
    )
    words, rng, midway = (tmp_path / "skill", target), random.Random(0), 0
    steps = dying.steps_of(code, *words, tmp_path / "counted.gguf")
    points = [(step, 0.0) for step in range(1, steps + 1)] + [
        (rng.randint(1, steps), rng.uniform(0, 0.05)) for _ in range(4)
    ]
    for number, (step, after) in enumerate(points):
        out = tmp_path / f"out{number}.gguf"
        assert dying.cut_short(code, *words, out, at=step, after=after) or after
        if out.exists():
            assert out.read_bytes() == whole
        else:
            midway += any(tmp_path.glob(f".out{number}.gguf*"))
    assert midway >= 2, "no kill came in the middle of the work: the test has lost its point"
    assert target.read_bytes() == before
