"""Nothing goes wrong in silence: what would be another model, or another skill, than the one asked for is refused or said."""

from __future__ import annotations

import json
import struct

import gguf_reference
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from vectors_tools import factors_for, moved, read_model, weights, write_adapter, write_model

from pastcli.errors import MismatchError
from pastcli.vectors import extract_skill, open_skill
from pastcli.vectors.files.skill_description import KEY

UP = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"


@pytest.fixture
def pair(workspace):
    """A base, an SFT model of it, a target, and a dense skill, by name in the working directory."""
    base = weights()
    sft = moved(base, 1, 2e-3)
    write_model(workspace / "base", base)
    write_model(workspace / "sft", sft)
    write_model(workspace / "rl", moved(sft, 2, 1e-3))
    write_model(workspace / "target", moved(base, 3, 2e-3))
    extract_skill(workspace / "sft", workspace / "rl", workspace / "skill.safetensors")
    return workspace


# ---------------------------------------------------------------- a skill file that lies about itself


def rewritten(source, target, change):
    """`source` with its own description changed by `change(table)`, or by the text it returns."""
    raw = source.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    table = json.loads(header["__metadata__"][KEY])
    text = change(table)
    header["__metadata__"][KEY] = json.dumps(table) if text is None else text
    packed = json.dumps(header).encode()
    target.write_bytes(struct.pack("<Q", len(packed)) + packed + raw[8 + length :])
    return target


