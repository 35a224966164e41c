"""Checkpoints as people have them: inner names, buffers, other people's quantisations, split and lying GGUFs."""

from __future__ import annotations

import json
import shutil
import struct

import gguf
import numpy as np
import pytest
from gguf_tools import reference_gguf
from past_hf.checkpoint import HFFormat
from past_llamacpp.format import GGUFFormat
from safetensors.numpy import load_file, save_file
from vectors_tools import write_adapter

from pastcli.hashing import hash_path

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"


def one_layer_skill(past, base, workspace, name=Q, shape=(32, 32)):
    rng = np.random.default_rng(0)
    pair = tuple(rng.standard_normal(s).astype(np.float32) for s in ((2, shape[1]), (shape[0], 2)))
    write_adapter(workspace / "rl", {name: pair}, base=base, alpha=2.0)
    past("extract", "--sft", base, "--rl", "rl", "-o", "v.safetensors")
    return workspace / "v.safetensors"


def with_extra(folder, **tensors):
    """The model's file once more, with more tensors in it."""
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def test_integer_and_bool_buffers_are_carried_and_no_obstacle(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    buffers = {"model.position_ids": np.arange(9, dtype=np.int64), "model.mask": np.array([True, False])}
    with_extra(base, **buffers)
    vector = one_layer_skill(past, base, workspace)
    past("inject", "--vector", vector, "--target", base, "--dtype", "f16", "-o", "made")
    made = load_file("made/model.safetensors")
    for name, value in buffers.items():
        np.testing.assert_array_equal(made[name], value)
        assert made[name].dtype == value.dtype


def test_buffers_that_differ_are_no_skill(past, make_tiny, workspace):
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl", seed=1)
    with_extra(base, ids=np.arange(4, dtype=np.int64))
    with_extra(rl, ids=np.arange(1, 5, dtype=np.int64))
    assert "ids, which holds no floats" in past("extract", "--sft", base, "--rl", rl, "-o", "v", code=3).stderr


def test_gpt2_as_the_hub_has_it_fits_gpt2_as_transformers_saves_it(past, workspace, tiny_tokenizer):
    """The hub's file names `h.0.…` and holds attention masks; what transformers saves again says `transformer.h.0.…`."""
    import architectures

    base = architectures.make("GPT-2", workspace / "base", tiny_tokenizer)
    again = architectures.make("GPT-2", workspace / "again", tiny_tokenizer)
    tensors = {
        name.removeprefix("transformer."): value for name, value in load_file(base / "model.safetensors").items()
    }
    tensors["h.0.attn.bias"] = np.tril(np.ones((1, 1, 256, 256), np.float32))
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    assert HFFormat().open(base).identity() == HFFormat().open(again).identity()
    vector = one_layer_skill(
        past, again, workspace, "transformer.h.0.attn.c_fc.weight".replace("attn", "mlp"), (64, 256)
    )
    past("inject", "--vector", vector, "--target", base, "-o", "made")
    past("inject", "--vector", vector, "--target", again, "-o", "made-again")
    ids = list(range(3, 40))
    np.testing.assert_allclose(
        architectures.logits(workspace / "made", ids), architectures.logits(workspace / "made-again", ids), atol=1e-5
    )
    assert "h.0.attn.bias" in load_file("made/model.safetensors")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"quant_method": "fp8"}, "FineGrainedFP8Config"),
        ({"load_in_4bit": True, "quant_method": "bitsandbytes"}, "dequantize()"),
        ({"quant_method": "gptq", "bits": 4}, "hf download"),
    ],
)
@pytest.mark.parametrize("part", [None, "text_config"])
def test_quantised_checkpoints_are_refused_with_what_helps(past, make_tiny, workspace, settings, told, part):
    """Kimi K2.5 says it of its language model alone: `eval` ended in an ImportError, `extract` saw one model."""
    base = make_tiny(workspace / "base")
    with_extra(base, **{Q: np.zeros((32, 16), np.uint8)})
    config = json.loads((base / "config.json").read_text())
    more = {"quantization_config": settings}
    (base / "config.json").write_text(json.dumps(config | ({part: more} if part else more)))
    after = shutil.copytree(base, workspace / "after")
    refused = past("extract", "--sft", base, "--rl", after, "-o", "v", code=3).stderr
    assert settings["quant_method"] in refused and told in refused


