"""The readers believe nothing: every lie of a header, index or directory is an error that names it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from past_hf.adapter import LoraFormat
from past_hf.checkpoint import HFFormat
from vectors_tools import factors_for, moved, weights, write_adapter, write_file, write_model

from pastcli.errors import MismatchError, PastError
from pastcli.vectors import extract_skill, inject_skill
from pastcli.vectors.files.safetensors import SafeReader, SafeWriter, header_text, read_header
from pastcli.vectors.numbers import arithmetic
from pastcli.vectors.numbers.arithmetic import STORAGE, widen


def raw_file(path, table, data=b"", length=None):
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def entry(shape=(2,), dtype="F32", offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


LIES = {
    "shape and size disagree": ({"w": entry(shape=(3,))}, b"\0" * 8, "'w' claims 8 bytes, but F32 [3] takes 12"),
    "data missing": ({"w": entry()}, b"\0" * 4, "truncated: tensor 'w'"),
    "data left over": ({"w": entry()}, b"\0" * 9, "1 bytes after its last tensor"),
    "overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12, "overlaps"),
    "hole": ({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20, "leaves a hole"),
    "negative": ({"w": entry(shape=(-2,), offsets=(0, -8))}, b"", "impossible shape"),
    "backwards": ({"w": entry(offsets=(8, 0))}, b"\0" * 8, "claims -8 bytes"),
    "boolean size": ({"w": entry(shape=(True,), offsets=(0, 4))}, b"\0" * 4, "impossible shape"),
    "float offset": ({"w": entry(offsets=(0.0, 8))}, b"\0" * 8, "impossible offsets"),
    "three offsets": ({"w": entry(offsets=(0, 8, 9))}, b"\0" * 8, "impossible offsets"),
    "unknown type": ({"w": entry(dtype="F128")}, b"\0" * 8, "unknown type"),
    "type no text": ({"w": entry(dtype=[1])}, b"\0" * 8, "unknown type"),
    "extra key": ({"w": {**entry(), "x": 1}}, b"\0" * 8, "malformed"),
    "entry no object": ({"w": 3}, b"", "malformed"),
    "not an object": (b"[1]", b"", "not a JSON object"),
    "not JSON": (b"{", b"", "corrupt"),
    "not text": (b"\xff\xfe", b"", "corrupt"),
    "twice the same name": (b'{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":1}', b"", "occurs twice"),
    "metadata no strings": ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    "deep nesting": (b"[" * 100_000, b"", "corrupt"),
    "huge sizes": ({"w": entry(shape=(2**62, 2**62), offsets=(0, 8))}, b"\0" * 8, "claims 8 bytes"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused_with_the_tensor_named(tmp_path, lie):
    table, data, message = LIES[lie]
    with pytest.raises(MismatchError) as caught:
        read_header(raw_file(tmp_path / "f", table, data))
    assert message in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 2**40, 2**64 - 1])
def test_a_header_length_beyond_the_file_is_refused_before_memory_is_taken(tmp_path, length):
    with pytest.raises(MismatchError):
        read_header(raw_file(tmp_path / "f", b'{"a', b"", length))


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_do_anything_but_raise(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random"
    for content in (data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(content)
        try:
            read_header(path)
        except MismatchError:
            pass


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_either_refused_or_still_tiled_exactly(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.unlink(missing_ok=True)
    write_file(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(5, np.float32)}, "F16")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        entries, _ = read_header(path)
    except MismatchError:
        return
    assert all(e.offset + e.nbytes <= path.stat().st_size for e in entries.values())


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda t: t != "__metadata__"),
        st.tuples(st.sampled_from(["F32", "BF16", "F16"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_back_and_by_the_reference_library_too(tmp_path_factory, layout):
    from safetensors import safe_open

    path = tmp_path_factory.getbasetemp() / "written"
    path.unlink(missing_ok=True)
    layout = {name: (dtype, tuple(shape)) for name, (dtype, shape) in layout.items()}
    writer = SafeWriter(path, len(header_text(layout, {"format": "pt"})))
    for name, (dtype, shape) in layout.items():
        writer.add(name, dtype, shape)
    writer.reserve()
    writer.finish({"format": "pt"})
    entries, metadata = read_header(path)
    assert metadata == {"format": "pt"} and {n: (e.dtype, e.shape) for n, e in entries.items()} == layout
    with safe_open(path, "np") as reference:
        assert set(reference.keys()) == set(layout)


def test_a_file_is_no_safetensors_file_before_it_is_finished(tmp_path):
    writer = SafeWriter(tmp_path / "f", 200)
    writer.add("w", "F32", (4,))
    writer.write("w", 0, np.ones(4, np.float32))
    with pytest.raises(MismatchError):
        read_header(tmp_path / "f")
    writer.finish({})
    assert SafeReader(tmp_path / "f").read("w", np.dtype("<f4")).tolist() == [1.0] * 4


def test_an_index_that_names_a_missing_shard_or_tensor_is_refused(tmp_path):
    model = write_model(tmp_path / "m", weights(), shards=3)
    index = model / "model.safetensors.index.json"
    shard = model / "model-00002-of-00003.safetensors"
    shard.rename(tmp_path / "aside")
    with pytest.raises(MismatchError, match="missing shard: model-00002"):
        HFFormat().open(model)
    (tmp_path / "aside").rename(shard)
    table = json.loads(index.read_text())
    table["weight_map"]["model.extra.weight"] = shard.name
    index.write_text(json.dumps(table))
    with pytest.raises(MismatchError, match="'model.extra.weight'"):
        HFFormat().open(model)
    table["weight_map"] = {"w": "../../etc/passwd"}
    index.write_text(json.dumps(table))
    with pytest.raises(MismatchError, match="outside its directory"):
        HFFormat().open(model)


def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(PastError, match="pickle") as caught:
        HFFormat().open(tmp_path)
    assert "save_pretrained" in caught.value.hint


def test_symlinks_are_followed_and_loops_refused(tmp_path):
    model = write_model(tmp_path / "m", weights())
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in model.iterdir():
        os.symlink(file, linked / file.name)
    assert set(HFFormat().open(linked).specs()) == set(weights())
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "config.json").write_text("{}")
    os.symlink(loop / "model.safetensors", loop / "model.safetensors")
    with pytest.raises(MismatchError):
        HFFormat().open(loop)


def test_a_stored_copy_of_the_tied_embedding_is_one_tensor(tmp_path):
    tensors = weights()
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    opened = HFFormat().open(write_model(tmp_path / "m", tensors))
    assert opened.tied and "lm_head.weight" not in opened.specs()
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + np.float32(1)
    assert not HFFormat().open(write_model(tmp_path / "n", tensors)).tied


def test_lora_scales_are_those_of_peft(tmp_path):
    names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    factors = factors_for(names, rank=4)
    plain = LoraFormat().open(write_adapter(tmp_path / "a", factors, alpha=6.0))
    assert plain.factors(names[0]).scale == 6.0 / 4
    stabilised = LoraFormat().open(write_adapter(tmp_path / "b", factors, alpha=6.0, rslora=True))
    assert stabilised.factors(names[0]).scale == 6.0 / 2
    patterned = LoraFormat().open(write_adapter(tmp_path / "c", factors, alpha=6.0, alpha_pattern={"q_proj": 2.0}))
    assert [patterned.factors(name).scale for name in names] == [0.5, 1.5]
    a, b = factors[names[1]]
    assert np.array_equal(plain.factors(names[1]).a, a) and np.array_equal(plain.factors(names[1]).b, b)
    assert np.allclose(plain.read(names[1]).reshape(32, 16), 1.5 * (b @ a), atol=1e-5)


@pytest.mark.parametrize(
    "config, word",
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "later"}, "not known here .init_lora_weights='later'"),
        ({"use_later": True}, "not known here .use_later=True"),
        ({"later_config": {"blocks": 4}}, "later_config"),
        ({"r": 7}, "rank"),
    ],
)
def test_adapters_that_are_not_plain_lora_are_refused_by_name(tmp_path, config, word):
    factors = factors_for(["model.layers.0.mlp.up_proj.weight"])
    with pytest.raises(MismatchError, match=word):
        LoraFormat().open(write_adapter(tmp_path / "a", factors, **config))


def test_what_a_later_peft_sets_is_refused_unless_it_is_what_peft_has_by_itself(
    workspace, past, tiny_model, make_tiny, monkeypatch
):
    """PEFT writes every setting that it has: those that a later one is new in, too, and what is off there changes nothing."""
    from peft import LoraConfig

    a, b = (np.full(shape, 0.1, np.float32) for shape in ((2, 32), (64, 2)))
    factors = {"model.layers.0.mlp.up_proj.weight": (a, b)}
    off = {"use_later": False, "later_config": None, "later_size": 16, "later_name": "x", "later_layers": []}
    write_adapter(workspace / "off", factors, base=tiny_model, **off)
    on = write_adapter(workspace / "on", factors, base=tiny_model, use_later=True)
    words = ("extract", "--sft", tiny_model, "--rl")
    past(*words, "off", "-o", "off.safetensors")
    told = past(*words, "on", "-o", "on.safetensors", code=3).stderr
    assert "has a setting that is not known here (use_later=True): not a plain LoRA" in told
    known = LoraConfig.to_dict
    monkeypatch.setattr(LoraConfig, "to_dict", lambda self: known(self) | {"use_later": True})
    assert LoraFormat().open(on).specs()


def test_adapter_with_a_missing_factor_or_nan_is_refused(tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    a, b = factors_for([name])[name]
    folder = write_adapter(tmp_path / "a", {name: (a, b)})
    (folder / "adapter_model.safetensors").unlink()
    write_file(folder / "adapter_model.safetensors", {"base_model.model.x.lora_A.weight": a})
    with pytest.raises(MismatchError, match="factor A only"):
        LoraFormat().open(folder)
    b[0, 0] = np.nan
    broken = LoraFormat().open(write_adapter(tmp_path / "b", {name: (a, b)}))
    with pytest.raises(MismatchError, match="lora_B"):
        broken.factors(name)


def test_reading_a_part_gives_that_part_in_every_type(tmp_path):
    tensors = moved(weights(), 1, 0.1)
    for dtype in ("F32", "BF16", "F16"):
        opened = HFFormat().open(write_model(tmp_path / dtype, tensors, dtype, shards=2))
        name = "model.layers.1.mlp.up_proj.weight"
        whole = opened.read(name)
        assert np.array_equal(whole[32:80], opened.read(name, 32, 80)) and whole.dtype == np.float32
        assert np.allclose(whole.reshape(32, 16), tensors[name], atol=1e-2)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_mapped_part_is_that_part_and_stays_so_after_it_was_let_go_of(tmp_path_factory, data):
    rows = data.draw(st.integers(1, 400))
    value = np.random.default_rng(rows).standard_normal((rows, 64)).astype(np.float32)
    dtype = data.draw(st.sampled_from(["F32", "BF16"]))
    path = write_file(tmp_path_factory.mktemp("view") / "x.safetensors", {"a": value, "b": -value}, dtype)
    reader, kind = SafeReader(path), STORAGE[dtype]
    parts = []
    for _ in range(4):
        name = data.draw(st.sampled_from("ab"))
        start, stop = sorted(data.draw(st.tuples(st.integers(0, value.size), st.integers(0, value.size))))
        parts.append((reader.view(name, kind, start, stop), reader.read(name, kind, start, stop)))
    reader.close()
    for mapped, copied in parts:
        assert np.array_equal(mapped, copied) and not mapped.flags.writeable


def test_a_tensor_at_an_odd_offset_can_be_viewed_too(tmp_path):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    header += b" " * (1 - len(header) % 2)
    values = np.arange(4, dtype=np.uint16)
    (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    reader = SafeReader(tmp_path / "odd.safetensors")
    assert reader.entries["a"].offset % 2 == 1
    assert np.array_equal(reader.view("a", STORAGE["BF16"], 1, 4), values[1:])


def test_what_the_probe_is_given_is_what_read_gives(tmp_path):
    tensors = weights()
    for dtype in ("F32", "BF16", "F16"):
        opened = HFFormat().open(write_model(tmp_path / dtype, tensors, dtype))
        for name, spec in opened.specs().items():
            found = opened.bits(name, spec.columns, spec.numel)
            found = widen(found, "BF16") if found.dtype == np.uint16 else found
            assert np.array_equal(found, opened.read(name, spec.columns, spec.numel))
            assert opened.bits(name).size == spec.numel


def test_what_is_viewed_does_not_stay_resident(tmp_path):
    """The kernel maps pages around each view along; at the edges of many views they once added up to half the file."""
    (tmp_path / "large").write_bytes(bytes(range(256)) * (1 << 19))  # 128 MiB
    code = (
        "import os, sys; from pastcli.vectors.files.memory_map import Mapped\n"
        "resident = lambda: int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0]) // 1024\n"
        "mapped = Mapped(os.open(sys.argv[1], os.O_RDONLY)); before = most = resident()\n"
        "for offset in range(12345, (128 << 20) - 100_000, 100_000):\n"
        "    assert mapped.view(offset, 100_000)[7] == (offset + 7) % 256\n"
        "    most = max(most, resident())\n"
        "print(most - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "large"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16


@pytest.mark.skipif(not arithmetic.compiled(), reason="built without a C compiler")
@pytest.mark.parametrize("stored", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("dtype", ["auto", "f32", "bf16", "f16"])
def test_injecting_through_the_stored_bytes_or_block_by_block_is_the_same(tmp_path, monkeypatch, stored, dtype):
    """The compiled pass against reading, adding and writing in numpy: every type into every type, file for file."""
    base = weights(layers=3, hidden=48, vocab=1111)
    base["model.norm.weight"][5] = -0.0
    write_model(tmp_path / "sft", base, vocab=1111)
    changed = {**moved(base, 1, 1e-3), "model.norm.weight": base["model.norm.weight"]}
    write_model(tmp_path / "rl", changed, vocab=1111)
    write_model(
        tmp_path / "target",
        moved(base, 2, 1e-3) | {"model.norm.weight": base["model.norm.weight"]},
        stored,
        3,
        vocab=1111,
    )
    extract_skill(tmp_path / "sft", tmp_path / "rl", tmp_path / "skill")
    made = {}
    for way in ("fast", "plain"):
        if way == "plain":
            monkeypatch.setattr(arithmetic, "_kernels", None)
        made[way] = inject_skill([(tmp_path / "skill", 0.5)], tmp_path / "target", tmp_path / way, dtype=dtype)
    files = sorted(file.name for file in (tmp_path / "fast").iterdir())
    assert len([name for name in files if name.endswith(".safetensors")]) == 3
    for name in files:
        assert (tmp_path / "fast" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name
    fast, plain = made["fast"].survival, made["plain"].survival
    assert fast.cosine == pytest.approx(plain.cosine, abs=1e-12) and fast.norm == pytest.approx(plain.norm, rel=1e-12)
    assert fast.tensors.keys() == plain.tensors.keys() == base.keys() - {"model.norm.weight"}
