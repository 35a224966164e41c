"""LoRA adapters as results: what PEFT loads is what was injected, and nothing about this machine is in them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import HUB
from vectors_tools import write_adapter

from pastcli import adapters, models
from pastcli.errors import MismatchError

Q, UP, EMBED = (
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.up_proj.weight",
    "model.embed_tokens.weight",
)
SHAPES = {Q: (32, 32), UP: (64, 32)}


def factors(seed, rank, names=(Q, UP)):
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.standard_normal((rank, SHAPES[name][1])).astype(np.float32) * 0.3,
            rng.standard_normal((SHAPES[name][0], rank)).astype(np.float32) * 0.3,
        )
        for name in names
    }


def logits(folder, adapter=None, merge=False):
    """What transformers (and PEFT) make of a directory, without any of our code."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
        model = model.merge_and_unload() if merge else model
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits.numpy()


@pytest.fixture
def skill(past_json, make_tiny, workspace):
    """(base directory, skill of rank 2 on it)."""
    base = make_tiny(workspace / "base")
    write_adapter(workspace / "rl", factors(1, 2), base=base, alpha=2.0)
    past_json("extract", "--sft", base, "--rl", "rl", "-o", "v.safetensors")
    return base, workspace / "v.safetensors"


def test_an_adapter_loads_as_what_was_injected(skill, past, past_json, workspace):
    base, vector = skill
    past("inject", "--vector", vector, "--target", base, "--as", "adapter", "-o", "ad", "--scale", "0.5")
    past("inject", "--vector", vector, "--target", base, "-o", "whole", "--scale", "0.5")
    for merge in (False, True):
        np.testing.assert_allclose(logits(base, "ad", merge), logits("whole"), atol=2e-6)