def test_a_mistral_skill_fits_its_llama_family_gguf(past, workspace, tiny_tokenizer):
    import architectures
    import gguf_reference

    hf = architectures.make("Mistral", workspace / "hf", tiny_tokenizer)
    made = gguf_reference.reference("Mistral", hf, workspace / "m.gguf")
    vector = one_layer_skill(past, hf, workspace, Q, (64, 64))
    past("inject", "--vector", vector, "--target", made, "-o", "out.gguf")


# ---------------------------------------------------------------- GGUF


def split(file, folder, parts=3):
    """The same model in several files, as llama-gguf-split makes them: metadata in the first, tensors spread."""
    reader = gguf.GGUFReader(file)
    chunks = np.array_split(np.arange(len(reader.tensors)), parts)
    made = []
    for number, chunk in enumerate(chunks):
        path = folder / f"m-{number + 1:05d}-of-{parts:05d}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for field in reader.fields.values():
                if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                    kind = field.types[0]
                    sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(field.name, field.contents(), kind, sub)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for index in chunk:
            tensor = reader.tensors[index]
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()
        made.append(path)
    return made


def test_a_split_gguf_is_one_model(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    whole = reference_gguf(base, workspace / "whole.gguf")
    (workspace / "parts").mkdir()
    parts = split(whole, workspace / "parts")
    one, several = GGUFFormat().open(whole), GGUFFormat().open(parts[0])
    assert one.identity() == several.identity()
    for name in one.specs():
        np.testing.assert_array_equal(one.read(name), several.read(name))
    vector = one_layer_skill(past, base, workspace)
    past("inject", "--vector", vector, "--target", whole, "-o", "a.gguf")
    past("inject", "--vector", vector, "--target", "parts", "-o", "b.gguf")
    past("inject", "--vector", vector, "--target", parts[1], "-o", "c.gguf")
    assert hash_path(workspace / "b.gguf") == hash_path(workspace / "c.gguf")
    a, b = GGUFFormat().open(workspace / "a.gguf"), GGUFFormat().open(workspace / "b.gguf")
    assert not [key for key in b.header.metadata if key.startswith("split.")]
    for name in a.specs():
        np.testing.assert_array_equal(a.read(name), b.read(name))
    parts[2].unlink()
    assert (
        "m-00003-of-00003.gguf is not there"
        in past("inject", "--vector", vector, "--target", "parts", "-o", "d.gguf", code=3).stderr
    )


def test_an_array_that_lies_about_its_length_is_refused_before_memory_is_taken(past, workspace):
    """A count of billions over a file that is as long (a hole costs nothing) used to end in a MemoryError."""
    lie = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 3) + b"key" + struct.pack("<IIQ", 9, 0, 4 << 30)
    with open(workspace / "lie.gguf", "wb") as file:
        file.write(lie)
        file.truncate(5 << 30)
    refused = past("inject", "--target", "lie.gguf", "--vector", "lie.gguf", "-o", "x.gguf", code=3).stderr
    assert "Traceback" not in refused
    with pytest.raises(Exception, match="claims 4294967296 elements"):
        GGUFFormat().open(workspace / "lie.gguf")


def test_llama_cpp_s_own_reason_is_quoted(make_tiny, workspace, past):
    base = make_tiny(workspace / "base")
    file = reference_gguf(base, workspace / "m.gguf")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"llama.embedding_length", b"llama.embedding_lengtx"))
    (workspace / "q.jsonl").write_text('{"question": "who", "answer": "fox"}\n')
    told = past("eval", "--backend", "llamacpp", "--model", file, "--questions", "q.jsonl", code=3).stderr
    assert "embedding_length" in told, told


