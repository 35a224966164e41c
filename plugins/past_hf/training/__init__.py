"""The `hf` trainer plugin: an HF model, GGUF or merged adapter in, a trained model or LoRA adapter out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pastcli import api
from pastcli.files import read_lines

from ..materialize import base_directory, hf_directory, load_model, publish_folder
from ..quiet import quiet
from ..saved import save_model


class HFTrainer:
    """`past.trainers` on TRL (METHOD 1 and 3). Weights are fp32 on disk and in the optimiser, whatever computes."""

    name = "hf"

    def sft(self, job: api.TrainJob) -> api.TrainResult:
        """Fine-tune on texts and prompt/completion pairs."""
        return _train("sft", job)

    def rl(self, job: api.TrainJob) -> api.TrainResult:
        """GRPO on questions. A LoRA adapter as starting point is merged into `out/sft` first, so that the skill
        vector is exactly what RL changed (METHOD 5)."""
        return _train("rl", job)

    def refuse(self, stage: str, config: Any, episodes: bool = False) -> None:
        """Raises `UsageError` for settings that no training takes."""
        from .refusals import refuse

        refuse(stage, config, episodes)

    def joins(self, config: Any) -> int:
        """Which machine of several this is: 0 makes the run, the others `join` it."""
        from .layout import layout_of

        return layout_of(config).rank

    def join(self, config: Any) -> Path:
        """Work in the training that machine 0 makes, until it ends; gives its run directory."""
        quiet()
        from .launch import join
        from .layout import layout_of

        return join(layout_of(config))

    def plan(
        self,
        stage: str,
        model: Path,
        rows: Sequence[dict[str, Any]],
        config: Any,
        card_gb: float = 0.0,
        strict: bool = False,
    ) -> dict[str, Any]:
        """What `--dry-run` says: memory, tokens, operations, time and disk; `card_gb` plans for such cards."""
        quiet()
        from ..planning import plan

        self.refuse(stage, config)
        return plan(stage, model, rows, config, card_gb, strict=strict)


def _train(stage: str, job: api.TrainJob) -> api.TrainResult:
    """In this process, or in several that accelerate starts."""
    quiet()
    from ..planning.fit import of_job
    from .launch import launch
    from .layout import layout_of
    from .refusals import refuse

    refuse(stage, job.config, job.episodes is not None)
    layout = layout_of(job.config)
    if not job.resume:
        shutil.rmtree(job.state, ignore_errors=True)
    job.state.mkdir(parents=True, exist_ok=True)
    job = dataclasses.replace(job, model=_starting_point(job))
    job = dataclasses.replace(job, config=of_job(job, partial(read_lines, job.examples), layout))
    if layout.processes > 1:
        return launch(stage, job, layout)
    from .run import run

    return run(stage, job)


def _starting_point(job: api.TrainJob) -> Path:
    """The HF directory to train; an adapter is merged in fp32 into `out/sft`, whole or not at all."""
    if not (job.model / "adapter_config.json").is_file():
        return hf_directory(job.model)
    import torch

    merged = job.out / "sft"
    if not merged.is_dir():
        base = base_directory(job.model)
        publish_folder(merged, lambda folder: save_model(load_model(job.model, torch.float32), base, folder))
    return merged