def test_a_lora_target_and_the_skill_become_one_adapter_of_the_true_base(skill, past, past_json, workspace):
    """It used to name the target's adapter as its base: PEFT then loaded base + skill, without the SFT."""
    base, vector = skill
    write_adapter(workspace / "sft", factors(7, 4), base="../base", alpha=8.0)
    made = past("inject", "--vector", vector, "--target", "sft", "--as", "adapter", "-o", "both", "--json")
    assert "one" in made.stderr and json.loads(made.stdout)["metrics"]["rank"] == 6
    past("inject", "--vector", vector, "--target", "sft", "-o", "whole")
    np.testing.assert_allclose(logits(base, "both"), logits("whole"), atol=5e-6)
    config = json.loads((workspace / "both/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../base"
    questions = workspace / "q.jsonl"
    questions.write_text('{"question": "who", "answer": "fox"}\n')
    told = past_json("eval", "--model", "a=both", "--model", "m=whole", "--questions", questions)
    assert told["models"]["a"] == told["models"]["m"] | {"tokens": told["models"]["a"]["tokens"]}


def test_a_skill_on_tied_embeddings_is_no_adapter(past, past_json, make_tiny, workspace):
    """PEFT would change the input side only: 0.96 of the effect was missed with `kept 1.0` and no warning."""
    import torch
    from transformers import AutoModelForCausalLM

    base = make_tiny(workspace / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(3)
    model.model.embed_tokens.weight.data += torch.randn(len(model.model.embed_tokens.weight), 1) * 0.1
    model.model.layers[0].self_attn.q_proj.weight.data += torch.randn(32, 1) @ torch.randn(1, 32) * 0.01
    model.save_pretrained("rl")
    shutil.copy(base / "tokenizer.json", "rl")
    past_json("extract", "--sft", base, "--rl", "rl", "--rank", "1", "-o", "v.safetensors")
    words = ("inject", "--vector", "v.safetensors", "--target", base, "--as", "adapter", "-o", "ad")
    refused = past(*words, code=2).stderr
    assert "ties" in refused and "--scales embed_tokens=0" in refused and not (workspace / "ad").exists()
    past(*words, "--scales", "embed_tokens=0")
    past("inject", "--vector", "v.safetensors", "--target", base, "--scales", "embed_tokens=0", "-o", "whole")
    for merge in (False, True):
        np.testing.assert_allclose(logits(base, "ad", merge), logits("whole"), atol=2e-6)


def test_an_adapter_on_one_side_of_tied_embeddings_is_not_taken_for_a_model(past, make_tiny, workspace, questions_file):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = make_tiny(workspace / "base")
    wrapped = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"])
    )
    wrapped.save_pretrained("ad", save_embedding_layers=False)
    past("inject", "--vector", "none.safetensors", "--target", "ad", "-o", "x", code=2)
    for words in (
        ("extract", "--sft", base, "--rl", "ad", "-o", "v"),
        ("eval", "--model", "ad", "--questions", questions_file),
    ):
        assert "input side alone" in past(*words, code=3).stderr


@pytest.fixture
def questions_file(workspace):
    (workspace / "q.jsonl").write_text('{"question": "who", "answer": "fox"}\n')
    return workspace / "q.jsonl"


def test_an_output_named_like_a_format_is_a_folder_like_any_other(skill, past, workspace):
    base, vector = skill
    past("inject", "--vector", vector, "--target", base, "--as", "adapter", "-o", "x.hf")
    past("inject", "--vector", vector, "--target", base, "-o", "whole.hf")
    np.testing.assert_allclose(logits(base, "x.hf"), logits("whole.hf"), atol=2e-6)


def test_nothing_in_an_adapter_names_this_machine(skill, past, workspace):
    base, vector = skill
    past("inject", "--vector", vector, "--target", base, "--as", "adapter")
    folder = next((workspace / "runs").glob("inject*/adapter"))
    for file in folder.iterdir():
        assert str(workspace).encode() not in file.read_bytes(), file.name
    assert adapters.base_of(folder).path.resolve() == base


def test_a_base_is_found_after_a_move_and_not_mistaken_for_another(skill, past, make_tiny, workspace):
    base, vector = skill
    past("inject", "--vector", vector, "--target", base, "--as", "adapter", "-o", "ad")
    (workspace / "deep").mkdir()
    moved = (workspace / "ad").rename(workspace / "deep/ad")
    assert adapters.base_of(moved).path == base, "remembered on this machine"
    make_tiny(workspace / "deep/base", seed=5)
    with pytest.raises(MismatchError, match="made for"):
        adapters.base_of(moved)


def test_a_hub_id_is_resolved_through_the_cache_or_by_base(skill, past, past_json, workspace, questions_file):
    base, vector = skill
    write_adapter(workspace / "sft", factors(7, 4), base="nobody/fetched-model", alpha=8.0)
    words = ("inject", "--vector", vector, "--target", "sft")
    assert "nobody/fetched-model" in past(*words, "-o", "no", code=3).stderr
    past(*words, "-o", "by-flag", "--base", base)
    snapshot = HUB / "models--nobody--fetched-model/snapshots" / ("a" * 40)
    shutil.copytree(base, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs/main").write_text("a" * 40)
    past(*words, "-o", "by-cache")
    np.testing.assert_array_equal(logits("by-flag"), logits("by-cache"))
    past("eval", "--model", "sft", "--questions", questions_file)
    past(*words, "--as", "adapter", "-o", "ad")
    config = json.loads((workspace / "ad/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "nobody/fetched-model"
    assert models.read_note(workspace / "ad")["base"] == "nobody/fetched-model"


def fetched(model, repo, commit, main=True):
    """Put a model into the hub's cache as the hub client does."""
    folder = HUB / f"models--{repo.replace('/', '--')}"
    shutil.copytree(model, folder / "snapshots" / (commit * 40))
    (folder / "refs").mkdir(exist_ok=True)
    if main:
        (folder / "refs/main").write_text(commit * 40)
    return folder / "snapshots" / (commit * 40)


def test_an_adapter_keeps_its_base_when_the_hub_moves_on(skill, past, past_json, make_tiny, workspace, questions_file):
    """It was refused as made for another model, although that model lies in the cache beside the new one."""
    base, vector = skill
    old = fetched(base, "nobody/moves-on", "b")
    past("inject", "--vector", vector, "--target", "nobody/moves-on", "--as", "adapter", "-o", "ad")
    config = json.loads((workspace / "ad/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("nobody/moves-on", "b" * 40)
    new = fetched(make_tiny(workspace / "new", seed=5), "nobody/moves-on", "c")
    assert adapters.base_of(workspace / "ad").path == old
    (workspace / "ad/adapter_config.json").write_text(
        json.dumps(config | {"revision": None})
    )  # as past wrote it before
    assert adapters.base_of(workspace / "ad").path == old
    past("inject", "--vector", vector, "--target", "ad", "-o", "made", "--allow-stale")
    past("inject", "--vector", vector, "--target", base, "--scale", "2", "-o", "wanted")
    np.testing.assert_allclose(logits("made"), logits("wanted"), atol=1e-5)
    shutil.rmtree(old)
    with pytest.raises(MismatchError, match="made for"):
        adapters.base_of(workspace / "ad")
    shutil.rmtree(new)
    fetched(base, "nobody/moves-on", "d")  # a commit that changed the readme alone
    (workspace / "ad/adapter_config.json").write_text(json.dumps(config))
    assert adapters.base_of(workspace / "ad").path.name == "d" * 40


def test_the_revision_that_an_adapter_of_peft_names_is_taken(skill, past, make_tiny, workspace):
    """It was laid over the newest commit in the cache, whatever its configuration says; PEFT takes the one it names."""
    base, vector = skill
    fetched(base, "nobody/pinned", "a")
    fetched(make_tiny(workspace / "new", seed=5), "nobody/pinned", "b")
    write_adapter(workspace / "sft", factors(7, 4), base="nobody/pinned", alpha=8.0, revision="a" * 40)
    past("inject", "--vector", vector, "--target", "sft", "-o", "made")
    config = json.loads((workspace / "sft/adapter_config.json").read_text())
    (workspace / "sft/adapter_config.json").write_text(json.dumps(config | {"revision": "f" * 40}))
    assert f"at {'f' * 40}" in past("inject", "--vector", vector, "--target", "sft", "-o", "no", code=3).stderr
    shutil.copytree(base, workspace / "plain")
    write_adapter(workspace / "named", factors(7, 4), base=workspace / "plain", alpha=8.0)
    past("inject", "--vector", vector, "--target", "named", "-o", "by-path")
    np.testing.assert_array_equal(logits("made"), logits("by-path"))


def test_every_folder_says_what_it_is(past, past_json, make_tiny, workspace):
    """base_model, licence of the parents, tags, lineage, survival, settings; the tokenizer; no place of this machine."""
    base = make_tiny(workspace / "base")
    (base / "README.md").write_text("---\nlicense: cc-by-sa-4.0\ntags:\n- x\n---\n# Tiny\n")
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    past("sft", "d.md", "--base", base, "--epochs", "1", "--method", "lora", "--rank", "2", "--name", "one")
    past("sft", "d.md", "--base", base, "--epochs", "2", "--name", "two")
    past("extract", "--sft", base, "--rl", "one", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "two", "--dtype", "bf16", "-o", "made")
    past("inject", "--vector", "v.safetensors", "--target", "two", "--as", "adapter", "-o", "ad")
    for folder in (workspace / "runs/one/adapter", workspace / "runs/two/model", workspace / "made", workspace / "ad"):
        text = (folder / "README.md").read_text()
        assert 'license: "cc-by-sa-4.0"' in text and "parametric-skill-transfer" in text and "## Lineage" in text, text
        assert (folder / "tokenizer.json").is_file() and (folder / "chat_template.jinja").is_file()
        for file in folder.iterdir():
            assert str(workspace).encode() not in file.read_bytes(), f"{folder.name}/{file.name}"
    assert "survival: 0." in (workspace / "made/README.md").read_text()
    assert str(workspace).encode() not in (workspace / "v.safetensors").read_bytes()


def test_an_adapter_of_layers_whose_names_end_in_numbers_loads_in_peft(past, workspace, tiny_tokenizer):
    """Gemma 3n has `altup_projections.0`: named by its last part it would be every first layer of the model as well."""
    import more_architectures
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = more_architectures.make("Gemma 3n", workspace / "base", tiny_tokenizer)
    rng = np.random.default_rng(0)
    names = ("model.altup_projections.0", "model.altup_unembed_projections.0", "model.layers.1.self_attn.q_proj")
    sizes = {name: AutoModelForCausalLM.from_pretrained(base).get_submodule(name).weight.shape for name in names}
    factors = {
        f"{name}.weight": tuple(
            (0.3 * rng.standard_normal(shape)).astype(np.float32) for shape in ((2, columns), (rows, 2))
        )
        for name, (rows, columns) in sizes.items()
    }
    write_adapter(workspace / "trained", factors, base=base, alpha=4.0)
    past("extract", "--sft", "base", "--rl", "trained", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "base", "--as", "adapter", "-o", "ad")
    past("inject", "--vector", "v.safetensors", "--target", "base", "-o", "merged")
    ids = torch.tensor([[5, 9, 200, 31]])
    with torch.no_grad():
        plain, merged = (AutoModelForCausalLM.from_pretrained(place).eval()(ids).logits for place in ("base", "merged"))
        peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "ad").eval()(ids).logits
    assert (peft - merged).abs().max() < 1e-3 * (merged - plain).abs().max()