LIES = {
    "norm is text": lambda t: t["tensors"][UP].update(norm="large"),
    "norm is null": lambda t: t["tensors"][UP].update(norm=None),
    "norm is infinite": lambda t: t["tensors"][UP].update(norm=float("inf")),
    "norm overflows when squared": lambda t: t["tensors"][UP].update(norm=1e300),
    "norm is negative": lambda t: t["tensors"][UP].update(norm=-1.0),
    "norm is a huge integer": lambda t: t["tensors"][UP].update(norm=10**400),
    "shape is text": lambda t: t["tensors"][UP].update(shape="32x16"),
    "shape holds text": lambda t: t["tensors"][UP].update(shape=["32", 16]),
    "shape is fractional": lambda t: t["tensors"][UP].update(shape=[32.0, 16]),
    "shape is negative": lambda t: t["tensors"][UP].update(shape=[-32, -16]),
    "shape is another": lambda t: t["tensors"][UP].update(shape=[16, 32]),
    "scale is a list": lambda t: t["tensors"][UP].update(scale=[1]),
    "rank is text": lambda t: t["tensors"][UP].update(form="low_rank", rank="3"),
    "form is a list": lambda t: t["tensors"][UP].update(form=[]),
    "a tensor is a number": lambda t: t["tensors"].update({UP: 3}),
    "a field is unknown": lambda t: t["tensors"][UP].update(colour="red"),
    "shapes is a list": lambda t: t.update(shapes=[]),
    "shapes holds numbers": lambda t: t.update(shapes={UP: 3}),
    "sketch is a number": lambda t: t.update(sketch=7),
    "parents hold text": lambda t: t.update(parents={"sft": "x"}),
    "training is a list": lambda t: t.update(training=["x"]),
    "warnings is text": lambda t: t.update(warnings="all is well"),
    "identity is a list": lambda t: t.update(identity=[]),
    "vocabulary is text": lambda t: t["identity"].update(vocab_size="many"),
    "identity has too much": lambda t: t["identity"].update(more=1),
    "version is an object": lambda t: t.update(version={}),
    "no JSON": lambda t: "{",
    "no object": lambda t: "[1]",
    "too deep": lambda t: "[" * 100_000,
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_malformed_description_is_refused_by_name(pair, lie):
    bad = rewritten(pair / "skill.safetensors", pair / "bad.safetensors", LIES[lie])
    with pytest.raises(MismatchError, match=r"bad\.safetensors"):
        open_skill(bad).close()


def test_a_malformed_description_ends_no_command_in_a_python_error(pair, past):
    for lie in ("norm is text", "shape is text", "norm overflows when squared", "parents hold text"):
        rewritten(pair / "skill.safetensors", pair / "bad.safetensors", LIES[lie])
        for words in (["inspect", "bad.safetensors"], ["inject", "--vector", "bad.safetensors", "--target", "target"]):
            done = past(*words, code=3)
            assert "corrupt" in done.stderr and "Traceback" not in done.stderr


# ---------------------------------------------------------------- parents that are not proven


@pytest.mark.parametrize("base", ["someone/their-own-sft", "/nowhere/at/all", ""])
def test_an_adapter_of_an_unknown_base_is_not_taken_as_trained_on_sft(pair, past, past_json, base):
    """B @ A of another model would be a skill of neither; who takes it on trust leaves that in the skill."""
    write_adapter(pair / "strange", factors_for([UP]), base=base)
    words = ("extract", "--sft", "sft", "--rl", "strange", "-o", "strange.safetensors")
    done = past(*words, code=3)
    assert "not proven" in done.stderr and "--assume-parent" in done.stderr and not (pair / words[-1]).exists()
    done = past(*words, "--assume-parent")
    assert "not proven" in done.stderr
    assert ["not proven" in text for text in past_json("inspect", "strange.safetensors")["warnings"]] == [True]
    assert "1 warning above says what is not certain" in past("inspect", "strange.safetensors").stderr
    done = past("inject", "--vector", "strange.safetensors", "--target", "target", "-o", "out")
    assert "not proven" in done.stderr, "whoever uses the skill is told as well"
    words = ("inject", "--vector", "strange.safetensors", "--target", "target", "--as", "adapter", "-o", "adapter")
    assert "not proven" in past(*words).stderr


# ---------------------------------------------------------------- where a result goes


def test_an_adapter_named_like_a_format_of_directories_is_a_directory(pair, past):
    write_adapter(pair / "rl-lora", factors_for([UP]), base=pair / "sft")
    past("extract", "--sft", "sft", "--rl", "rl-lora", "-o", "low.safetensors")
    past("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "x.hf")
    assert json.loads((pair / "x.hf/adapter_config.json").read_text())["r"] == 3


# ---------------------------------------------------------------- casts


def test_a_tensor_that_only_travels_along_may_not_overflow_the_stored_type(pair, past):
    """60,000 is a float16, 70,000 is not: the copy of an unchanged tensor would hold infinity."""
    tensors = read_model(pair / "target")
    tensors[NORM][3] = 70_000.0
    write_model(pair / "large", tensors)
    sft = read_model(pair / "sft")
    write_model(pair / "rl-up", {**sft, UP: sft[UP] + np.float32(1e-3)})
    past("extract", "--sft", "sft", "--rl", "rl-up", "-o", "up.safetensors")
    words = ("inject", "--vector", "up.safetensors", "--target", "large", "-o", "out", "--dtype")
    done = past(*words, "f16", code=3)
    assert NORM in done.stderr and "overflows" in done.stderr and not (pair / "out").exists()
    past(*words, "bf16")
    assert np.isfinite(read_model(pair / "out")[NORM]).all()


def cosine(a, b):
    a, b = (np.concatenate([x.ravel() for x in side]).astype(np.float64) for side in (a, b))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_a_cast_leaves_of_the_targets_own_lora_is_measured_and_said(pair, past, past_json):
    """A LoRA of the target far below the grid of its bf16 base, and a skill far above it: only one of them is left."""
    base = read_model(pair / "base")
    write_model(pair / "grid", base, dtype="BF16")
    grid = read_model(pair / "grid")
    a, b = factors_for([UP])[UP]
    write_adapter(pair / "lora", {UP: (a * np.float32(1e-3), b * np.float32(1e-2))}, base=pair / "grid", alpha=3.0)
    write_model(pair / "rl-big", {n: v + np.float32(0.5) * np.sign(v) for n, v in read_model(pair / "sft").items()})
    past("extract", "--sft", "sft", "--rl", "rl-big", "-o", "big.safetensors")
    words = ("inject", "--vector", "big.safetensors", "--target", "lora", "-o", "out")
    metrics = past_json(*words)["metrics"]
    own, v = (
        (b * np.float32(1e-2)) @ (a * np.float32(1e-3)),
        read_model(pair / "rl-big")[UP] - read_model(pair / "sft")[UP],
    )
    found = cosine([own], [read_model(pair / "out")[UP] - (grid[UP] + v)])
    assert metrics["survival"] > 0.999 and found < 0.9
    assert metrics["target_survival"] == pytest.approx(found, abs=1e-3)
    done = past(*words[:-1], "out2")
    assert "only a part of what the target had learnt" in done.stdout + done.stderr
    assert f"{metrics['target_survival']:.4f} of the target's own change" in done.stderr
    done = past(*words[:-1], "out3", "--min-survival", "0.95", code=4)
    assert "target's own change" in done.stderr and not (pair / "out3").exists()
    exact = past_json(*words[:-1], "out4", "--dtype", "f32")["metrics"]
    assert exact["target_survival"] > 0.9999


def test_what_a_cast_leaves_of_a_merged_targets_training_is_measured_against_its_base(pair, past, past_json):
    words = ("inject", "--vector", "skill.safetensors", "--target", "target", "--dtype", "bf16", "-o")
    done = past(*words, "unknown")
    assert "--base" in done.stderr and "not known" in done.stderr
    metrics = past_json(*words, "out", "--base", "base")["metrics"]
    base, target, sft, rl, out = (read_model(pair / name) for name in ("base", "target", "sft", "rl", "out"))
    own = [target[name] - base[name] for name in base]
    left = [out[name] - base[name] - (rl[name] - sft[name]) for name in base]
    assert metrics["target_survival"] == pytest.approx(cosine(own, left), abs=1e-4)
    assert "target_survival" not in past_json(*words[:-3], "-o", "same")["metrics"], "nothing is cast"
    done = past(*words[:4], "out", "--dtype", "bf16", "-o", "again")
    assert "not known" not in done.stderr, "bf16 into bf16 is no cast"


def test_a_skill_of_which_nothing_was_added_is_not_said_to_be_in_the_file(pair, past):
    for words in (("--scale", "0"), ("--scales", "*=0")):
        done = past("inject", "--vector", "skill.safetensors", "--target", "target", "-o", f"out{words[1]}", *words)
        assert "nothing of a skill was added" in done.stdout + done.stderr


# ---------------------------------------------------------------- dense skills


def test_a_dense_skill_holds_only_the_tensors_that_changed(pair, past_json):
    sft = read_model(pair / "sft")
    late = sft[UP].copy()
    late[-1, -1] += 1.0  # the last entry of all: a look at the beginning would not find it
    write_model(pair / "rl-two", {**sft, UP: late, NORM: sft[NORM] * 2})
    made = past_json("extract", "--sft", "sft", "--rl", "rl-two", "-o", "two.safetensors")
    assert made["metrics"]["tensors"] == 2 and made["metrics"]["parameters"] == late.size + sft[NORM].size
    skill = open_skill(pair / "two.safetensors")
    assert set(skill.parts) == {UP, NORM}
    skill.close()
    past_json("inject", "--vector", "two.safetensors", "--target", "target", "-o", "out")
    target, got = read_model(pair / "target"), read_model(pair / "out")
    for name, value in target.items():
        wanted = value + (late - sft[UP]) if name == UP else value + sft[NORM] if name == NORM else value
        assert np.array_equal(got[name], wanted), name


def test_a_change_of_sign_of_zero_is_none(pair, past):
    sft = read_model(pair / "sft")
    sft[NORM][:] = 0.0
    write_model(pair / "plus", sft)
    write_model(pair / "minus", {**sft, NORM: -sft[NORM], UP: sft[UP] + np.float32(0.01)})
    past("extract", "--sft", "plus", "--rl", "minus", "-o", "up.safetensors")
    skill = open_skill(pair / "up.safetensors")
    assert set(skill.parts) == {UP}
    skill.close()


USAGES = {
    "rope_theta": (dict(rope_theta=1e6), "rope_theta 1000000.0 instead of 10000.0"),
    "heads": (dict(num_attention_heads=8, num_key_value_heads=4, head_dim=4), "num_attention_heads 8 instead of 4"),
    "epsilon": (dict(rms_norm_eps=1e-2), "rms_norm_eps 0.01 instead of 1e-06"),
    "scaling": (
        dict(rope_scaling={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}),
        "rope_type linear instead of default",
    ),
}


@pytest.mark.parametrize("kind", USAGES)
def test_models_that_use_the_same_weights_otherwise_are_told_apart(past, make_tiny, workspace, kind):
    """The result was off by 2 to 22 standard deviations of the logits from the RL model, and nothing was said."""
    more, told = USAGES[kind]
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl", seed=1, **more)
    done = past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    assert "the RL model computes otherwise" in done.stderr and told in done.stderr
    assert "the RL model computes otherwise" in past("inspect", "v.safetensors").stderr
    done = past(
        "inject", "--vector", "v.safetensors", "--target", make_tiny(workspace / "target", **more), "-o", "made"
    )
    assert "the target computes otherwise than the model that the skill was taken from" in done.stderr
    assert (
        "the target computes" not in past("inject", "--vector", "v.safetensors", "--target", base, "-o", "own").stderr
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rope_theta": 5e5, "rope_scaling": None}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [1]}, "rope_theta": 1e6}, {"rope_theta": 1000000}),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "su", "long_factor": [1]}},
            {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}, "rope_theta": 1e4},
        ),
        ({"sliding_window": 32768, "use_sliding_window": False}, {"sliding_window": None, "use_sliding_window": False}),
        ({"head_dim": None, "torch_dtype": "float16", "use_cache": False, "eos_token_id": 2}, {"head_dim": 64}),
        ({"rms_norm_eps": 9.999999747378752e-06}, {"rms_norm_eps": 1e-5}),
        ({"text_config": {"rms_norm_eps": 1e-6}, "rms_norm_eps": 1e-5}, {"rms_norm_eps": 1e-06}),
    ],
)
def test_one_usage_in_the_words_of_two_versions_is_one(one, other):
    from past_hf.settings import settings

    from pastcli.vectors.checks.usage import differing

    assert differing("a", settings(one), "b", settings(other)) == []


