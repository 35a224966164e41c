"""GRPO on TRL: answers drawn by row, rewards weighed once, and on one processor no backward for rows without a signal."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

from pastcli import api, grading, qa
from pastcli.config import RlConfig
from pastcli.errors import UsageError

from ..chat import context_of
from ..generation import end_tokens, generate, stop_rule
from . import plans
from .arguments import Machine, stand_in
from .engine import PlannedTrainer
from .examples import fitting
from .held_out import share, summed
from .leading import leading
from .lora import lora_config, refuse_others, targeted
from .overrides import stands_in
from .rewards import combined
from .tuned import TunedStep, loss_mask
from .watch import Grades, sampled

AT_ONCE = 64
"""Held-out questions decoded together."""


def draws(seed: int, step: int, rows: int, length: int) -> torch.Tensor:
    """Uniform numbers (rows, length) in [0, 1) with which the answers of a step are sampled.

    They depend on seed and step alone: an answer is the same on one process, on several and after `--resume`.
    """
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.rand(rows, length, generator=generator, dtype=torch.float64)


class Grpo(PlannedTrainer, GRPOTrainer):
    """TRL's GRPOTrainer on our plan, with our decoding unless vLLM decodes."""

    @stands_in()
    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        self.counted = len(prompt_ids) * self.accelerator.num_processes
        with self.clock("rollout"):
            if self.use_vllm:
                return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations)
            return self._sample(prompt_ids, num_generations), None

    def _sample(self, prompt_ids: list[list[int]], group: int) -> list[list[int]]:
        whole, mine = self.counted, slice(self.rank * len(prompt_ids), (self.rank + 1) * len(prompt_ids))
        drawn = draws(self.job.config.seed, self.state.global_step, whole, self.max_completion_length)[mine]
        copies = group if len(prompt_ids) % group == 0 else 1  # a group may be shared by two processes
        with self.accelerator.autocast() if self.args.bf16 else contextlib.nullcontext():
            return self._decode(prompt_ids[::copies], copies=copies, temperature=self.temperature, draws=drawn)

    def _decode(self, prompt_ids: list[list[int]], **how: Any) -> list[list[int]]:
        self.model.eval()
        answers = generate(
            self.model,
            prompt_ids,
            max_new_tokens=self.max_completion_length,
            stopped=self.stopped,
            pad=self._tokenizer.pad_token_id,
            together=self._any_busy if self.is_fsdp_enabled else None,
            **how,
        )
        self.model.train()
        return answers

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """`passes`: how often each question was drawn by now. Above 1, a reward that rises may be answers learnt by heart."""
        if "loss" in logs:
            self.extra["passes"] = self.state.global_step * self.job.config.prompts_per_step / len(self.rows)
        super().log(logs, start_time)

    def _any_busy(self, busy: bool) -> bool:
        return bool(self.accelerator.reduce(torch.tensor(float(busy), device=self.args.device)).item())

    def held_out(self, rows: list[dict[str, Any]]) -> float:
        """Mean reward of the greedy answers to held-out questions."""
        mine, real = share(rows, self.rank, self.accelerator.num_processes)
        answers: list[str] = []
        with self.computing():
            for start in range(0, len(mine), AT_ONCE):
                prompts = [self._tokenizer(row["prompt"])["input_ids"] for row in mine[start : start + AT_ONCE]]
                answers += self.processing_class.batch_decode(self._decode(prompts), skip_special_tokens=True)
        columns = {key: [row[key] for row in mine[:real]] for key in rows[0] if key != "prompt"}
        prompts = [row["prompt"] for row in mine[:real]]
        total = grading.total(self.job.rewards, prompts, answers[:real], columns) if real else []
        known = [value for value in total if value is not None]
        return summed(self, sum(known), len(known))

    @stands_in(within="_compute_loss")
    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **more):
        """TRL's, on rows whose padding is behind them."""
        rows = leading(input_ids, attention_mask, logits_to_keep)
        logps, entropies, aux = super()._get_per_token_logps_and_entropies(
            model, rows.ids, rows.mask, rows.keep, *args, **more
        )
        return rows.answers(logps), None if entropies is None else rows.answers(entropies), aux

    @stands_in()
    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's. For `bnpo` the mean over the tokens of the whole step, where TRL takes the mean of the means over what each
        process holds at once, so that how a step is shared out would change what it teaches."""
        loss = super()._compute_loss(model, inputs)
        if self.loss_type != "bnpo" or self.tuned:
            return loss
        parts = self.accelerator.num_processes * self.args.gradient_accumulation_steps
        return loss * loss_mask(inputs).sum() * parts / inputs["num_items_in_batch"].clamp(min=1.0)

    def seen(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: dict[str, Any],
        by_name: Mapping[str, Grades],
        total: Grades,
    ) -> None:
        """Keep a sample of the whole step, which is the same however many processes share it."""
        first, whole = self.rank * len(prompts), self.accelerator.num_processes * len(prompts)
        graded = (prompts, completions, columns, by_name, total)
        rows = gather_object(sampled(self.state.global_step + 1, first, whole, *graded))
        if self.rank == 0:
            self.watch.rollouts(rows)


class TunedGrpo(TunedStep, Grpo):
    """On one process without a card."""

    unneeded = ("_compute_loss",)  # called by `TunedStep` itself, where there is something to learn


def build(
    job: api.TrainJob, machine: Machine, model: Any, tokenizer: Any, rows: list[dict[str, Any]], common: dict
) -> Grpo:
    """The trainer of one `past rl`. Raises `UsageError` for settings GRPO cannot work with."""
    config: RlConfig = job.config
    check(job)
    context = context_of(model)
    rows = fitting(rows, tokenizer, context, config.max_new_tokens, job.strict)
    longest = max(len(tokenizer(row["prompt"])["input_ids"]) for row in rows)
    kind = TunedGrpo if machine.tuned else Grpo
    trainer = assembled(kind, job, machine, model, tokenizer, rows, common, (longest, config.max_new_tokens))
    trainer.stopped = stop_rule(tokenizer, end_tokens(model, tokenizer), qa.STOP)
    return trainer


def assembled(
    kind: type[Grpo],
    job: api.TrainJob,
    machine: Machine,
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    common: dict,
    longest: tuple[int, int],
    **more: Any,
) -> Grpo:
    """A trainer of `kind` on its plan; `longest` are the most tokens of a prompt and of what follows it."""
    config: RlConfig = job.config
    sized = dataclasses.replace(config, max_new_tokens=longest[1])
    rounds = 1 if machine.tuned else plans.rl_rounds(sized, machine.processes, longest[0])
    answers = config.prompts_per_step * config.num_generations // machine.processes
    arguments = GRPOConfig(
        **common,
        gradient_accumulation_steps=rounds,
        steps_per_generation=rounds,
        per_device_train_batch_size=answers // rounds,
        num_generations=config.num_generations,
        max_completion_length=longest[1],
        temperature=config.temperature,
        beta=config.beta,
        loss_type=config.loss,
        router_aux_loss_coef=0.0,  # balancing experts is no part of the reward; and the router's logits are not at hand here
        **rollouts(sized, machine, longest[0]),
    )
    lora = lora_config(config, model)
    layers = targeted(lora, model)
    reward = combined(job.rewards, lambda *batch: trainer.seen(*batch), lambda part: trainer.clock(part))
    trainer = kind(
        model=model,
        args=machine.one_card(arguments),
        train_dataset=stand_in({"prompt": rows[0]["prompt"]}),
        reward_funcs=[reward],
        processing_class=tokenizer,
        peft_config=lora,
        **more,
    )
    refuse_others(trainer.model, layers)
    mine = slice(trainer.rank * answers, (trainer.rank + 1) * answers)
    # TRL draws one batch a micro-batch and answers the first of each step.
    batches = [step[mine] for step in plans.rl_plan(len(rows), config) for _ in range(rounds)]
    trainer.attach(job, machine, rows, batches)
    if machine.tuned and trainer.ref_model is not None:
        trainer.ref_model.to(trainer.dtype)
    return trainer


def rollouts(config: RlConfig, machine: Machine, longest: int) -> dict[str, Any]:
    """TRL's arguments for decoding by vLLM, whose importance sampling stays on as TRL has it; {} for our own.

    Raises `UsageError` without a card, without the package, or without the server's address.
    """
    if config.rollouts == "own":
        return {}
    if not machine.cuda:
        raise UsageError(f"--rollouts {config.rollouts} needs a card", "leave it out: answers are then decoded here")
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "vLLM is not installed", "pip install 'vllm>=0.22,<0.32', the versions that TRL 1.16 works with"
        )
    stop = {"stop": list(qa.STOP), "include_stop_str_in_output": True}
    shared = dict(use_vllm=True, generation_kwargs=stop)
    if config.rollouts == "vllm-server":
        if not config.vllm_url:
            raise UsageError("--rollouts vllm-server needs --vllm-url", "start one: vllm serve MODEL (see TRL's guide)")
        return dict(shared, vllm_mode="server", vllm_server_base_url=config.vllm_url)
    return dict(
        shared,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=config.vllm_memory,
        vllm_tensor_parallel_size=config.vllm_tensor_parallel,
        vllm_max_model_length=longest + config.max_new_tokens,
    )


def check(job: api.TrainJob) -> None:
    """Raises `UsageError` for settings GRPO cannot work with."""
    config: RlConfig = job.config
    if config.num_generations < 2:
        raise UsageError("num_generations must be at least 2", "an advantage compares answers to one question")
    if config.temperature <= 0:
        raise UsageError("temperature must be above 0", "greedy answers are all alike and teach nothing")
    if not job.rewards:
        raise UsageError("no reward given", "name one with --reward, for example --reward f1")
