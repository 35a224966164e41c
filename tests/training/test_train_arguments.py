"""What reaches TRL, PEFT and accelerate: cards, LoRA variants, optimisers, vLLM."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from train_tools import RL, SFT, job_of, rl_rows, sft_rows, variety, weights

from pastcli import qa
from pastcli.errors import PastError, UsageError


@pytest.fixture
def sft(tmp_path, tiny_model):
    from past_hf.training import HFTrainer

    def call(model=tiny_model, **changes):
        config = dataclasses.replace(SFT, epochs=1, **changes)
        return HFTrainer().sft(job_of(tmp_path, "sft", model, sft_rows(), config))

    return call


@pytest.fixture
def two_cards(monkeypatch):
    """A process that believes in cards and sees two; it computes on the processor all the same."""
    from past_hf.training.arguments import Machine

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(Machine, "here", classmethod(lambda cls, config, processes: cls(True, processes)))


def test_one_process_with_two_cards_in_sight_trains_on_one(sft, two_cards):
    from past_hf.training.arguments import Machine, common
    from transformers import TrainingArguments

    made = sft()  # nn.DataParallel would have been refused by TRL, or broken the model
    assert made.steps > 1 and made.initial_hash != made.final_hash
    arguments = TrainingArguments(output_dir="x", report_to="none")
    assert arguments.n_gpu == 2  # what would have happened
    assert Machine(True).one_card(arguments).n_gpu == 1 and not common.__defaults__


def test_stock_path_on_one_process_gives_the_numbers_of_the_tuned_one(sft, two_cards, monkeypatch):
    stock = weights(sft())
    monkeypatch.undo()
    tuned = weights(sft())
    for name in stock:
        torch.testing.assert_close(stock[name], tuned[name], rtol=0, atol=1e-5)


def test_checkpointed_activations_change_no_number(sft):
    plain, checkpointed = weights(sft()), weights(sft(gradient_checkpointing="on"))
    for name in plain:
        torch.testing.assert_close(plain[name], checkpointed[name], rtol=0, atol=1e-6)


def test_lora_variants_are_in_the_adapter_and_in_its_ranks(sft):
    made = sft(
        method="lora",
        rank=4,
        alpha=8,
        rslora=True,
        lora_target=["q_proj", "down_proj"],
        rank_pattern=["q_proj=2"],
        alpha_pattern=["layers.0.mlp.down_proj=16"],
    )
    config = json.loads((made.path / "adapter_config.json").read_text())
    assert config["use_rslora"] and set(config["target_modules"]) == {"q_proj", "down_proj"}
    ranks = {name: tensor.shape[0] for name, tensor in weights(made).items() if "lora_A" in name}
    assert {rank for name, rank in ranks.items() if "q_proj" in name} == {2}
    assert {rank for name, rank in ranks.items() if "down_proj" in name} == {4}
    from past_hf.adapter import LoraFormat

    factors = LoraFormat().open(made.path).factors("model.layers.0.mlp.down_proj.weight")
    assert factors.scale == pytest.approx(16 / 4**0.5)  # the pattern's alpha over the root of the rank


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(lora_target=["q_prj"]), "the model has no such layer"),
        (dict(lora_target=["lm_head"]), "output layer cannot carry a LoRA"),
        (dict(lora_target=["embed_tokens"]), "tied to its output layer"),
        (dict(rank_pattern=["q_proj"]), "write PATTERN=NUMBER"),
        (dict(alpha_pattern=["q_proj=0"]), "above 0"),
        (dict(optimizer="adamw_8bit"), "--optimizer adamw_8bit needs bitsandbytes, which is not installed"),
        (dict(quantize="4bit"), "--quantize needs bitsandbytes, which is not installed"),
        (dict(quantize="4bit", method="full"), "--quantize needs --method lora"),
    ],
)
def test_what_no_lora_or_optimiser_can_do_is_refused(sft, changes, message, monkeypatch):
    absent(monkeypatch, "bitsandbytes")
    with pytest.raises(UsageError, match=message):
        sft(**{"method": "lora", **changes})


def absent(monkeypatch, package, present=False):
    from transformers.utils import is_bitsandbytes_available

    is_bitsandbytes_available()  # transformers remembers what it found: let it be the truth
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: (present or None) if n == package else find(n, *a))


def test_eight_bit_adamw_holds_its_moments_in_bytes_and_resumes(tmp_path, make_tiny):
    pytest.importorskip("bitsandbytes")
    from past_hf.training import HFTrainer

    config = dataclasses.replace(SFT, optimizer="adamw_8bit", epochs=1, save_every=3)
    wide = make_tiny(tmp_path / "wide", hidden_size=64, intermediate_size=128)  # smaller tensors stay in float32

    def job(name, **more):
        return job_of(tmp_path / name, "sft", wide, sft_rows(), config, **more)

    straight = HFTrainer().sft(job("straight"))
    kept, *_ = sorted((tmp_path / "straight" / "state").glob("checkpoint-*"))
    moments = torch.load(kept / "optimizer.pt", weights_only=True)["state"]
    packed = [inner for state in moments.values() for inner in state.values() if isinstance(inner, dict)]
    assert {state["state1"].dtype for state in packed if state["state1"].numel() == 64 * 128} == {torch.uint8}
    resumed = HFTrainer().sft(job("straight", resume=True))
    assert resumed.final_hash == straight.final_hash and straight.log[-1]["loss"] < straight.log[0]["loss"]


def test_exactly_these_arguments_pack_the_base():
    pytest.importorskip("bitsandbytes")
    from past_hf.training.arguments import Machine
    from past_hf.training.packing import packed

    config = dataclasses.replace(SFT, method="lora", quantize="4bit", precision="bf16")
    wanted = dict(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
    made = packed(config, Machine(True))
    assert made.load_in_4bit and {name: getattr(made, name) for name in wanted} == wanted
    with pytest.raises(UsageError, match="whole models only"):
        packed(config, Machine(True, 2, sharded=True))


def unpacked(model, folder):
    """The tiny model with what four bits keep of its linear layers, written as a model of its own."""
    from bitsandbytes.functional import dequantize_4bit
    from past_hf.materialize import load_model, load_tokenizer
    from past_hf.training.arguments import Machine
    from past_hf.training.packing import packed

    config = dataclasses.replace(SFT, method="lora", quantize="4bit")
    four = load_model(model, torch.float32, "eager", packed(config, Machine(False)))
    whole = load_model(model, torch.float32, "eager")
    lost = 0.0
    for name, module in four.named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = whole.get_submodule(name).weight
            kept = dequantize_4bit(module.weight.data, module.weight.quant_state).to(torch.float32)
            lost = max(lost, float((kept - weight.data).norm() / weight.data.norm()))
            weight.data = kept
    assert 0.02 < lost < 0.2, "four bits lose something, and not everything"
    whole.save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)
    return folder


def test_a_layer_that_does_not_come_out_of_four_bits_as_it_went_in_is_refused(sft, monkeypatch):
    functional = pytest.importorskip("bitsandbytes.functional")
    unpack = functional.dequantize_4bit
    monkeypatch.setattr(functional, "dequantize_4bit", lambda *given: unpack(*given).roll(1))
    with pytest.raises(PastError, match="unpacks rows of 32 entries wrongly on this processor"):
        sft(method="lora", quantize="4bit")


def test_a_packed_layer_that_gives_no_gradient_after_an_evaluation_is_refused(sft, make_tiny, tmp_path, monkeypatch):
    """Seen with bitsandbytes 0.50 on processors with AVX512-BF16: what RL decodes with, its LoRA cannot learn through."""
    layers = pytest.importorskip("bitsandbytes.nn")
    forward = layers.Linear4bit.forward

    def switched(self, x):
        self.was_evaluated = getattr(self, "was_evaluated", False) or not self.training
        return forward(self, x.detach() if self.was_evaluated else x)

    monkeypatch.setattr(layers.Linear4bit, "forward", switched)
    wide = make_tiny(tmp_path / "wide", hidden_size=64, intermediate_size=128)
    with pytest.raises(PastError, match="no gradient through a packed layer once it was evaluated"):
        sft(wide, method="lora", quantize="4bit")


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_lora_over_a_packed_base_trains_what_the_unpacked_one_says(tmp_path, make_tiny, stage):
    pytest.importorskip("bitsandbytes")
    tiny_model = make_tiny(tmp_path / "wide", hidden_size=64, intermediate_size=128)
    from past_hf.adapter import LoraFormat
    from past_hf.training import HFTrainer

    config, rows = (dataclasses.replace(SFT, epochs=1), sft_rows()) if stage == "sft" else (RL, rl_rows())
    config = dataclasses.replace(config, method="lora", rank=4, precision="fp32")
    rewards = [("variety", 1.0, variety)] if stage == "rl" else ()

    def trained(name, model, **changes):
        job = job_of(tmp_path / name, stage, model, rows, dataclasses.replace(config, **changes), rewards=rewards)
        return getattr(HFTrainer(), stage)(job)

    four = trained("four", tiny_model, quantize="4bit")
    same = trained("same", unpacked(tiny_model, tmp_path / "unpacked"))
    for mine, theirs in zip(four.log, same.log, strict=True):
        for name in {"loss", "reward", "grad_norm"} & mine.keys():
            assert mine[name] == pytest.approx(theirs[name], abs=1e-3, rel=1e-3), (mine["step"], name)
    assert four.initial_hash != four.final_hash
    assert {tensor.dtype for tensor in weights(four).values()} == {torch.float32}
    base = json.loads((four.path / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(tiny_model) and LoraFormat().open(four.path)


@pytest.mark.parametrize(
    "changes, wanted",
    [
        (
            dict(rollouts="vllm", vllm_memory=0.4, vllm_tensor_parallel=2),
            dict(
                vllm_mode="colocate",
                vllm_gpu_memory_utilization=0.4,
                vllm_tensor_parallel_size=2,
                vllm_max_model_length=46,
            ),
        ),
        (
            dict(rollouts="vllm-server", vllm_url="http://there:8000"),
            dict(vllm_mode="server", vllm_server_base_url="http://there:8000"),
        ),
    ],
)
def test_exactly_these_vllm_arguments_reach_trl(monkeypatch, tmp_path, tiny_model, tiny_tokenizer, changes, wanted):
    from past_hf.training import grpo
    from past_hf.training.arguments import Machine
    from transformers import AutoConfig

    absent(monkeypatch, "vllm", present=True)
    config = dataclasses.replace(RL, **changes)
    assert grpo.rollouts(config, Machine(True), 40) == {
        "use_vllm": True,
        "generation_kwargs": {"stop": list(qa.STOP), "include_stop_str_in_output": True},
        **wanted,
    }
    given = {}
    model = SimpleNamespace(config=AutoConfig.from_pretrained(tiny_model))  # TRL is stopped before it looks at more

    class Stop(Exception):
        pass

    def capture(**arguments):
        given.update(arguments)
        vllm = {name: value for name, value in arguments.items() if "vllm" in name}
        made = real(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, **vllm)
        assert made.use_vllm and made.vllm_mode == wanted["vllm_mode"]  # TRL knows every one of these names
        raise Stop

    real = grpo.GRPOConfig
    monkeypatch.setattr(grpo, "GRPOConfig", capture)
    job = job_of(tmp_path, "rl", tiny_model, rl_rows(), config, rewards=[("variety", 1.0, variety)])
    with pytest.raises(Stop):
        grpo.build(job, Machine(True), model, tiny_tokenizer, rl_rows(), {})
    assert given["vllm_mode"] == wanted["vllm_mode"] and given["generation_kwargs"]["stop"] == list(qa.STOP)


def test_vllm_says_what_is_missing(monkeypatch):
    from past_hf.training import grpo
    from past_hf.training.arguments import Machine

    absent(monkeypatch, "vllm")
    colocated = dataclasses.replace(RL, rollouts="vllm")
    with pytest.raises(UsageError, match="needs a card"):
        grpo.rollouts(colocated, Machine(False), 40)
    with pytest.raises(UsageError, match="vLLM is not installed"):
        grpo.rollouts(colocated, Machine(True), 40)


def test_the_private_parts_of_trl_are_those_this_was_written_for():
    import inspect

    from trl import GRPOTrainer

    wanted = {
        "_generate_single_turn": [
            "self",
            "prompt_ids",
            "images",
            "multimodal_fields",
            "num_generations",
            "has_tool_images",
        ],
        "_compute_loss": ["self", "model", "inputs"],
        "_prepare_inputs": ["self", "generation_batch"],
    }
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == parameters
    scored = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert scored[:5] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]


def test_a_model_file_that_is_written_over_does_not_change_what_is_being_trained(tiny_model, tmp_path):
    from past_hf.training.arguments import Machine
    from past_hf.training.packing import load

    shutil.copytree(tiny_model, tmp_path / "base")
    model = load(tmp_path / "base", SFT, Machine(False))
    before = [one.detach().clone() for one in model.parameters()]
    for shard in (tmp_path / "base").glob("*.safetensors"):
        with open(shard, "r+b") as file:  # in place, as `cp` over it does
            file.seek(shard.stat().st_size // 2)
            file.write(b"\x11" * (shard.stat().st_size // 2))
    assert all(torch.equal(one, was) for one, was in zip(model.parameters(), before, strict=True))
