"""What stands beside the weights of models as they are published, and what training leaves of it as it was."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import shutil

import families
import pytest
import torch
from past_hf import vocabulary
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

IDS = [(7 * index) % 300 + 3 for index in range(40)]

SMALL = ("--mix", "none", "--epochs", 1, "--step-tokens", 100, "--lr", "1e-3", "--precision", "fp32")
RL = ("--steps", 1, "--prompts-per-step", 2, "--num-generations", 4, "--reward", "length", "--max-new-tokens", 6)


def edited(folder, file="config.json", **more):
    """A JSON file of the directory with other values; `None` takes a key out."""
    path = folder / file
    table = (json.loads(path.read_text()) if path.is_file() else {}) | more
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


@pytest.fixture
def texts(workspace):
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    (workspace / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n' * 2)


def test_several_end_tokens_in_config_json(typed, make_tiny, workspace, texts):
    """Llama 3 Instruct and Gemma 3 list them there: every command that computes ended in "unhashable type: 'list'"."""
    base = make_tiny(workspace / "base", eos_token_id=[1, 2])
    typed("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl")
    typed("eval", "--model", "rl", "--questions", "q.jsonl", "--max-new-tokens", 3)


def renamed(base, out, name):
    """The same model, whose file calls its tensors `name(tensor)`."""
    shutil.copytree(base, out)
    tensors = {name(key): value for key, value in load_file(base / "model.safetensors").items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


NAMES = {
    "llama": ("llama", lambda key: key.removeprefix("model.")),
    "bloom": ("bloom", lambda key: key.removeprefix("transformer.")),
    "opt": ("opt", lambda key: key.removeprefix("model.")),
    "gpt_neox": ("gpt_neox", lambda key: key.removeprefix("gpt_neox.")),
    "gpt1": ("openai-gpt", lambda key: key.removeprefix("transformer.")),
    "wrapped": ("llama", lambda key: f"model.{key}"),
    "exaone": ("exaone", str),
    "nemotron_h": ("nemotron_h", str),
    "gamma and beta": (
        "bert",
        lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_files_under_names_that_transformers_no_longer_writes(kind, past, workspace, texts, tiny_tokenizer):
    """As they were saved of the inner model, of a wrapper or in BERT's time: what SFT wrote of them went by other names, and no skill could
    be taken. Files of EXAONE 3.5 and Nemotron-H name every layer otherwise than memory does: no LoRA could be trained."""
    name, old = NAMES[kind]
    families.make(name, workspace, tiny_tokenizer, tie_word_embeddings=True)
    base = renamed(workspace / "base", workspace / "published", old)
    assert families.loaded(base).state_dict().keys() == families.loaded(workspace / "base").state_dict().keys()
    past("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    past("extract", "--sft", base, "--rl", "source", "-o", "v.safetensors")
    for target in (workspace / "target", base):
        past("inject", "--vector", "v.safetensors", "--target", target, "-o", "made", "--force")
        made, before, after, sft = map(
            families.loaded, (workspace / "made", target, workspace / "runs/source/model", base)
        )
        a, b, c = (model.state_dict() for model in (before, after, sft))
        for key, value in made.state_dict().items():
            assert not value.is_floating_point() or torch.equal(value, a[key] + (b[key] - c[key])), key
    assert load_file("made/model.safetensors").keys() == load_file(base / "model.safetensors").keys()
    past("sft", "d.md", "--base", base, *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
    past("extract", "--sft", base, "--rl", "lora", "-o", "low.safetensors")
    past("inject", "--vector", "low.safetensors", "--target", base, "--as", "adapter", "-o", "adapter")
    past("inject", "--vector", "low.safetensors", "--target", base, "-o", "merged")
    merged, plain = (families.logits(families.loaded(place), IDS) for place in (workspace / "merged", base))
    read = PeftModel.from_pretrained(families.loaded(base), workspace / "adapter").eval()
    assert (families.logits(read, IDS) - merged).abs().max() < 1e-2 * (merged - plain).abs().max()


def test_the_inner_models_are_called_as_transformers_calls_them():
    import transformers
    from past_hf.naming import INNER
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    of_parts = {"git", "llama4", "llama4_text", "mllama"}
    called = {kind: getattr(transformers, name).base_model_prefix for kind, name in CLASSES.items()}
    assert {kind: INNER.get(kind, "model") for kind in called.keys() - of_parts} == {
        kind: name for kind, name in called.items() if kind not in of_parts
    }


FUSED = {
    "hrm_text": {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"},
    "sarvam_moe": {"q_proj", "k_proj", "v_proj"},
}
"""Linear layers that files of these hold as one: no LoRA is of them."""


def in_both(kind):
    """(a model of this type without memory, {name in its files: name here} of what it would write)."""
    from past_hf.naming import full_names
    from transformers import AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    more = {"unpadded_vocab_size": 300} if kind.startswith("inkling2") else {}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(families.config(kind, **more))
    return model, full_names({"model_type": kind}, revert_weight_conversion(model, dict(model.state_dict())))


def test_layers_go_by_the_names_that_they_have_in_memory():
    from past_hf.adaptable import linear
    from past_hf.renaming import RENAMED

    for kind in sorted(RENAMED):
        model, called = in_both(kind)
        assert called.keys() != set(called.values()), kind
        lost = {name for name in linear(model) if f"{name}.weight" not in called.values()}
        assert {name.rpartition(".")[2] for name in lost} == FUSED.get(kind, set()), kind


def test_no_adapter_is_of_a_layer_that_peft_would_not_find_again():
    """It reads Laguna's `shared_experts.` as `shared_experts..`, says so in a warning, and leaves their factors out."""
    from past_hf.adaptable import linear, obstacles

    model, _ = in_both("laguna")
    out = obstacles(model, None)
    assert {name for name in linear(model) if "shared_experts" in name} == {
        name for name, why in out.items() if "another name" in why
    }


