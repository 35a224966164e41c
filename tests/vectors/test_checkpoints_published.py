"""What stands beside the weights of models as they are published, and what training leaves of it as it was."""

from __future__ import annotations

import json
import shutil

import families
import pytest
import torch
from peft import PeftModel
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
    "gamma and beta": (
        "bert",
        lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_files_under_names_that_transformers_no_longer_writes(kind, past, workspace, texts, tiny_tokenizer):
    """As they were saved of the inner model, or in BERT's time: what SFT wrote of them went by other names, and no skill could be taken."""
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