def grown(model):
    """`model` with every weight a little larger, in the same directory."""
    file = model / "model.safetensors"
    save_file({name: value + np.float32(0.01) for name, value in load_file(file).items()}, file, {"format": "pt"})
    return model


def test_a_gguf_that_uses_the_same_weights_otherwise_is_told_apart(past, make_tiny, workspace):
    """Its metadata say so, and were not asked: a skill of a model with a longer context went into one with a shorter without a word."""
    base, other = make_tiny(workspace / "base", tied=False), make_tiny(workspace / "other", tied=False, rope_theta=5e5)
    rl = grown(make_tiny(workspace / "rl", tied=False))
    for folder in (base, other):
        gguf_reference.reference("Mistral", folder, workspace / f"{folder.name}.gguf")
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    inject = ("inject", "--vector", "v.safetensors", "--target")
    assert "otherwise" not in past(*inject, "base.gguf", "-o", "same.gguf").stderr
    told = past(*inject, "other.gguf", "-o", "made.gguf").stderr
    assert "the target computes otherwise than the model that the skill was taken from" in told
    assert "rope_theta 500000.0 instead of 10000.0" in told


def test_a_skill_that_does_not_say_how_its_model_uses_weights_is_named(past, make_tiny, workspace):
    base = make_tiny(workspace / "base")
    past("extract", "--sft", base, "--rl", grown(make_tiny(workspace / "rl")), "-o", "v.safetensors")
    rewritten(
        workspace / "v.safetensors", workspace / "old.safetensors", lambda t: t["parents"]["sft"].pop("usage") and None
    )
    inject = ("inject", "--target", base, "--vector")
    assert "does not say" not in past(*inject, "v.safetensors", "-o", "one").stderr
    assert "does not say how its model uses the weights" in past(*inject, "old.safetensors", "-o", "two").stderr


