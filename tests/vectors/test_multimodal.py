"""Models with towers for images or sound beside their language model: the whole path on text, and nothing of them lost on the way.

docs/MODELS.md holds the table that the slow test makes, as `test_architectures` does.
"""

from __future__ import annotations

import json
import shutil
import zlib
from importlib.metadata import version
from pathlib import Path

import architectures
import gguf_reference
import multimodal
import numpy as np
import pytest
import torch
from past_hf.checkpoint import HFFormat
from past_hf.composite import full_name, full_names
from past_hf.portable import portable_config
from safetensors.torch import load_file, save_file
from test_architectures import CLOSE, IDS, RL, SMALL, Walk, in_llama_cpp, told

from pastcli.vectors.files.opening import open_model

STEPS = ("sft", "rl", "extract", "inject", "probe", "activations", "eval", "LoRA", "towers")


@pytest.fixture
def documents(workspace):
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    rows = [{"question": f"which river {index}", "answer": "fox"} for index in range(4)]
    (workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workspace


def bits(folder: Path) -> dict[str, tuple[str, bytes]]:
    """(type, bytes) of every tensor, as they are stored."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, value in load_file(file).items():
            found[name] = (str(value.dtype), value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found


def same_but_for_text(made: Path, base: Path) -> None:
    """`made` is the model of `base` in class, names, files and every byte of its towers; its language model is another."""
    before, after = bits(base), bits(made)
    assert before.keys() == after.keys()
    one, two = (json.loads((place / "config.json").read_text()) for place in (base, made))
    parts = [key for key in one if key.endswith("_config") and key != "text_config"]
    assert two["architectures"] == one["architectures"] and parts and all(two[key] == one[key] for key in parts)
    for file in multimodal.PROCESSOR:
        assert (made / file).read_bytes() == (base / file).read_bytes(), file
    towers = [name for name in before if any(part in name for part in multimodal.TOWERS)]
    assert towers and all(before[name] == after[name] for name in towers)
    assert any(before[name][1] != after[name][1] for name in before if name not in towers)
    multimodal.logits(made, IDS)  # loads with no weight missing and none left over


def test_one_model_has_one_set_of_names(tiny_tokenizer, tmp_path):
    """Names of files old and new are those of the language model alone."""
    for name in ("Gemma 3 with images", "Qwen2.5-VL", "Qwen3-VL", "Llama 4", "SmolVLM"):
        folder = multimodal.make(name, tmp_path / name, tiny_tokenizer)
        ours = HFFormat().open(folder)
        language = {key for key in ours.specs() if key.startswith(("model.", "lm_head."))}
        assert {"model.embed_tokens.weight", "model.norm.weight"} < language, name
        towers = ours.specs().keys() - language
        assert towers and all(any(part in key for part in multimodal.TOWERS) for key in towers), name
        assert ours.tied == (not (language & {"lm_head.weight"})), name
        shutil.rmtree(folder)


def test_names_that_would_meet_stay_as_they_are():
    keys = ["model.visual.proj", "visual.proj"]
    assert full_names(keys) == {key: key for key in keys}
    assert full_name("language_model.lm_head.weight") == "lm_head.weight"
    assert full_name("model.text_model.layers.0.mlp.up_proj.weight") == "model.layers.0.mlp.up_proj.weight"
    assert full_name("model.visualise.weight") == "model.visualise.weight"


@pytest.mark.parametrize("name", ["Gemma 3 with images", "Qwen3.5"])
def test_training_on_text_leaves_the_rest_as_it_is(name, past, past_json, documents, tiny_tokenizer):
    """Class, names, shards, processor and the bytes of every tower; of Qwen3.5 also the layers that transformers leaves out."""
    base = multimodal.make(name, documents / "base", tiny_tokenizer, dtype="bfloat16", shard="200KB")
    plan = past_json("sft", "d.md", "--base", base, *SMALL, "--dry-run", "--card", 80)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "full")
    made = documents / "runs/full/model"
    same_but_for_text(made, base)
    assert len(list(made.glob("*.safetensors"))) == len(list(base.glob("*.safetensors"))) > 1
    beside = sum(
        spec.numel for key, spec in open_model(base).specs().items() if not key.startswith(("model.", "lm_head."))
    )
    further = 64 * 129 if name == "Qwen3.5" else 0
    assert plan["parameters"] - plan["trained"] == beside - further > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [(), ("--sharding", "full")], ids=["whole", "sharded"])
def test_several_processes_train_the_language_model_alone(how, past, documents, tiny_tokenizer):
    """They would wait for gradients of the towers; and shard by a layer that the class names and the model lacks."""
    base = multimodal.make("Gemma 3 with images", documents / "base", tiny_tokenizer, dtype="bfloat16")
    past("sft", "d.md", "--base", base, *SMALL, "--processes", 2, *how, "--name", "two", timeout=500)
    same_but_for_text(documents / "runs/two/model", base)


def test_a_model_that_asks_for_images_in_training_is_told_that_there_are_none(monkeypatch, tiny_tokenizer, tmp_path):
    """As Gemma 3 does in transformers 5.0; what it then computes is what it computes in evaluation."""
    from past_hf.composite import say_text_alone
    from transformers import AutoModelForImageTextToText, Gemma3Model

    model = AutoModelForImageTextToText.from_config(multimodal.configs()["Gemma 3 with images"]).train()
    forward, ids = Gemma3Model.forward, torch.tensor([IDS])
    wanted = model(input_ids=ids).logits

    def asking(self, input_ids=None, token_type_ids=None, **more):
        if self.training and token_type_ids is None:
            raise ValueError("`token_type_ids` is required as a model input when training")
        return forward(self, input_ids=input_ids, token_type_ids=token_type_ids, **more)

    monkeypatch.setattr(Gemma3Model, "forward", asking)
    with pytest.raises(ValueError, match="required"):
        model(input_ids=ids)
    say_text_alone(model)
    assert model.training and torch.allclose(model(input_ids=ids).logits, wanted, atol=1e-6)


def test_what_is_said_of_the_model_names_its_class(past, documents, tiny_tokenizer):
    """In the cards of results, and in the commands of refusals: `AutoModelForCausalLM` would leave the towers out, or not load at all."""
    base = multimodal.make("Qwen3.5", documents / "base", tiny_tokenizer)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "full")
    past("sft", "d.md", "--base", base, *SMALL, "--method", "lora", "--rank", 2, "--name", "low")
    for card in (documents / "runs/full/model/README.md", documents / "runs/low/adapter/README.md"):
        text = card.read_text()
        assert "AutoModelForImageTextToText.from_pretrained" in text and "AutoModelForCausalLM" not in text
        assert "processor = AutoProcessor" in text and 'pipeline_tag: "image-text-to-text"' in text
    packed, pickled = (shutil.copytree(base, documents / name) for name in ("packed", "pickled"))
    config = json.loads((base / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    (packed / "config.json").write_text(json.dumps(config))
    tensors = load_file(base / "model.safetensors")
    name = next(name for name in tensors if name.endswith("proj.weight"))
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, packed / "model.safetensors", {"format": "pt"})
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for model in (packed, pickled):
        said = past("extract", "--sft", model, "--rl", base, "-o", "v.safetensors", code=3).stderr
        assert "import AutoModelForImageTextToText as M" in " ".join(said.split()), said
    said = past("eval", "--model", pickled, "--questions", "q.jsonl", code=3).stderr
    assert "import AutoModelForImageTextToText as M" in " ".join(said.split()), said


def test_a_lora_is_on_the_language_model_alone(past, documents, tiny_tokenizer):
    base = multimodal.make("Gemma 3 with images", documents / "base", tiny_tokenizer)
    lora = ("sft", "d.md", "--base", base, *SMALL, "--method", "lora", "--rank", 2)
    said = past(*lora, "--lora-target", "mm_soft_emb_norm", "--name", "none", code=2).stderr
    assert "beside the language model" in said
    past(*lora, "--lora-target", "q_proj", "--name", "some")
    made = documents / "runs/some/adapter"
    assert all(".language_model." in key for key in load_file(made / "adapter_model.safetensors"))
    past("extract", "--sft", base, "--rl", "some", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", base, "-o", "whole")
    same_but_for_text(documents / "whole", base)
    past("inject", "--vector", "v.safetensors", "--target", base, "--as", "adapter", "-o", "ad")
    with_adapter, whole = peft_logits(base, documents / "ad"), multimodal.logits(documents / "whole", IDS)
    assert np.abs(with_adapter - whole).max() < 1e-2 * np.abs(whole - multimodal.logits(base, IDS)).max()


def test_an_adapter_under_older_names_is_applied(past, documents, tiny_tokenizer):
    """PEFT passes over the names that modules of Qwen2.5-VL had before transformers 4.52: it answers as if there were no adapter."""
    from past_hf.materialize import load_model

    base = multimodal.make("Qwen2.5-VL", documents / "base", tiny_tokenizer)
    lora = (
        "--method",
        "lora",
        "--rank",
        2,
        "--lora-target",
        "q_proj",
        "--alpha-pattern",
        "layers.0.self_attn.q_proj=9",
    )
    past("sft", "d.md", "--base", base, *SMALL, *lora, "--name", "l")
    adapter = documents / "adapter"
    shutil.copytree(documents / "runs/l/adapter", adapter)
    read = lambda: load_model(adapter, torch.float32).eval()(input_ids=torch.tensor([IDS])).logits  # noqa: E731
    with torch.no_grad():
        wanted = read()
    multimodal.rename(adapter, lambda key: key.replace("model.language_model.layers", "model.layers"))
    settings = json.loads((adapter / "adapter_config.json").read_text()) | {
        "target_modules": ["q_proj"],
        "alpha_pattern": {"model.layers.0.self_attn.q_proj": 9.0},
    }
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with torch.no_grad():
        found = read()
    assert torch.equal(found, wanted)
    past("inject", "--target", base, "--vector", _skill(past, base, adapter), "-o", "made")
    assert np.abs(multimodal.logits(documents / "made", IDS) - wanted[0].numpy()).max() < 1e-5
    multimodal.rename(adapter, lambda key: key.replace("layers.1.", "layers.7."))
    said = past("eval", "--model", adapter, "--questions", "q.jsonl", code=3).stderr
    assert "layers.7" in said


def _skill(past, base: Path, adapter: Path) -> str:
    past("extract", "--sft", base, "--rl", adapter, "-o", "v.safetensors")
    return "v.safetensors"


def test_weights_that_are_not_there_are_not_made_up(past, documents, tiny_tokenizer):
    """transformers fills them in at random, and only warns."""
    base = multimodal.make("Qwen2.5-VL", documents / "base", tiny_tokenizer)
    multimodal.rename(base, lambda key: key.replace("model.layers.1.", "decoder.layers.1."))
    said = past("eval", "--model", base, "--questions", "q.jsonl", code=3).stderr
    assert "holds no weights for model.language_model.layers.1." in said and "at random" in said


def test_a_model_that_could_not_be_written_is_not_trained(past, documents, tiny_tokenizer):
    """Tensors under two names for one part: transformers takes either, and a result would leave one as it was."""
    base = multimodal.make("Mistral 3", documents / "base", tiny_tokenizer)
    twice = load_file(base / "model.safetensors")
    both = {f"model.{key}": value for key, value in twice.items() if "projector.linear_1" in key}
    multimodal.rename(base, lambda key: key, both)
    said = past("sft", "d.md", "--base", base, *SMALL, "--name", "none", code=1).stderr
    assert "has no place for" in said and not (documents / "runs/none").exists()


def test_rotary_settings_that_version_4_does_not_know_stay_as_they_are():
    """A key of version 4 beside them is what version 5 would read, or fail on."""
    from transformers import Gemma4TextConfig

    config = Gemma4TextConfig().to_dict()
    assert portable_config(config).get("rope_scaling") is None
    mrope = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}}
    assert portable_config(mrope)["rope_scaling"] == {"rope_type": "default", "mrope_section": [2, 3, 3]}


# ---------------------------------------------------------------- the language model alone


def moved(source: Path, folder: Path) -> Path:
    """`source` with every matrix of its language model changed, by whatever name it goes, and nothing else."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    for name, value in tensors.items():
        if value.dim() == 2 and not any(part in name for part in multimodal.TOWERS):
            random = torch.Generator().manual_seed(zlib.crc32(full_name(name).encode()))
            value += 0.05 * value.std() * torch.randn(value.shape, generator=random)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", multimodal.LLAMA_CPP)
def test_a_gguf_holds_the_language_model(name, typed, documents, tiny_tokenizer):
    """A skill of the whole model goes into its GGUF and into the whole model, whose GGUF computes what transformers does."""
    base = multimodal.make(name, documents / "base", tiny_tokenizer)
    alone = multimodal.language(name, base, documents / "alone", tiny_tokenizer)
    gguf = gguf_reference.reference(name, alone, documents / "base.gguf", multimodal.LLAMA_CPP[name])
    typed("extract", "--sft", base, "--rl", moved(base, documents / "rl"), "-o", "v.safetensors")
    target = ("inject", "--vector", "v.safetensors", "--target")
    typed(*target, base, "-o", "made")
    typed(*target, base, "-o", "made.gguf", "--template", gguf, "--dtype", "f32")
    typed(*target, gguf, "-o", "direct.gguf")
    typed("export", "--model", "made", "-o", "exported.gguf", "--template", gguf, "--dtype", "f32")
    wanted = multimodal.logits(documents / "made", IDS)
    assert np.abs(wanted - multimodal.logits(base, IDS)).max() > 0.1 * wanted.std()
    for file in ("made.gguf", "direct.gguf", "exported.gguf"):
        assert np.abs(in_llama_cpp(documents / file) - wanted).max() < CLOSE * wanted.std(), file


def test_a_skill_fits_the_language_model_alone_and_back(past, documents, tiny_tokenizer):
    """The class without towers and the class with them have one language model."""
    base = multimodal.make("Gemma 3 with images", documents / "base", tiny_tokenizer)
    alone = multimodal.language("Gemma 3 with images", base, documents / "alone", tiny_tokenizer)
    for source in (base, alone):
        past("extract", "--sft", source, "--rl", moved(source, documents / "rl"), "-o", f"{source.name}.safetensors")
        shutil.rmtree(documents / "rl")
    made = {}
    for skill in (base, alone):
        for target in (base, alone):
            out = documents / f"{skill.name}-{target.name}"
            said = past("inject", "--vector", f"{skill.name}.safetensors", "--target", target, "-o", out.name)
            assert (skill == target) != ("language model alone" in said.stderr), said.stderr
            made[skill.name, target.name] = architectures.logits(out, IDS)
    same_but_for_text(documents / "alone-base", base)
    assert np.abs(made["base", "base"] - multimodal.logits(base, IDS)).max() > 0.01
    for pair in made.values():
        np.testing.assert_allclose(pair, made["base", "base"], atol=1e-5)


def test_a_skill_that_changes_a_tower_does_not_fit_a_language_model(past, documents, tiny_tokenizer):
    base = multimodal.make("Gemma 3 with images", documents / "base", tiny_tokenizer)
    alone = multimodal.language("Gemma 3 with images", base, documents / "alone", tiny_tokenizer)
    other = moved(base, documents / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["multi_modal_projector.mm_soft_emb_norm.weight"] += 1
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    past("extract", "--sft", base, "--rl", other, "-o", "v.safetensors")
    said = past("inject", "--vector", "v.safetensors", "--target", alone, "-o", "made", code=3).stderr
    assert "changes multi_modal_projector.mm_soft_emb_norm.weight, which lies beside the language model" in said


# ---------------------------------------------------------------- the whole path


def peft_logits(folder: Path, adapter: Path) -> np.ndarray:
    from peft import PeftModel
    from transformers import AutoConfig

    how = dict(dtype=torch.float32, attn_implementation="eager")
    auto = multimodal.reader(AutoConfig.from_pretrained(folder))
    model = PeftModel.from_pretrained(auto.from_pretrained(folder, **how), adapter).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits[0].numpy()


def walk(name: str, typed, tokenizer, folder: Path) -> list[str]:
    hf, go = multimodal.make(name, folder / "base", tokenizer), Walk(typed)
    probe = ("probe-orthogonality", "--base", hf, "--sft", "source", "--rl", "rl", "--target-sft", "target")

    def activations():
        found = typed(*probe, "--activations", "d.md")
        assert found["interference"]["layers"] > 2, "layers were visited"

    def lora():
        typed("sft", "d.md", "--base", hf, *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
        typed("extract", "--sft", hf, "--rl", "lora", "-o", "low.safetensors")
        typed("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "ad")
        typed("inject", "--vector", "low.safetensors", "--target", "target", "-o", "merged")
        target = folder / "runs/target/model"
        peft, merged, plain = (
            peft_logits(target, folder / "ad"),
            *(multimodal.logits(place, IDS) for place in (folder / "merged", target)),
        )
        assert np.abs(peft - merged).max() < 1e-2 * np.abs(merged - plain).max(), "PEFT gives what the injection gives"

    def towers():
        for place in ("runs/source/model", "runs/rl/model", "made", "merged"):
            same_but_for_text(folder / place, hf)

    go("sft", lambda: go.train(hf))
    go("rl", lambda: typed("rl", "--questions", "q.jsonl", "--sft", "source", *RL, "--lr", "1e-3", "--name", "rl"))
    go("extract", lambda: typed("extract", "--sft", "source", "--rl", "rl", "-o", "v.safetensors"))
    go("inject", lambda: go.inject(folder))
    go("probe", lambda: typed(*probe))
    go("activations", activations)
    go("eval", lambda: typed("eval", "--model", "made=made", "--questions", "q.jsonl"))
    go("LoRA", lora)
    go("towers", towers)
    return [go.cells[step] for step in STEPS]


BROKEN = pytest.mark.xfail(
    version("transformers") == "5.24.0",
    strict=True,
    reason="its Llama4ForConditionalGeneration asks its language model's output for `image_outputs`, which that has not",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=BROKEN if name == "Llama 4" else ()) for name in multimodal.NAMES]
)
def test_the_path_of_models_with_towers(name, typed, tiny_tokenizer, documents):
    told(name, walk(name, typed, tiny_tokenizer, documents), list(multimodal.NAMES))
    shutil.rmtree(documents / "runs", ignore_errors=True)
