"""Later versions of transformers, TRL, accelerate and PEFT: what they change without a word is told, and nothing is trained by it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import MethodType, SimpleNamespace

import families
import pytest
import torch
from train_tools import sft_rows
from typer.testing import CliRunner

from pastcli import cli, registry, tested
from pastcli.errors import PastError

SMALL = ("--mix", "none", "--epochs", 1, "--step-tokens", 200, "--lr", "1e-3", "--precision", "fp32", "--save-every", 1)
ASKED = [{"question": f"which river {i}?", "answer": "fox"} for i in range(4)]
FEW = ("--steps", 2, "--prompts-per-step", 2, "--num-generations", 4, "--max-new-tokens", 4, "--precision", "fp32")


@pytest.fixture
def type_here(workspace, monkeypatch):
    """`type_here("sft", …)` types a command into this process, whose libraries can be changed; gives what it ends with, and its hint."""
    load = registry.load
    length = lambda prompts, completions, **_: [len(set(text)) / 20 for text in completions]  # noqa: E731
    monkeypatch.setattr(registry, "load", lambda role, name: length if name == "length" else load(role, name))

    def call(*words):
        for name, rows in (("texts.jsonl", sft_rows()), ("questions.jsonl", ASKED)):
            Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = CliRunner().invoke(cli.app, [*map(str, words)])
        assert done.exit_code, done.output
        assert isinstance(done.exception, PastError), repr(done.exception)
        return f"{done.exception.message} -> {done.exception.hint}"

    return call


def renamed(monkeypatch, kind, caller, name):
    """A later release, in which `caller` does the work of method `name` under another name: nobody has written over that."""
    own, calls = getattr(kind, name), getattr(kind, caller)

    def changed(self, *words, **named):
        self.__dict__[name] = MethodType(own, self)
        try:
            return calls(self, *words, **named)
        finally:
            self.__dict__.pop(name)

    monkeypatch.setattr(kind, caller, changed)


@pytest.mark.parametrize(
    "stage, caller, name",
    [
        ("sft", "train", "create_scheduler"),
        ("sft", "train", "get_train_dataloader"),
        ("sft", "train", "_save_checkpoint"),
        ("rl", "_generate", "_generate_single_turn"),
        ("rl", "_compute_loss", "_get_per_token_logps_and_entropies"),
    ],
)
def test_a_library_that_does_under_another_name_what_past_does_itself_is_told(
    type_here, tiny_model, monkeypatch, stage, caller, name
):
    """Each of these trained to the end and said nothing: by the library's schedule, on one text of 25, without what `--resume` needs, on
    answers sampled otherwise, with padding before the prompts."""
    from transformers import Trainer
    from trl import GRPOTrainer

    renamed(monkeypatch, Trainer if stage == "sft" else GRPOTrainer, caller, name)
    monkeypatch.setitem(tested.TESTED, "transformers", "4.0")  # as if this one were newer
    words = {
        "sft": ("sft", "texts.jsonl", "--base", tiny_model, *SMALL),
        "rl": ("rl", "--sft", tiny_model, "--questions", "questions.jsonl", *FEW, "--reward", "length"),
    }[stage]
    told = type_here(*words)
    assert f"pass by what past does itself ({name})" in told
    assert "past was tested with 4.0" in told and "pip install 'transformers==4.0'" in told
    assert not list(Path("runs").glob("[!.]*"))


def test_a_method_that_checkpoints_need_and_that_is_gone_is_told(type_here, tiny_model, monkeypatch):
    """It was told to run again with --resume, where the same would happen."""
    monkeypatch.delattr("transformers.Trainer._save_rng_state")
    told = type_here("sft", "texts.jsonl", "--base", tiny_model, *SMALL)
    assert "checkpoint of step 1 cannot be written" in told and "_save_rng_state" in told
    assert f"pip install 'transformers=={tested.TESTED['transformers']}'" in told and "--resume" not in told


@pytest.fixture
def place(tmp_path):
    """A folder with the model of the self-test."""
    from past_hf.training import selftest

    selftest.made_model(tmp_path / "model")
    return tmp_path


def decay_all(monkeypatch):
    monkeypatch.setattr(
        "transformers.Trainer.get_decay_parameter_names", lambda self, model: [n for n, _ in model.named_parameters()]
    )


def clip_nothing(monkeypatch):
    def norm(self, parameters, *_, **__):
        return torch.nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])

    monkeypatch.setattr("accelerate.Accelerator.clip_grad_norm_", norm)


def weigh_the_loss_twice(monkeypatch):
    from trl import GRPOTrainer

    loss = GRPOTrainer._compute_loss
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda self, model, inputs: 2 * loss(self, model, inputs))


def advantages_of_the_batch(monkeypatch):
    from trl import GRPOConfig

    begin = GRPOConfig.__post_init__
    monkeypatch.setattr(
        GRPOConfig, "__post_init__", lambda self: (setattr(self, "scale_rewards", "batch"), begin(self))
    )


def scale_by_the_root(monkeypatch):
    from peft.tuners.lora import Linear

    def forward(self, x, *_, **__):
        a, b = self.lora_A["default"], self.lora_B["default"]
        return self.base_layer(x) + self.scaling["default"] * 2 * b(a(x))

    monkeypatch.setattr(Linear, "forward", forward)


@pytest.mark.parametrize(
    "change, check, told",
    [
        (None, "trouble", ""),
        (decay_all, "sft_off", "past sft gives other weights"),
        (clip_nothing, "sft_off", "past sft gives other weights"),
        (weigh_the_loss_twice, "rl_off", "past rl gives other"),
        (advantages_of_the_batch, "rl_off", "past rl gives other"),
        (scale_by_the_root, "lora_off", "past sft --method lora gives other answers"),
    ],
)
def test_doctor_knows_a_library_that_trains_by_other_numbers(place, monkeypatch, change, check, told):
    from past_hf.training import selftest

    if change is None:  # `trouble` makes its own
        place = place / "own"
        place.mkdir()
    else:
        change(monkeypatch)
    found = getattr(selftest, check)(place)
    assert found.startswith(told) if told else not found, found


@pytest.mark.parametrize("weighed", [1, 3])
def test_doctor_knows_where_a_card_or_several_processes_would_weigh_a_loss_otherwise(place, monkeypatch, weighed):
    """transformers' own step, which takes a step's texts in micro-batches: 4.46 changed how their losses are weighed."""
    from past_hf.training import selftest
    from past_hf.training.arguments import Machine
    from trl import SFTTrainer

    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, config, processes: cls(True, processes)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    loss = SFTTrainer.compute_loss
    monkeypatch.setattr(SFTTrainer, "compute_loss", lambda *words, **named: weighed * loss(*words, **named))
    assert bool(selftest.sft_off(place)) == (weighed != 1)


def test_a_check_of_doctor_that_falls_over_names_the_newer_libraries(monkeypatch):
    from past_hf.training import selftest

    doctor = import_module("past_hf.doctor")
    monkeypatch.setattr(selftest, "trouble", lambda folder: torch.no_such_name)
    monkeypatch.setitem(tested.TESTED, "trl", "1.0")
    name, good, detail, fix = doctor._training()
    assert (name, good, fix) == ("training", False, "pip install 'trl==1.0'") and "no_such_name" in detail
    assert "accelerate" in detail and "peft" in detail


def test_peft_that_adapts_other_layers_than_were_named_is_told(type_here, tiny_tokenizer, workspace, monkeypatch):
    """Under some names PEFT adapts the parameters that experts lie in, in a form that `past extract` refuses; which these are it alone
    knows. Where it is asked in vain, what it has made is looked at."""
    from past_hf import adaptable

    families.make("deepseek_v3", workspace, tiny_tokenizer, first_k_dense_replace=1)
    words = ("sft", "texts.jsonl", "--base", "base", *SMALL, "--method", "lora", "--lora-target", "down_proj")
    assert "PEFT would adapt experts under its name" in type_here(*words)
    monkeypatch.setattr(adaptable, "_fuses", lambda model, end: "")
    assert "PEFT adapts other layers than were named: model.layers." in type_here(*words)


def test_a_peft_that_cannot_be_asked_is_told_where_a_model_has_experts(tiny_model, monkeypatch):
    from past_hf import adaptable
    from peft.utils import transformers_weight_conversion as conversion
    from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

    monkeypatch.delattr(conversion, "convert_peft_config_for_transformers")
    usual = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert not adaptable.obstacles(usual, None)
    sizes = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2
    )
    with pytest.raises(PastError, match="does not say what it makes of layers named") as told:
        adaptable.obstacles(MixtralForCausalLM(MixtralConfig(vocab_size=64, num_local_experts=4, **sizes)), None)
    assert "pip install 'peft==" in told.value.hint


def test_a_transformers_that_does_not_say_of_which_class_a_model_is_is_told(tiny_model, monkeypatch):
    """Every model would have been made as one of text alone, its towers left out."""
    from past_hf.composite import without_weights
    from transformers.models.auto import modeling_auto

    assert without_weights(tiny_model)
    monkeypatch.delattr(modeling_auto, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
    with pytest.raises(PastError, match="of which class"):
        without_weights(tiny_model)


def test_a_transformers_that_cannot_be_told_to_take_one_card_is_told():
    from past_hf.training.arguments import Machine

    with pytest.raises(PastError, match="several cards"):
        Machine(True).one_card(SimpleNamespace(n_gpu=2))


def test_bfloat16_is_taken_where_the_processor_has_it(monkeypatch):
    """Asked by a private name, which a later torch may drop, every processor would count as one without."""
    from past_hf.compute import compute_dtype

    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    has = {"avx512_bf16", "amx_tile"} & set(flags)
    assert compute_dtype("auto") == (torch.bfloat16 if has else torch.float32)
    if hasattr(torch.cpu, "get_capabilities"):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.delattr(torch.cpu, name)
        assert compute_dtype("auto") == (torch.bfloat16 if has else torch.float32)


@pytest.mark.slow
def test_a_lora_on_the_packaged_gguf_finds_its_base_again(past, workspace, monkeypatch):
    """It was refused as made for another model: it had been trained on what the GGUF is converted to."""
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    past("sft", "d.md", "--base", "smol", "--method", "lora", "--mix", "none", "--epochs", 1, "--name", "low")
    past("ask", "--model", "runs/low", "When was the bridge founded?")
