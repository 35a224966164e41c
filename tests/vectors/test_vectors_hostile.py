"""Files that lie: each ends in one line and an exit code of its own, never in a Python error, another model or half a result.

What is malformed is one file of a sound model, adapter or skill. tests/vectors/test_gguf.py does the same to GGUF files.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from vectors_tools import VOCAB, factors_for, moved, weights, write_adapter, write_model

from pastcli.vectors import extract_skill

UP = "model.layers.1.mlp.up_proj.weight"
TOKENS = [f"t{index}" for index in range(VOCAB)]
GONE = object()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    base = weights()
    sft = moved(base, 1, 1e-3)
    for name, tensors in {
        "base": base,
        "sft": sft,
        "model": moved(sft, 2, 1e-3),
        "target": moved(base, 3, 1e-3),
    }.items():
        write_model(folder / name, tensors, tokens=TOKENS)
    write_model(folder / "sharded", moved(base, 3, 1e-3), shards=2, tokens=TOKENS)
    write_adapter(folder / "adapter", factors_for([UP]), base=str(folder / "base"))
    extract_skill(folder / "sft", folder / "model", folder / "dense.safetensors")
    extract_skill(folder / "base", folder / "adapter", folder / "low.safetensors")
    return folder


# ---------------------------------------------------------------- ways to break a file


def bytes_(data):
    return lambda file: file.write_bytes(data)


def without(file):
    file.unlink()


def folder(file):
    file.unlink()
    file.mkdir()


def loop(file):
    file.unlink()
    file.symlink_to(file)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def parts(file):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put(file, header, data):
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)


def table(change):
    """A change of the header of a safetensors file; its first tensor is the second argument of `change`."""

    def broken(file):
        header, data = parts(file)
        change(header, next(name for name in header if name != "__metadata__"))
        put(file, json.dumps(header).encode(), data)

    return broken


def entry(**changes):
    return table(lambda header, name: header[name].update(changes))


def renamed(new):
    return table(lambda header, name: header.update({new: header.pop(name)}))


def twice(file):
    header, data = parts(file)
    name = next(name for name in header if name != "__metadata__")
    text = json.dumps(header)
    put(file, f"{text[:-1]}, {json.dumps(name)}: {json.dumps(header[name])}}}".encode(), data)


def overlapping(header, name):
    other = next(each for each in header if each not in (name, "__metadata__"))
    header[name] = dict(header[other])


def holding(value):
    def broken(file):
        header, data = parts(file)
        put(file, json.dumps(header).encode(), data[:40] + np.float32(value).tobytes() + data[44:])

    return broken


def setting(**changes):
    """A change of a JSON object."""

    def broken(file):
        values = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({key: value for key, value in values.items() if value is not GONE}))

    return broken


def described(change):
    """A change of what a skill says of itself."""

    def broken(header, name):
        about = json.loads(header["__metadata__"]["past_skill"])
        change(about)
        header["__metadata__"]["past_skill"] = json.dumps(about)

    return table(broken)


TENSORS = {
    "empty": bytes_(b""),
    "seven bytes": bytes_(b"1234567"),
    "cut": lambda file: os.truncate(file, file.stat().st_size - 10),
    "cut header": lambda file: os.truncate(file, 100),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"xx"),
    "header beyond the file": lambda file: file.write_bytes(struct.pack("<Q", 1 << 62) + file.read_bytes()[8:]),
    "header nested": lambda file: put(file, b"[" * 200_000, b""),
    "header a list": lambda file: put(file, b"[]", b""),
    "noise": bytes_(np.random.default_rng(0).bytes(5000)),
    "unknown type": entry(dtype="F31"),
    "type a number": entry(dtype=7),
    "negative shape": entry(shape=[-1, 16]),
    "huge shape": entry(shape=[1 << 62, 1 << 62]),
    "shape a text": entry(shape="16"),
    "shape of floats": entry(shape=[40.0, 16]),
    "reversed offsets": entry(data_offsets=[2560, 0]),
    "huge offsets": entry(data_offsets=[0, 1 << 63]),
    "overlap": table(overlapping),
    "a name twice": twice,
    "no name": renamed(""),
    "a path as name": renamed("../../x"),
    "half a character in a name": renamed("\ud800x"),
    "NaN": holding(np.nan),
    "infinity": holding(np.inf),
    "metadata of numbers": table(lambda header, name: header.update(__metadata__={"a": 1})),
    "a folder": folder,
    "a link to itself": loop,
    "a pipe": pipe,
    "not there": without,
}
JSON = {
    "empty": bytes_(b""),
    "a list": bytes_(b"[]"),
    "binary": bytes_(b"\xff\xfe\x00"),
    "nested": bytes_(b"[" * 200_000),
    "cut": bytes_(b'{"a":'),
}
CONFIG = JSON | {
    "vocabulary NaN": bytes_(b'{"vocab_size": NaN}'),
    "vocabulary a list": setting(vocab_size=[1]),
    "vocabulary negative": setting(vocab_size=-1),
    "vocabulary huge": setting(vocab_size=10**30),
    "vocabulary another": setting(vocab_size=41),
    "architectures an object": setting(architectures={"a": 1}),
    "another architecture": setting(architectures=["GPT2LMHeadModel"]),
    "a head that is not there": setting(tie_word_embeddings=False),
    "a folder": folder,
    "a link to itself": loop,
}
TOKENIZER = JSON | {
    "vocabulary a number": setting(model={"vocab": 3}),
    "ids of text": setting(model={"vocab": {"a": "x", "b": 1}}),
    "added tokens a number": setting(added_tokens=3),
    "added tokens of numbers": setting(added_tokens=[3]),
    "added token without id": setting(added_tokens=[{"content": "x"}]),
}
INDEX = JSON | {
    "no map": bytes_(b"{}"),
    "a map of numbers": bytes_(b'{"weight_map": {"a": 3}}'),
    "an empty map": bytes_(b'{"weight_map": {}}'),
    "a shard elsewhere": lambda file: file.write_text(file.read_text().replace("model-00001", "../target/model-00001")),
    "a folder as shard": lambda file: file.write_text(
        file.read_text().replace("model-00001-of-00002.safetensors", ".")
    ),
    "a tensor less": lambda file: file.write_text(file.read_text().replace(UP, "nothing")),
}
ADAPTER = JSON | {
    "alpha a text": setting(lora_alpha="x"),
    "alpha null": setting(lora_alpha=None),
    "alpha NaN": setting(lora_alpha=float("nan")),
    "alpha infinite": setting(lora_alpha=float("inf")),
    "alpha a list": setting(lora_alpha=[1]),
    "rank another": setting(r=9),
    "rank a text": setting(r="3"),
    "rank 0": setting(r=0),
    "patterns a number": setting(rank_pattern=3),
    "a pattern that is none": setting(alpha_pattern={"(": 3}),
    "a pattern that says NaN": setting(alpha_pattern={"up_proj": float("nan")}),
    "a base without end": setting(base_model_name_or_path="x" * 70_000),
    "its own base": setting(base_model_name_or_path="."),
    "a base in a circle": setting(base_model_name_or_path="../bad"),
    "a base that is a number": setting(base_model_name_or_path=3),
    "another method": setting(peft_type="IA3"),
    "rank not said": setting(r=GONE),
}
SKILL = {
    "another version": described(lambda about: about.update(version=99)),
    "another architecture": described(lambda about: about["identity"].update(architecture="Other")),
    "another vocabulary": described(lambda about: about["identity"].update(vocab_size=39)),
    "no tensors": described(lambda about: about.update(tensors={})),
    "no shapes": described(lambda about: about.update(shapes={})),
    "a norm of NaN": described(lambda about: next(iter(about["tensors"].values())).update(norm=float("nan"))),
    "a form it is not in": described(lambda about: next(iter(about["tensors"].values())).update(form="sparse")),
    "a field more": described(lambda about: about.update(what=1)),
}
EXTRACT = ("extract", "--sft", "{sound}/sft", "--rl", "bad", "-o", "made.safetensors")
OF_BASE = ("extract", "--sft", "{sound}/base", "--rl", "bad", "-o", "made.safetensors")
INJECT = ("inject", "--vector", "{sound}/dense.safetensors", "--target", "bad", "-o", "made")
PROBE = ("probe-orthogonality", "--base", "{sound}/base", "--sft", "bad", "--rl", "{sound}/sft", "--no-figures")
SKILLED = ("inject", "--vector", "bad.safetensors", "--target", "{sound}/target", "-o", "made")
BROKEN = {
    **{f"weights: {name}": ("model", "model.safetensors", broken, INJECT) for name, broken in TENSORS.items()},
    **{f"config: {name}": ("model", "config.json", broken, EXTRACT) for name, broken in CONFIG.items()},
    **{f"tokenizer: {name}": ("model", "tokenizer.json", broken, INJECT) for name, broken in TOKENIZER.items()},
    **{f"index: {name}": ("sharded", "model.safetensors.index.json", broken, INJECT) for name, broken in INDEX.items()},
    **{f"adapter: {name}": ("adapter", "adapter_config.json", broken, OF_BASE) for name, broken in ADAPTER.items()},
    **{
        f"factors: {name}": ("adapter", "adapter_model.safetensors", TENSORS[name], OF_BASE)
        for name in ("cut", "NaN", "a pipe")
    },
    **{f"probed: {name}": ("model", "model.safetensors", TENSORS[name], PROBE) for name in ("cut", "NaN", "a pipe")},
    **{
        f"dense skill: {name}": ("dense.safetensors", "", broken, SKILLED) for name, broken in (TENSORS | SKILL).items()
    },
    **{
        f"low-rank skill: {name}": ("low.safetensors", "", TENSORS[name], SKILLED)
        for name in ("NaN", "negative shape", "cut")
    },
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_lies_ends_in_one_line_and_leaves_nothing(sound, workspace, past, case):
    source, name, broken, words = BROKEN[case]
    bad = workspace / ("bad.safetensors" if source.endswith(".safetensors") else "bad")
    (shutil.copyfile if bad.suffix else shutil.copytree)(sound / source, bad)
    broken(bad / name if name else bad)
    done = past(*(word.format(sound=sound) for word in words), code=None, timeout=60)
    assert done.returncode in (1, 2, 3, 4), done.stdout + done.stderr
    assert done.stderr.count("error:") == 1 and "unexpected" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr) < 1500, done.stderr
    assert not list(workspace.glob("made*")) and not list(Path("runs").glob("*-*"))
