"""The `hf` trainer plugin: an HF model, GGUF or merged adapter in, a trained model or LoRA adapter out."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pastcli import api
from pastcli.errors import PastError, UsageError

from .folder import companions
from .materialize import hf_directory, load_model, load_tokenizer, save_model
from .portable import make_portable
from .quiet import quiet


class HFTrainer:
    """`past.trainers` on TRL (METHOD 1 and 3). Weights are fp32 on disk and in the optimiser, whatever computes."""

    name = "hf"

    def sft(self, job: api.TrainJob) -> api.TrainResult:
        """Fine-tune on texts and prompt/completion pairs."""
        quiet()
        from .sft import build

        return _run(job, build)

    def rl(self, job: api.TrainJob) -> api.TrainResult:
        """GRPO on questions. A LoRA adapter as starting point is merged into `out/sft` first, so that the skill
        vector is exactly what RL changed (METHOD 5)."""
        quiet()
        from .grpo import build

        return _run(job, build)


def _run(job: api.TrainJob, build: Callable[..., Any]) -> api.TrainResult:
    import torch
    from transformers import set_seed

    from .state import newest_whole

    config = job.config
    if config.method not in ("full", "lora"):
        raise UsageError(f"unknown method {config.method!r}", "full or lora")
    if not job.resume:
        shutil.rmtree(job.state, ignore_errors=True)
    job.state.mkdir(parents=True, exist_ok=True)
    source = _starting_point(job)
    set_seed(config.seed)
    model = load_model(source, torch.float32, "sdpa" if torch.cuda.is_available() else "eager")
    trainer = build(job, model, load_tokenizer(source), _rows(job.examples), _arguments(job), _lora(config))
    before = _hash(trainer.model)
    began = time.monotonic()
    checkpoint = newest_whole(job.state) if job.resume else None
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    after = _hash(trainer.model)
    if before == after:
        raise PastError(
            "training changed nothing: every weight is what it was before",
            "is the learning rate above 0? In RL: did all answers to each question earn the same reward?",
        )
    return api.TrainResult(
        path=_save(trainer.model, source, job),
        kind="adapter" if config.method == "lora" else "model",
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        seconds=seconds,
        initial_hash=before,
        final_hash=after,
        log=[_logged(entry) for entry in trainer.state.log_history if "loss" in entry],
    )


def _starting_point(job: api.TrainJob) -> Path:
    """The HF directory to train; an adapter is merged in fp32 into `out/sft`, whole or not at all."""
    if not (job.model / "adapter_config.json").is_file():
        return hf_directory(job.model)
    import torch

    from .materialize import base_directory, publish_folder

    merged = job.out / "sft"
    if not merged.is_dir():
        base = base_directory(job.model)
        publish_folder(merged, lambda folder: save_model(load_model(job.model, torch.float32), base, folder))
    return merged


def _rows(examples: Path) -> list[dict[str, Any]]:
    with open(examples, encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle if line.strip()]
    if not rows:
        raise UsageError(f"{examples} holds no examples")
    return rows


def _arguments(job: api.TrainJob) -> dict[str, Any]:
    """Training arguments both trainers share. bf16 stays off: working weights do that (see `compute`)."""
    import torch

    config = job.config
    return dict(
        output_dir=str(job.state),
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        gradient_accumulation_steps=1,
        optim="adamw_torch_fused",
        learning_rate=config.lr,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        save_strategy="steps",
        save_steps=config.save_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        push_to_hub=False,
        dataloader_pin_memory=False,
    )


def _lora(config: Any) -> Any:
    if config.method != "lora":
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules="all-linear",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


_NAMES = {
    "step": "step",
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "num_tokens": "tokens",
    "tokens_per_second": "tokens_per_second",
    "reward": "reward",
    "reward_std": "reward_std",
    "kl": "kl",
    "frac_reward_zero_std": "dead_groups",
    "completions/mean_length": "completion_length",
    "entropy": "entropy",
    "rows_trained": "rows_trained",
}
"""Metrics kept from TRL's log, and what the log calls them; `dead_groups` is the share without an advantage."""


def _logged(entry: dict[str, float]) -> dict[str, float]:
    kept = {name: entry[key] for key, name in _NAMES.items() if key in entry}
    rewards = [key for key in entry if key.startswith("rewards/") and key.endswith("/mean")]
    return kept | {key.removesuffix("/mean"): entry[key] for key in rewards}


def _hash(model: Any) -> str:
    """sha256 over the trainable weights, fp32."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy())
    return f"sha256:{digest.hexdigest()}"


def _save(model: Any, source: Path, job: api.TrainJob) -> Path:
    if job.config.method == "full":
        return save_model(model, source, job.out / "model")
    folder = job.out / "adapter"
    model.peft_config["default"].base_model_name_or_path = str(source)
    try:
        model.save_pretrained(folder)
    except Exception as error:  # OSError, or safetensors' own type when the disk is full
        raise PastError(f"the adapter cannot be written to {folder}: {error}", "is the disk full?") from error
    for file in companions(source):
        if file.name not in ("generation_config.json", "past.json") and file.suffix != ".py":
            shutil.copyfile(file, folder / file.name)
    make_portable(folder)
    return folder