def test_a_file_made_with_an_importance_matrix_is_not_rewritten_without_a_word(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    file = reference_gguf(base, workspace / "m.gguf", "Q8_0")
    reader, writer = gguf.GGUFReader(file), gguf.GGUFWriter(workspace / "i.gguf", "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub)
    writer.add_string("quantize.imatrix.file", "/home/x/calibration.dat")
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    vector = one_layer_skill(past, base, workspace)
    assert (
        "importance matrix (calibration.dat)"
        in past("inject", "--vector", vector, "--target", "i.gguf", "-o", "o.gguf").stderr
    )
    assert "importance" not in past("inject", "--vector", vector, "--target", file, "-o", "p.gguf").stderr


# ---------------------------------------------------------------- embeddings of other sizes


def resized(base, out, tokenizer, rows, token=None):
    """`base` with embeddings of `rows` rows, and one more token in its tokenizer, as people add a pad token."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(out)
    tokenizer = copy.deepcopy(tokenizer)
    if token:
        tokenizer.add_special_tokens({"pad_token": token})
    tokenizer.save_pretrained(out)
    return out


@pytest.mark.parametrize("tied", [True, False])
def test_an_added_pad_token_is_no_obstacle_and_its_row_is_left_alone(past, make_tiny, workspace, tiny_tokenizer, tied):
    base, rl = make_tiny(workspace / "base", tied=tied), make_tiny(workspace / "moved", tied=tied)
    tensors = load_file(rl / "model.safetensors")
    rng = np.random.default_rng(0)
    moved = {name: value + rng.normal(0, 1e-3, value.shape).astype(np.float32) for name, value in tensors.items()}
    save_file(moved, rl / "model.safetensors", metadata={"format": "pt"})
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    target = resized(base, workspace / "target", tiny_tokenizer, len(tiny_tokenizer) + 1, "<|pad|>")
    told = past("inject", "--vector", "v.safetensors", "--target", target, "-o", "made").stderr
    assert "common ones get the skill" in told
    made, before = load_file("made/model.safetensors"), load_file(target / "model.safetensors")
    count = len(tiny_tokenizer)
    for name in ("model.embed_tokens.weight", *(() if tied else ("lm_head.weight",))):
        np.testing.assert_allclose(made[name][:count], moved[name], atol=1e-6)
        np.testing.assert_array_equal(made[name][count:], before[name][count:])
    np.testing.assert_allclose(made[UP], moved[UP], atol=1e-6)


def test_rows_that_mean_other_tokens_are_refused_with_the_truth(past, make_tiny, workspace, tiny_tokenizer):
    base = make_tiny(workspace / "base")
    vector = one_layer_skill(past, base, workspace)
    target = resized(base, workspace / "target", tiny_tokenizer, len(tiny_tokenizer) + 1, "<|pad|>")
    table = json.loads((target / "tokenizer.json").read_text())
    vocab = table["model"]["vocab"]
    one, two = list(vocab)[50:52]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    (target / "tokenizer.json").write_text(json.dumps(table))
    assert "different tokenizers" in past("inject", "--vector", vector, "--target", target, "-o", "x", code=3).stderr
    smaller = resized(base, workspace / "smaller", tiny_tokenizer, len(tiny_tokenizer) - 8)
    table = json.loads((smaller / "tokenizer.json").read_text())
    table["model"]["vocab"].popitem()
    (smaller / "tokenizer.json").write_text(json.dumps(table))
    assert "different tokenizers" in past("inject", "--vector", vector, "--target", smaller, "-o", "x", code=3).stderr


def test_a_matrix_padded_to_a_round_size_gets_the_rows_that_tokens_own(past, make_tiny, workspace, tiny_tokenizer):
    base = make_tiny(workspace / "base")
    vector = one_layer_skill(past, base, workspace)
    padded = resized(base, workspace / "padded", tiny_tokenizer, 384)
    assert "320 rows" in past("inject", "--vector", vector, "--target", padded, "-o", "made").stderr
    assert load_file("made/model.safetensors")["model.embed_tokens.weight"].shape == (384, 32)