def test_a_language_of_x_mod_that_another_model_speaks_by_default_is_told():
    """Its layers have an adapter for each language, and a text goes through that of `default_language`."""
    from past_hf.settings import settings

    from pastcli.vectors.checks.usage import differing

    told = differing("a", settings({"default_language": "en_XX"}), "b", settings({"default_language": "de_DE"}))
    assert "default_language de_DE instead of en_XX" in told[0]
    assert differing("a", settings({"routed_scaling_factor": 1.0}), "b", settings({"routed_scaling_factor": 2.5}))
    kinds = [["full_attention", "sliding_attention"], ["full_attention"] * 2]
    assert differing("a", settings({"layer_types": kinds[0]}), "b", settings({"layer_types": kinds[1]}))
    assert not differing(
        "a", settings({"layer_types": ["mamba"]}), "b", settings({"layer_types": ["linear_attention"]})
    )


def test_a_skill_that_is_added_twice_is_said_to_be(past, make_tiny, workspace):
    """Named twice by mistake, into what was made with it, into the model it was taken from: each gave twice the skill, with survival 1."""
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl")
    grown = {name: value + 0.01 for name, value in load_file(rl / "model.safetensors").items()}
    save_file(grown, rl / "model.safetensors", {"format": "pt"})
    done = past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    assert "another base" not in done.stderr
    inject = ("inject", "--vector", "v.safetensors")
    assert "already" not in past(*inject, "--target", base, "-o", "one").stderr
    assert "made with v.safetensors already" in past(*inject, "--target", "one", "-o", "two").stderr
    assert "made with v.safetensors already" in past(*inject, "--target", "two", "-o", "three").stderr
    assert "v.safetensors was taken from the target" in past(*inject, "--target", rl, "-o", "four").stderr
    again = past(*inject, "--vector", "v.safetensors:0.5", "--target", base, "-o", "five")
    assert "v.safetensors is named 2 times: it is added with their sum, 1.5" in again.stderr


@pytest.mark.parametrize(
    ("stored", "said"), [("bfloat16", "float16"), ("float16", "bfloat16"), ("float32", "bfloat16")]
)
def test_a_config_that_says_another_type_of_16_bits_than_the_files_have_is_mended(
    past, make_tiny, workspace, stored, said
):
    """transformers loads what config.json says: the skill would have been rounded to it, after its survival was told."""
    import torch

    base, rl = (make_tiny(workspace / name, seed=name == "rl", dtype=getattr(torch, stored)) for name in ("base", "rl"))
    for folder in (base, rl):
        table = json.loads((folder / "config.json").read_text()) | {"dtype": said, "torch_dtype": said}
        (folder / "config.json").write_text(json.dumps(table))
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", base, "-o", "made")
    config = json.loads((workspace / "made" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == stored
