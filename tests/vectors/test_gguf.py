"""GGUF files: read right, written to the byte, refused when broken."""

from __future__ import annotations

import struct
from pathlib import Path

import architectures
import gguf_reference
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from gguf_tools import permute, reference_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from past_hf.checkpoint import HFFormat
from past_llamacpp import ggml
from past_llamacpp.convert import convert
from past_llamacpp.format import GGUFFormat
from past_llamacpp.gguffile import STRING, UINT32, read_header
from past_llamacpp.gguflayout import pack_metadata, write_layout

from pastcli import models
from pastcli.errors import MismatchError, PastError, UsageError
from pastcli.vectors import extract_skill, open_skill

FORMAT = GGUFFormat()
ALL_TYPES = [
    pytest.param(kind.name, marks=[pytest.mark.slow] if kind.name[:3] in ("IQ2", "IQ3") else [])
    for kind in GGMLQuantizationType
    if ggml.writable(kind)
]
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def pair(request, make_tiny, tmp_path_factory):
    """(HF directory, float32 GGUF of it made without our code)."""
    folder = tmp_path_factory.mktemp(request.param)
    hf = make_tiny(folder / "hf", arch=request.param, tied=False, vocab_size=330)
    return hf, reference_gguf(hf, folder / "reference.gguf", rope_factors=request.param == "llama")


@pytest.fixture(scope="module")
def wide(make_tiny, tmp_path_factory):
    """A tiny llama whose rows hold 256 values, so that K-quants fit, with its GGUF."""
    folder = tmp_path_factory.mktemp("wide")
    hf = make_tiny(folder / "hf", hidden_size=256, intermediate_size=512)
    return hf, reference_gguf(hf, folder / "reference.gguf")


# ---------------------------------------------------------------- reading


def test_every_tensor_reads_as_in_hf(pair):
    hf, gguf = HFFormat().open(pair[0]), FORMAT.open(pair[1])
    assert {n: s.shape for n, s in gguf.specs().items()} == {n: s.shape for n, s in hf.specs().items()}
    for name in hf.specs():
        np.testing.assert_array_equal(gguf.read(name), hf.read(name), err_msg=name)


def test_identity_is_that_of_the_hf_directory(pair):
    assert FORMAT.open(pair[1]).identity() == HFFormat().open(pair[0]).identity()