@pytest.mark.slow
def test_all_types_of_models_whose_layers_files_name_otherwise_are_known():
    from past_hf.adaptable import linear
    from past_hf.renaming import RENAMED
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    fused, routers, made = {"lara_mini"}, {"phimoe"}, 0
    for kind in sorted(CLASSES.keys() - RENAMED - fused - routers):
        try:
            model, called = in_both(kind)
        except Exception as error:  # of several parts, or of sizes that `families` does not know
            print(kind, repr(error)[:80])
            continue
        if model.config.get_text_config() is model.config:
            made += 1
            assert {f"{name}.weight" for name in linear(model)} <= set(called.values()), kind
    assert made > 120


def pieces(tokens):
    """SentencePiece's model of these tokens, as its protobuf message: {1: {1: text, 2: score}} each, and settings behind them."""

    def sized(number, content):
        size, made = len(content), b""
        while size > 127:
            made, size = made + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + made + bytes([size]) + content

    said = [sized(1, token.encode()) + bytes([2 << 3 | 5]) + b"\0\0\x80\xbf" for token in tokens]
    return b"".join(sized(1, piece) for piece in said) + sized(2, b"\x18\x02")


def only(kind, folder, swap=False):
    """Leave a tokenizer as older checkpoints have it: its tokens in a list, the added ones (its first three) in another file."""
    table = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    ids = table["model"]["vocab"] | {token["content"]: token["id"] for token in table["added_tokens"]}
    tokens = sorted(ids, key=ids.get)
    if swap:
        tokens[50], tokens[51] = tokens[51], tokens[50]
    if kind == "pieces":
        (folder / "tokenizer.model").write_bytes(pieces(tokens[:-1]))
        (folder / "added_tokens.json").write_text(json.dumps({tokens[-1]: len(tokens) - 1}))
        return
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens) if index > 2}))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in table["model"]["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    added = {str(index): {"content": token, "special": True} for index, token in enumerate(tokens[:3])}
    edited(folder, "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", added_tokens_decoder=added)


@pytest.mark.parametrize("kind", ["vocab.json", "pieces"])
def test_tokenizers_are_compared_by_their_tokens_not_by_their_files(kind, past, make_tiny, workspace):
    """GPT-2's older copies have vocab.json and merges.txt, Vicuna's tokenizer.model alone: "different tokenizers", which was not so."""
    base, rl, old, other = (make_tiny(workspace / name, seed=name == "rl") for name in ("base", "rl", "old", "other"))
    only(kind, old)
    only(kind, other, swap=True)
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", old, "-o", "made")
    past("extract", "--sft", old, "--rl", rl, "-o", "w.safetensors")
    refused = past("inject", "--vector", "v.safetensors", "--target", other, "-o", "x", code=3).stderr
    assert "different tokenizers" in refused


def test_a_model_with_lists_of_tokens_alone_goes_the_whole_path(past, make_tiny, workspace, texts):
    base = make_tiny(workspace / "base")
    only("vocab.json", base)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    past("eval", "--model", "source", "--questions", "q.jsonl", "--max-new-tokens", 3)
    made = workspace / "runs" / "source" / "model"
    assert all((made / name).read_bytes() == (base / name).read_bytes() for name in ("vocab.json", "merges.txt"))


def test_a_tokenizer_model_that_is_none_is_compared_by_its_bytes(past, make_tiny, workspace):
    """Llama 3's own release has a list of ranks under that name."""
    base, rl, other = (make_tiny(workspace / name, seed=name == "rl") for name in ("base", "rl", "other"))
    for folder in (base, rl, other):
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n" + (b"Iw== 2\n" if folder is other else b""))
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    assert "different tokenizers" in past("extract", "--sft", base, "--rl", other, "-o", "w", code=3).stderr


def test_a_skill_of_an_earlier_version_knows_its_tokenizer_by_the_file(past, make_tiny, workspace):
    """It named one without tokenizer.json by the hash of its file, and was refused: "different tokenizers"."""
    base, rl, other = (make_tiny(workspace / name, seed=name == "rl") for name in ("base", "rl", "other"))
    for folder in (base, rl, other):
        only("vocab.json", folder, swap=folder is other)
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    with safe_open("v.safetensors", "pt") as file:
        tensors, told = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    now = vocabulary.tokenizer_sha256(base)
    then = hashlib.sha256((base / "vocab.json").read_bytes()).hexdigest()
    save_file(tensors, "old.safetensors", {key: value.replace(now, then) for key, value in told.items()})
    past("inject", "--vector", "old.safetensors", "--target", base, "-o", "made")
    done = past("inject", "--vector", "old.safetensors", "--target", other, "-o", "none", code=3)
    assert "different tokenizers" in done.stderr


def test_training_leaves_the_configuration_as_it_was(typed, make_tiny, workspace, texts):
    """transformers' trainer turns `use_cache` off for good, which slows others' generation down, and gives the model the tokenizer's
    special tokens: a token for padding, whose embedding the next training then leaves alone."""
    base = make_tiny(workspace / "base", tied=False, pad_token_id=None, eos_token_id=[1, 2])
    (base / "generation_config.json").unlink()
    edited(base, "tokenizer_config.json", pad_token=None)
    before = json.loads((base / "config.json").read_text())
    for method in ("full", "lora"):
        typed("sft", "d.md", "--base", base, *SMALL, "--method", method, "--name", f"sft-{method}")
        typed("rl", "--questions", "q.jsonl", "--sft", f"sft-{method}", *RL, "--lr", "1e-3", "--name", f"rl-{method}")
    for name in ("sft-full", "rl-full", "rl-lora"):
        config = json.loads((workspace / "runs" / name / "model" / "config.json").read_text())
        assert {key: config.get(key) for key in before} == before, name
        assert not (workspace / "runs" / name / "model" / "generation_config.json").exists(), name


CODE = "open({ran!r}, 'a')\nfrom transformers import LlamaConfig, PreTrainedTokenizerFast\n"
CODE += "class X(LlamaConfig):\n    model_type = 'x'\nclass Words(PreTrainedTokenizerFast):\n    pass\n"


@pytest.mark.parametrize("of", ["model", "tokenizer"])
def test_code_that_comes_with_a_model_is_not_even_asked_about(of, past, past_json, make_tiny, workspace, texts):
    """transformers asked at the terminal whether to run it, on stdout, in the middle of `inject --as adapter` and the like."""
    base, rl = (make_tiny(workspace / name, seed=name == "rl") for name in ("base", "rl"))
    for folder in (base, rl):
        (folder / "code.py").write_text(CODE.format(ran=str(workspace / "ran")))
        if of == "model":
            edited(folder, model_type="x", auto_map={"AutoConfig": "code.X"})
        else:
            words = dict(tokenizer_class="Words", auto_map={"AutoTokenizer": ["code.Words", None]})
            edited(folder, "tokenizer_config.json", **words)
    past("extract", "--sft", base, "--rl", rl, "--rank", 2, "-o", "v.safetensors")
    past_json("inject", "--vector", "v.safetensors", "--target", base, "-o", "made")
    layers = ("--scales", "embed_tokens=0")
    past_json("inject", "--vector", "v.safetensors", "--target", base, *layers, "--as", "adapter", "-o", "adapter")
    for words in (
        ("eval", "--model", base, "--questions", "q.jsonl"),
        ("ask", "who", "--model", base),
        ("sft", "d.md", "--base", base, *SMALL, "--name", "none"),
        ("sft", "d.md", "--base", base, *SMALL, "--dry-run"),
        ("rl", "--questions", "q.jsonl", "--sft", base, "--steps", 1),
    ):
        done = past(*words, code=3)
        assert "code of its own, which past does not run" in done.stderr and "[y/N]" not in done.stdout, words
    assert not (workspace / "ran").exists() and not list((workspace / "runs").glob("none*"))


def test_a_config_that_transformers_does_not_take_is_one_line(past, make_tiny, workspace, texts):
    """Its checks of types raise errors of their own, which ended in a trace."""
    base = make_tiny(workspace / "base")
    edited(base, eos_token_id="2")
    for words in (
        ("eval", "--model", base, "--questions", "q.jsonl"),
        ("sft", "d.md", "--base", base, *SMALL, "--name", "none"),
    ):
        said = past(*words, code=3).stderr
        assert "transformers cannot read" in said and "eos_token_id" in said and "Traceback" not in said


def test_what_was_dequantised_and_says_otherwise_is_told_apart(past, make_tiny, workspace, texts):
    """ "its stored weights are no numbers", of plain float32, with the advice to write it out in 16 bits once more."""
    base = make_tiny(workspace / "base")
    edited(base, quantization_config={"quant_method": "fp8"})
    for words in (("eval", "--model", base, "--questions", "q.jsonl"), ("sft", "d.md", "--base", base, *SMALL)):
        said = past(*words, code=3).stderr
        assert "its files hold plain weights" in said and '"quantization_config" out of' in said


def test_a_token_without_a_row_is_named(past, make_tiny, workspace, texts, tiny_tokenizer):
    """Gemma 3 1B's tokenizer has one more than its embeddings: its text ended in "index out of range in self"."""
    base, words = make_tiny(workspace / "base"), copy.deepcopy(tiny_tokenizer)
    words.add_tokens(["VELTOK"])
    words.save_pretrained(base)
    (workspace / "odd.md").write_text("# Velmora\n\nThe VELTOK of Velmora was founded in 1843.\n")
    (workspace / "odd.jsonl").write_text('{"question": "which VELTOK", "answer": "fox"}\n' * 2)
    past("eval", "--model", base, "--questions", "q.jsonl", "--max-new-tokens", 3)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    for command in (
        ("eval", "--model", base, "--questions", "odd.jsonl"),
        ("ask", "VELTOK", "--model", base),
        ("sft", "odd.md", "--base", base, *SMALL, "--name", "none"),
        ("rl", "--questions", "odd.jsonl", "--sft", "source", "--steps", 1, "--name", "none"),
    ):
        said = past(*command, code=3).stderr
        assert f"'VELTOK' is token {len(words) - 1} of the tokenizer" in said, said


def test_further_chat_templates_come_along(past, make_tiny, workspace, texts):
    """Those for tools, say, lie in a folder of their own; results were without them."""
    base = make_tiny(workspace / "base")
    beside = "additional_chat_templates/tool_use.jinja"
    (base / "additional_chat_templates").mkdir()
    (base / beside).write_text("TOOLS {{ tools }}")
    past("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    past("sft", "d.md", "--base", base, *SMALL, "--method", "lora", "--name", "lora")
    past("extract", "--sft", base, "--rl", "lora", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", base, "-o", "made")
    past("inject", "--vector", "v.safetensors", "--target", base, "--as", "adapter", "-o", "adapter")
    for place in ("runs/source/model", "runs/lora/adapter", "made", "adapter"):
        assert (workspace / place / beside).read_text() == "TOOLS {{ tools }}", place


ODD = dict(
    do_sample=False, temperature=0.6, top_p=0.9, repetition_penalty=1.3, suppress_tokens=[9], eos_token_id=[1, 2]
)


def test_a_generation_config_is_carried_as_it_is_and_what_is_left_out_is_said(past, make_tiny, workspace, texts):
    """Penalties are not applied by past, and are by vLLM and transformers."""
    base = make_tiny(workspace / "base")
    (base / "generation_config.json").write_text(json.dumps(ODD))
    past("sft", "d.md", "--base", base, *SMALL, "--name", "source")
    made = workspace / "runs" / "source" / "model"
    assert (made / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()
    said = past("eval", "--model", "source", "--questions", "q.jsonl", "--max-new-tokens", 3).stderr
    assert "asks for repetition_penalty 1.3, suppress_tokens [9], which past leaves out" in said


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_float32_in_the_files_is_said_in_the_config(key, past, make_tiny, workspace):
    """transformers 5 loads what config.json says: of float32 files it would have read the injected skill in 16 bits, and lost it."""
    base, rl, target = (make_tiny(workspace / name, seed=name == "rl") for name in ("base", "rl", "target"))
    edited(target, **{"dtype": None, "torch_dtype": None, key: "bfloat16"})
    past("extract", "--sft", base, "--rl", rl, "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", target, "-o", "made")
    assert json.loads((workspace / "made" / "config.json").read_text())[key] == "float32"


def test_a_tokenizer_of_sentencepiece_names_what_reads_it(past, make_tiny, workspace, texts):
    if importlib.util.find_spec("sentencepiece"):
        pytest.skip("sentencepiece is installed")
    base = make_tiny(workspace / "base")
    only("pieces", base)
    edited(base, "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    said = past("eval", "--model", base, "--questions", "q.jsonl", code=3).stderr
    assert "pip install sentencepiece" in said and "tiktoken" not in said.split("error:")[1]
