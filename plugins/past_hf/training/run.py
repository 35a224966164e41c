"""One training in this process, alone or as one of several: load, train, gather, write."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from pastcli import api
from pastcli.errors import PastError, UsageError

from ..folder import companions
from ..materialize import load_model, load_tokenizer, save_model
from ..portable import make_portable
from . import grpo, sft
from .arguments import Machine, check_method, common, shard_on_processors
from .checkpoints import newest_whole
from .watch import logged_steps

BUILD = {"sft": sft.build, "rl": grpo.build}


def run(stage: str, job: api.TrainJob, processes: int = 1) -> api.TrainResult:
    """Train as `job` says; with several processes each calls this, and rank 0 writes the result."""
    config, machine = job.config, Machine.here(job.config, processes)
    check_method(config)
    if machine.sharded and not machine.cuda:
        shard_on_processors()
    set_seed(config.seed)
    model = load_model(job.model, machine.weights_dtype(config), machine.attention)
    tokenizer, rows = load_tokenizer(job.model), _rows(job.examples)
    trainer = BUILD[stage](job, machine, model, tokenizer, rows, common(job, machine))
    before = weights_hash(dict(trainer.model.named_parameters()))
    began = time.monotonic()
    checkpoint = newest_whole(job.state) if job.resume else None
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - began
    state = gathered(trainer)
    after = weights_hash(state)
    if trainer.args.should_save and before == after:
        raise PastError(
            "training changed nothing: every weight is what it was before",
            "is the learning rate above 0? In RL: did all answers to each question earn the same reward?",
        )
    path = _save(trainer, state, job) if trainer.args.should_save else job.out
    return api.TrainResult(
        path=path,
        kind="adapter" if config.method == "lora" else "model",
        steps=trainer.state.global_step,
        tokens=int(trainer.state.num_input_tokens_seen),
        seconds=seconds,
        initial_hash=before,
        final_hash=after,
        log=logged_steps(trainer.state.log_history),
    )


def _rows(examples: Path) -> list[dict[str, Any]]:
    with open(examples, encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle if line.strip()]
    if not rows:
        raise UsageError(f"{examples} holds no examples")
    return rows


def gathered(trainer: Any) -> dict[str, torch.Tensor]:
    """Name -> trained weight in float32, whole, on rank 0; other ranks get what they hold. All processes call it."""
    if not trainer.is_fsdp_enabled:
        return {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    trained = [name for name, value in trainer.model.named_parameters() if value.requires_grad]
    whole = trainer.accelerator.get_state_dict(trainer.model)
    return {name: whole[name] for name in trained if name in whole}


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 over the trainable weights, fp32."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        if getattr(value, "requires_grad", True) or not isinstance(value, torch.nn.Parameter):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy())
    return f"sha256:{digest.hexdigest()}"


def _save(trainer: Any, state: dict[str, torch.Tensor], job: api.TrainJob) -> Path:
    model = trainer.accelerator.unwrap_model(trainer.model)
    whole = state if trainer.is_fsdp_enabled else None
    if job.config.method == "full":
        return save_model(model, job.model, job.out / "model", whole)
    folder = job.out / "adapter"
    model.peft_config["default"].base_model_name_or_path = str(job.model)
    try:
        model.save_pretrained(folder, state_dict=whole)
    except Exception as error:  # OSError, or safetensors' own type when the disk is full
        raise PastError(f"the adapter cannot be written to {folder}: {error}", "is the disk full?") from error
    for file in companions(job.model):
        if file.name not in ("generation_config.json", "past.json") and file.suffix != ".py":
            shutil.copyfile(file, folder / file.name)
    make_portable(folder)
    return folder
