"""What a training runs on, and the arguments that follow from it for TRL, PEFT and accelerate."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import torch
from datasets import Dataset

from pastcli import api, tested
from pastcli.config import nearest
from pastcli.errors import PastError, UsageError

from ..compute import compute_dtype

_BACK = tested.install(["transformers"])


@dataclass(frozen=True)
class Machine:
    """Where a training runs. `tuned`: one process without a card takes the step written for it, all others TRL's own."""

    cuda: bool
    processes: int = 1
    sharded: bool = False

    @classmethod
    def here(cls, config: Any, processes: int) -> Machine:
        """As seen from this process, one of `processes`."""
        return cls(torch.cuda.is_available(), processes, config.sharding == "full" and processes > 1)

    @property
    def tuned(self) -> bool:
        return not self.cuda and self.processes == 1

    @property
    def attention(self) -> str:
        return "sdpa" if self.cuda else "eager"  # short rows: eager is faster on processors

    def weights_dtype(self, config: Any) -> torch.dtype:
        """float32 for whatever is trained; under LoRA on a card the frozen base is 16-bit."""
        return torch.bfloat16 if self.cuda and config.method == "lora" else torch.float32

    def one_card(self, arguments: Any) -> Any:
        """One process computes on one card, however many it sees: `nn.DataParallel` is nothing TRL can work with."""
        arguments._n_gpu = min(arguments.n_gpu, 1)
        if arguments.n_gpu > 1:
            raise PastError(
                "this transformers would spread one process over several cards", f"CUDA_VISIBLE_DEVICES=0, or {_BACK}"
            )
        return arguments

    def checkpoints_activations(self, config: Any) -> bool:
        return {"on": True, "off": False, "auto": self.cuda}[config.gradient_checkpointing]


def common(job: api.TrainJob, machine: Machine) -> dict[str, Any]:
    """Training arguments both trainers share.

    The tuned step casts by itself (see `compute`), so bf16 is off there; on TRL's path it is autocast over float32
    weights, and FSDP2's own 16-bit type where they are sharded. What is written is gathered in float32 (METHOD 5).
    """
    config = job.config
    bf16 = not machine.tuned and compute_dtype(config.precision) == torch.bfloat16
    os.environ["ACCELERATE_MIXED_PRECISION"] = (
        "bf16" if bf16 else "no"
    )  # transformers would take it from a user's shell
    arguments = dict(
        output_dir=str(job.state),
        seed=config.seed,
        data_seed=config.seed,
        num_train_epochs=1,
        use_cpu=not machine.cuda,
        bf16=bf16,
        gradient_checkpointing=machine.checkpoints_activations(config),
        optim=_optimizer(config),
        learning_rate=config.lr,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        save_strategy="no",  # see `checkpoints.Saver`
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=_reporters(config, job.watch),
        disable_tqdm=True,
        push_to_hub=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    if machine.sharded:
        arguments |= dict(fsdp=True, fsdp_config={"version": 2, "state_dict_type": "FULL_STATE_DICT"})
    return arguments


def _optimizer(config: Any) -> str:
    """AdamW's name at transformers. Raises `UsageError` where its 8-bit form lacks its package."""
    if config.optimizer == "adamw":
        return "adamw_torch_fused"
    needs_bitsandbytes("--optimizer adamw_8bit")
    return "adamw_8bit"


def needs_bitsandbytes(option: str) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(f"{option} needs bitsandbytes, which is not installed", "pip install 'pastcli[bits]'")


def _reporters(config: Any, folder: Path | None) -> list[str]:
    """transformers' own callbacks of `--report-to`. Raises `UsageError` for a name that none has, and naming
    the package that one of them lacks."""
    if not config.report_to:
        return ["none"]
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    present = set(get_available_reporting_integrations())
    for name in config.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            raise UsageError(f"--report-to: nothing known reports to {name!r}", nearest(name, INTEGRATION_TO_CALLBACK))
        if name not in present:
            raise UsageError(f"--report-to {name}: its package is not installed", f"pip install {name}")
    if folder is not None:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    return list(config.report_to)


def stand_in(row: dict[str, Any]) -> Dataset:
    """The data set that TRL's constructors look at; training takes its rows from the plan.

    With a fingerprint of its own it is not hashed, which fails where packages lie outside a site-packages folder.
    """
    return Dataset(pyarrow.Table.from_pylist([row]), fingerprint="past")


@cache
def shard_on_processors() -> None:
    """Let accelerate wrap a model in FSDP2 without a card.

    Its state (1.15) takes a sharding plugin only where the processes hold cards, though all it then calls, torch's
    `fully_shard` over gloo, works on processors too. Here that one decision is made for them.
    """
    from accelerate.state import AcceleratorState, DistributedType, PartialState

    begin = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init
