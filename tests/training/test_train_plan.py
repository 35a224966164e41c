"""The plan before the training: sizes from a config alone, held against published memory, and what would fit."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from train_tools import RL, SFT, rl_rows, sft_rows

from pastcli.config import RlConfig, SftConfig
from pastcli.errors import MismatchError

QWEN_7B = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 152064, "hidden_size": 3584,
    "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 8192,
    "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def planned(tmp_path):
    """`planned(QWEN_7B, card_gb=80, method="lora")`: the plan of a config without weights or tokenizer."""
    from past_hf.planning import plan

    def call(config, settings=None, stage="sft", rows=None, card_gb=80.0, **changes):
        (tmp_path / "config.json").write_text(json.dumps(config))
        settings = dataclasses.replace(settings or SftConfig(epochs=1), **{"processes": 1, **changes})
        return plan(stage, tmp_path, rows or [{"text": "x" * 4000}] * 64, settings, card_gb)

    return call


@pytest.mark.parametrize("config, parameters", [(QWEN_7B, 7_615_616_512), (LLAMA_70B, 70_553_706_496)])
def test_parameters_are_those_of_the_published_models(planned, config, parameters):
    assert planned(config)["parameters"] == parameters


def held(plan):
    """GB of what a weight costs: itself, its gradient, its optimiser state."""
    return sum(plan["memory_gb"][part] for part in ("weights", "gradients", "optimiser"))


@pytest.mark.parametrize("config", [QWEN_7B, LLAMA_70B])
def test_full_training_takes_the_eighteen_bytes_a_weight_that_mixed_precision_is_known_to_take(planned, config):
    # transformers' "Model training anatomy": AdamW in mixed precision is 6 (weights, 32 and 16 bit) + 4 (gradients)
    # + 8 (optimiser) = 18 bytes a weight; ZeRO (1910.02054, section 3.1) has 16 with its gradients in 16 bits.
    plan = planned(config)
    assert held(plan) * 1e9 / plan["parameters"] == pytest.approx(18, rel=0.02)
    assert not plan["fits"]


def test_a_lora_of_a_7b_model_takes_the_known_sixteen_gigabytes_and_fits_one_card(planned):
    plan = planned(QWEN_7B, method="lora", rank=16)
    assert plan["trained"] == 40_370_176  # PEFT's own count for all linear layers at rank 16
    assert held(plan) == pytest.approx(2 * 7.6156 + 16 * 0.0404, rel=0.02) and plan["fits"]
    assert plan["disk_gb"]["checkpoint"] < 1


def test_fsdp2_divides_what_a_weight_costs_by_the_processes(planned):
    alone, eight = planned(LLAMA_70B, processes=8), planned(LLAMA_70B, processes=8, sharding="full")
    assert eight["memory_gb"]["optimiser"] == pytest.approx(alone["memory_gb"]["optimiser"] / 8, rel=0.01)
    assert eight["memory_gb"]["peak"] > 70.55 * 16 / 8  # the sixteen bytes that are sharded, and more besides


def test_what_does_not_fit_comes_with_what_would(planned):
    ways = {way["with"]: way["peak_gb"] for way in planned(QWEN_7B)["would_fit"]}
    assert any(words.startswith("--method lora") for words in ways) and "--processes 4 --sharding full" in ways
    assert all(peak <= 80 for peak in ways.values())
    huge = planned(LLAMA_70B)["would_fit"]
    assert huge and all("--sharding full" in way["with"] for way in huge)  # 141 GB of 16-bit weights fit no card


def test_rl_counts_its_rollouts(planned):
    rows = [{"prompt": "Question: " + "x" * 390}] * 10
    plan = planned(QWEN_7B, RlConfig(steps=10, max_new_tokens=100, batch_tokens=4000), "rl", rows, method="lora")
    answers, width = 16 * 8, 100 + 100
    assert plan["tokens"] == 10 * answers * width and plan["tokens_decoded"] == 10 * (16 * 100 + answers * 100)
    cache = answers * width * 2 * 28 * 4 * 128 * 2 / 1e9
    assert plan["memory_gb"]["kv_cache"] == pytest.approx(cache, rel=0.01)
    parameters = 7.07e9  # all but the input embedding
    assert plan["flops"] == pytest.approx(
        (4 + 2) * parameters * plan["tokens"] + 2 * parameters * plan["tokens_decoded"], rel=0.05
    )


def test_counts_on_a_real_model_are_those_of_its_training(tmp_path, tiny_model):
    from past_hf.planning import plan
    from past_hf.training import HFTrainer
    from train_tools import job_of

    settings = dataclasses.replace(SFT, epochs=1)
    made = HFTrainer().sft(job_of(tmp_path, "sft", tiny_model, sft_rows(), settings))
    said = plan("sft", tiny_model, sft_rows(), settings, probing=False)
    assert (said["steps"], said["tokens"]) == (made.steps, made.tokens)
    assert said["parameters"] == sum(t.numel() for t in __import__("train_tools").weights(made).values())


def test_the_probe_gives_a_time(tiny_model, monkeypatch):
    from past_hf.planning import plan, probe

    monkeypatch.setattr(probe, "SECONDS", 0.6)
    said = plan("rl", tiny_model, rl_rows(), dataclasses.replace(RL, processes=1))
    assert said["seconds"]["all"] == pytest.approx(sum(v for k, v in said["seconds"].items() if k != "all"), abs=0.2)
    assert said["seconds"]["all"] > 0 and said["fits"]


def test_dry_run_prints_the_plan_of_a_config_without_weights(past, past_json, workspace):
    (workspace / "big").mkdir()
    (workspace / "big" / "config.json").write_text(json.dumps(QWEN_7B))
    (workspace / "texts.jsonl").write_text(json.dumps({"text": "x" * 4000}) + "\n")
    words = ("sft", "texts.jsonl", "--base", "big", "--dry-run", "--card", 80)
    said = past_json(*words)
    assert said["parameters"] == 7_615_616_512 and not said["fits"] and said["would_fit"]
    shown = past(*words).stdout
    assert "would fit: --method lora" in shown and "optimiser" in shown and not (workspace / "runs").exists()


def test_a_config_of_something_else_is_one_line(planned):
    with pytest.raises(MismatchError, match="cannot be planned for"):
        planned({"model_type": "no-such-thing"})


MEASURED = """
import json, resource, sys
from pathlib import Path
from past_hf.materialize import hf_directory
from past_hf.planning import plan
from past_hf.quiet import quiet
from past_hf.training import HFTrainer
from pastcli import models
from pastcli.api import TrainJob
from pastcli.config import SftConfig
quiet()
folder = Path(sys.argv[1])
model, config = hf_directory(models.resolve("smol").path), SftConfig(epochs=1, precision="bf16")
rows = [{"text": f"Sentence {i} says that the bridge of Velmora was founded in 18{i:02d}. " * (1 + i % 3)} for i in range(40)]
(folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
said = plan("sft", model, rows, config, probing=False)["memory_gb"]["peak"]
HFTrainer().sft(TrainJob(model, folder / "rows.jsonl", folder / "out", folder / "state", config))
print(json.dumps([said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_planned_peak_is_within_a_fifth_of_the_measured_one(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True)
    planned, measured = json.loads(done.stdout.splitlines()[-1])
    assert planned == pytest.approx(measured, rel=0.2), f"planned {planned:.2f} GB, measured {measured:.2f} GB"