@pytest.mark.parametrize("quant", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_1"])
def test_dequantised_values_are_those_of_the_gguf_package(make_tiny, tmp_path, quant):
    hf = make_tiny(tmp_path / "hf")
    ours = FORMAT.open(reference_gguf(hf, tmp_path / "q.gguf", quant))
    kind = GGMLQuantizationType[quant]
    weights = HFFormat().open(hf).read(Q).reshape(32, 32)
    stored = quants.dequantize(quants.quantize(permute(weights, 4), kind), kind)
    back = stored.reshape(4, 4, 2, 32).swapaxes(1, 2).reshape(32, 32)
    np.testing.assert_array_equal(ours.read(Q).reshape(32, 32), back)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_block_is_a_part_of_the_whole(wide_q8, data):
    """Blocks begin and end at rows or, inside one row, at multiples of 256."""
    name = data.draw(st.sampled_from([Q, "model.layers.1.mlp.down_proj.weight", "model.embed_tokens.weight"]))
    whole, columns = wide_q8.read(name), wide_q8.specs()[name].columns
    edge = st.integers(0, whole.size // columns).map(lambda row: row * columns)
    start, stop = sorted((data.draw(edge), data.draw(edge)))
    if columns > 256 and data.draw(st.booleans()) and stop < whole.size:
        start, stop = stop + 256, stop + columns
    np.testing.assert_array_equal(wide_q8.read(name, start, stop), whole[start:stop])


@pytest.fixture(scope="module")
def wide_q8(wide, tmp_path_factory):
    out = tmp_path_factory.mktemp("q8") / "q8.gguf"
    convert_with(wide, out, "q8_0")
    return FORMAT.open(out)


def convert_with(pair, out, dtype):
    """The HF side of `pair` as GGUF with the other side as template."""
    models.write_note(pair[0], models.ModelRef("tiny", pair[0], "hf"), pair[1])
    convert(pair[0], out, dtype)


# ---------------------------------------------------------------- writing


def test_rewriting_every_tensor_gives_the_template_to_the_byte(pair, tmp_path):
    source = FORMAT.open(pair[1])
    writer = FORMAT.writer(source, tmp_path / "again.gguf")
    for index, (name, spec) in enumerate(source.specs().items()):
        if index % 3 == 0:
            writer.copy(name)
        else:  # in two blocks, the later one first
            half = spec.numel // spec.columns // 2 * spec.columns
            for start, stop in ((half, spec.numel), (0, half)):
                stored = writer.write(name, start, source.read(name, start, stop))
                np.testing.assert_array_equal(stored, source.read(name, start, stop))
    writer.finish()
    assert (tmp_path / "again.gguf").read_bytes() == pair[1].read_bytes()


@pytest.mark.parametrize("dtype", ALL_TYPES)
def test_every_type_reads_back_what_write_returned(tmp_path, dtype):
    shapes = {"token_embd.weight": (16, 256), "blk.0.attn_q.weight": (16, 256), "output_norm.weight": (256,)}
    table = [(name, shape, 0) for name, shape in shapes.items()]
    source, rng = FORMAT.open(small_file(tmp_path / "small.gguf", tensors=table)), np.random.default_rng(0)
    values = {name: rng.normal(0, 0.02, spec.numel).astype(np.float32) for name, spec in source.specs().items()}
    writer = FORMAT.writer(source, tmp_path / "out.gguf", dtype=dtype.lower())
    stored = {name: writer.write(name, 0, value) for name, value in values.items()}
    writer.finish()
    made = FORMAT.open(tmp_path / "out.gguf")
    for name, spec in made.specs().items():
        assert spec.dtype == (dtype if len(spec.shape) > 1 else "F32"), "vectors stay float32, as llama.cpp has it"
        np.testing.assert_array_equal(made.read(name), stored[name])
        assert np.corrcoef(stored[name], values[name])[0, 1] > 0.6
        np.testing.assert_array_equal(FORMAT.cast(values[name], spec.dtype, spec.columns), stored[name])


def test_16_bit_floats_round_to_nearest_even():
    import torch

    bits = np.arange(0, 2**32, 65521, dtype=np.uint32)
    value = bits.view(np.float32)
    value = np.concatenate([value[np.isfinite(value)], np.float32([1e-40, -1e-45, 65519.0, 6e-8, 2.0**-25])])
    rounded = torch.from_numpy(value).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(FORMAT.cast(value, "bf16", value.size), rounded)
    value = value[np.abs(value) < 65520]
    rounded = torch.from_numpy(value).to(torch.float16).float().numpy()
    np.testing.assert_array_equal(FORMAT.cast(value, "f16", value.size), rounded)


def test_one_tensor_can_be_given_a_finer_type(wide, tmp_path):
    convert_with(wide, tmp_path / "q4.gguf", "q4_k")
    source = FORMAT.open(tmp_path / "q4.gguf")
    writer = FORMAT.writer(source, tmp_path / "out.gguf", types={Q: "q8_0"})
    for name in source.specs():
        writer.copy(name)
    writer.finish()
    made = FORMAT.open(tmp_path / "out.gguf")
    assert made.specs()[Q].dtype == "Q8_0"
    assert {spec.dtype for name, spec in made.specs().items() if name != Q} == {"Q4_K", "F32"}
    assert np.corrcoef(made.read(Q), source.read(Q))[0, 1] > 0.9999
    assert made.header.raw_metadata == source.header.raw_metadata


def test_a_common_type_is_told_in_the_metadata(wide, tmp_path):
    convert_with(wide, tmp_path / "out.gguf", "q8_0")
    before, after = read_header(wide[1]).metadata, read_header(tmp_path / "out.gguf").metadata
    assert after["general.file_type"] == 7
    assert {**before, "general.file_type": 7} == dict(after)


def test_what_hf_lacks_is_carried_over(pair, tmp_path):
    source = FORMAT.open(pair[1])
    if "rope_freqs.weight" not in source.header.tensors:
        pytest.skip("only in the llama template")
    convert_with(pair, tmp_path / "out.gguf", "f16")
    header = read_header(tmp_path / "out.gguf")
    tensor = header.tensors["rope_freqs.weight"]
    data = (tmp_path / "out.gguf").read_bytes()[tensor.offset : tensor.offset + tensor.nbytes]
    assert data == np.ones(4, np.float32).tobytes()


def test_conversion_takes_weights_from_hf_and_nothing_but_metadata_from_the_template(make_tiny, pair, tmp_path):
    arch = read_header(pair[1]).architecture
    other = make_tiny(tmp_path / "other", seed=1, arch=arch, tied=False, vocab_size=330, shard="40KB")
    assert len(list(other.glob("*.safetensors"))) > 1, "sharded, to be sure"
    convert_with((other, pair[1]), tmp_path / "out.gguf", "auto")
    made, wanted = FORMAT.open(tmp_path / "out.gguf"), HFFormat().open(other)
    for name in wanted.specs():
        np.testing.assert_array_equal(made.read(name), wanted.read(name), err_msg=name)
    assert made.header.raw_metadata == read_header(pair[1]).raw_metadata


@pytest.mark.parametrize(
    "options, error",
    [
        ({"rounding": "stochastic"}, UsageError),
        ({"dtype": "q9_9"}, UsageError),
        ({"dtype": "iq2_xxs"}, UsageError),
        ({"dtype": "q4_k"}, MismatchError),
        ({"types": {"no.such": "f16"}}, UsageError),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_file_is_made(pair, tmp_path, options, error):
    with pytest.raises(error):
        FORMAT.writer(FORMAT.open(pair[1]), tmp_path / "out.gguf", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_whole_or_not_there(pair, tmp_path):
    source, out = FORMAT.open(pair[1]), tmp_path / "out.gguf"
    writer = FORMAT.writer(source, out)
    writer.copy(Q)
    with pytest.raises(PastError, match="would lack"):
        writer.finish()
    assert not out.exists()
    writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype, value", [("f32", np.nan), ("q8_0", np.inf), ("q4_0", np.nan), ("f16", 1e6)])
def test_values_that_cannot_be_stored_are_refused_by_name(pair, tmp_path, dtype, value):
    writer = FORMAT.writer(FORMAT.open(pair[1]), tmp_path / "out.gguf", dtype=dtype)
    with pytest.raises(MismatchError, match=Q):
        writer.write(Q, 0, np.full(64, value, np.float32))
    writer.close()


def test_a_template_of_another_model_is_refused_by_tensor(make_tiny, wide, tmp_path):
    hf = make_tiny(tmp_path / "hf")
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), wide[1])
    with pytest.raises(MismatchError, match="differ in the tensor model.embed_tokens.weight"):
        convert(hf, tmp_path / "out.gguf", "f16")


def test_without_a_template_the_hint_says_where_one_comes_from(make_tiny, tmp_path):
    with pytest.raises(MismatchError) as caught:
        convert(make_tiny(tmp_path / "hf"), tmp_path / "out.gguf", "f16")
    assert "gguf_template" in caught.value.hint


# ---------------------------------------------------------------- hostile files


SMALL = (("token_embd.weight", (4, 32), 8), ("output_norm.weight", (32,), 0))


def small_file(path: Path, architecture: str = "llama", tensors=SMALL) -> Path:
    """A GGUF of about a kilobyte, by our own writer."""
    pairs = {
        "general.architecture": (STRING, architecture),
        f"{architecture}.block_count": (UINT32, 1),
        f"{architecture}.attention.head_count": (UINT32, 2),
        "general.name": (STRING, "small"),
    }
    with open(path, "w+b") as file:
        write_layout(file.fileno(), pack_metadata(pairs), len(pairs), tensors, 32)
    return path


def read_all(path: Path) -> None:
    checkpoint = FORMAT.open(path)
    try:
        checkpoint.identity()
        for name in checkpoint.specs():
            checkpoint.read(name)
    finally:
        checkpoint.close()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    data = small_file(tmp_path / "small.gguf").read_bytes()
    read_all(tmp_path / "small.gguf")
    for length in range(len(data) - 1, -1, -1):
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        if length >= len(data) - 32:  # only padding is missing at the very end
            continue
        with pytest.raises(MismatchError):
            read_all(tmp_path / "cut.gguf")


def test_a_truncated_file_names_its_tensor(wide, tmp_path):
    data = wide[1].read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MismatchError, match=r"truncated: the tensor (blk\.\d|output|token)"):
        FORMAT.open(tmp_path / "cut.gguf")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 420), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_a_damaged_header_is_read_or_refused_and_nothing_else(tmp_path, changes, number):
    data = bytearray(small_file(tmp_path / "small.gguf").read_bytes())
    for place, value in changes:
        if number:
            data[place : place + 8] = struct.pack("<Q", [0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1][value % 7])
        else:
            data[place] = value
    (tmp_path / "damaged.gguf").write_bytes(data)
    try:
        read_all(tmp_path / "damaged.gguf")
    except MismatchError as refused:
        assert "damaged.gguf" in refused.message


@pytest.mark.parametrize(
    "data", [b"", b"GGUF", b"GGUF\x03\0\0\0", b"not a model at all", b"GGUF" + b"\xff" * 60, b"GGUF" + bytes(60)]
)
def test_garbage_is_no_gguf(tmp_path, data):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(MismatchError):
        FORMAT.open(tmp_path / "x.gguf")


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(MismatchError, match="'mamba'") as caught:
        FORMAT.open(small_file(tmp_path / "m.gguf", "mamba"))
    assert "llama" in caught.value.hint and "qwen2" in caught.value.hint


def test_a_tensor_without_an_hf_name_is_refused_by_name(tmp_path):
    with pytest.raises(MismatchError, match="blk.0.ffn_gate_exps.weight"):
        FORMAT.open(small_file(tmp_path / "moe.gguf", tensors=[("blk.0.ffn_gate_exps.weight", (2, 4, 32), 0)]))


def test_overlapping_and_misplaced_tensors_are_refused(tmp_path):
    data = bytearray(small_file(tmp_path / "small.gguf").read_bytes())
    at = data.find(b"output_norm.weight") + len("output_norm.weight") + 4 + 8 + 4
    for offset, problem in ((0, "overlap"), (8, "not aligned")):
        data[at : at + 8] = struct.pack("<Q", offset)
        (tmp_path / "x.gguf").write_bytes(data)
        with pytest.raises(MismatchError, match=problem):
            FORMAT.open(tmp_path / "x.gguf")


@pytest.mark.parametrize("name", ["Gemma 2", "GPT-2", "Llama 3"])
def test_a_skill_out_of_a_gguf_is_that_out_of_the_directory(tmp_path, tiny_tokenizer, name):
    """Bytes of a GGUF are no weights yet: norms are stored with 1 added, matrices transposed, rows of heads permuted."""
    sft, rl = (architectures.make(name, tmp_path / f"m{seed}", tiny_tokenizer, seed) for seed in (1, 2))
    for seed, hf in ((1, sft), (2, rl)):
        gguf_reference.reference(name, hf, tmp_path / f"{seed}.gguf")
    extract_skill(sft, rl, tmp_path / "skill")
    wanted = open_skill(tmp_path / "skill")
    for before, after in ((sft, "2.gguf"), ("1.gguf", rl), ("1.gguf", "2.gguf")):
        extract_skill(tmp_path / before, tmp_path / after, tmp_path / "again")
        found = open_skill(tmp_path / "again")
        assert found.parts.keys() == wanted.parts.keys()
        for tensor in wanted.parts:
            np.testing.assert_allclose(found.block(tensor), wanted.block(tensor), atol=2e-6, err_msg=tensor)
        (tmp_path / "again").unlink()
