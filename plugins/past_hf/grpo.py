"""GRPO on TRL: one batch of rollouts a step, backward only for rows that carry a signal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from pastcli import api, qa
from pastcli.config import RlConfig
from pastcli.errors import PastError, UsageError

from .compute import WorkingWeights, pad_right, token_batches, token_logprobs
from .generation import end_tokens, generate, stop_rule
from .state import PlannedTrainer

_TRAINER_COLUMNS = ("completion_ids", "trainer_state", "log_extra", "log_metric")


def named_reward(name: str, function: api.Reward) -> Callable[..., list[float | None]]:
    """`function` as TRL calls it; an exception or a malformed result stops the run and names the reward."""

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        columns = {key: value for key, value in columns.items() if key not in _TRAINER_COLUMNS}
        try:
            values = list(function(prompts, completions, **columns))
        except Exception as error:
            raise PastError(
                f"reward {name!r} failed: {type(error).__name__}: {error}",
                "a failing reward is never scored as 0; return None for what cannot be graded",
            ) from error
        numbers = [value for value in values if value is not None]
        if len(values) != len(completions):
            raise PastError(f"reward {name!r} gave {len(values)} values for {len(completions)} answers")
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers):
            raise PastError(f"reward {name!r} gave something that is no finite number", "return floats, or None")
        return values

    reward.__name__ = name
    return reward


def plan(questions: int, config: RlConfig) -> list[list[int]]:
    """Row numbers of every step: `prompts_per_step` questions, each `num_generations` times in a row.

    Questions come in shuffled rounds, each once before any comes again.
    """
    generator = torch.Generator().manual_seed(config.seed)
    order: list[int] = []
    while len(order) < config.steps * config.prompts_per_step:
        order += torch.randperm(questions, generator=generator).tolist()
    size = config.prompts_per_step
    picks = (order[step * size : (step + 1) * size] for step in range(config.steps))
    return [[row for row in pick for _ in range(config.num_generations)] for pick in picks]


class Grpo(PlannedTrainer, GRPOTrainer):
    """TRL's GRPOTrainer: its rewards, advantages and losses; our decoding, batching and log-probabilities."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        began = time.perf_counter()
        model.train()
        total = torch.zeros((), device=self.args.device)
        with WorkingWeights(model, self.dtype) as working:
            batch = self._prepare_inputs(inputs)
            for part, share in self._parts(batch):
                loss = self._compute_loss(model, part) * share
                working.backward(loss)
                total += loss.detach()
        self._step += 1
        seconds = time.perf_counter() - began
        self._metrics["train"]["step_time"].append(seconds)
        self._metrics["train"]["tokens_per_second"].append(batch["attended_tokens"] / seconds)
        return total

    def _parts(self, batch: dict[str, Any]):
        """(micro-batch, its share of the loss): rows with an advantage, by length, within the token budget.

        Without a KL term a row of advantage 0 has gradient 0, and equal answers to one question are one row
        with their advantages added: on policy the gradient is linear in the advantage. The share makes the
        sum over micro-batches the loss of the whole batch, as TRL normalises it.
        """
        masks = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        lengths = masks.sum(1).tolist()
        batch["attended_tokens"] = sum(lengths)
        kept = self._merged(batch) if self.beta == 0.0 else list(range(len(lengths)))
        self._metrics["train"]["rows_trained"].append(len(kept))
        rows, tokens = len(lengths), batch["completion_mask"].sum().item()
        for group in token_batches([lengths[row] for row in kept], self.job.config.batch_tokens):
            picked = torch.tensor([kept[index] for index in group], device=masks.device)
            part = {
                key: value[picked] if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value
                for key, value in batch.items()
            }
            if self.loss_type == "bnpo":
                yield part, part["completion_mask"].sum().item() / tokens
            else:
                yield part, 1.0 if self.loss_type == "dapo" else len(group) / rows

    def _merged(self, batch: dict[str, Any]) -> list[int]:
        """Rows to train on; `batch["advantages"]` of each takes up those of its equals."""
        advantages = batch["advantages"]
        first: dict[tuple[int, ...], int] = {}
        both = torch.cat([batch["prompt_ids"], batch["completion_ids"], batch["completion_mask"]], 1)
        for row, key in enumerate(map(tuple, both.tolist())):
            if key in first:
                advantages[first[key]] += advantages[row]
            else:
                first[key] = row
        return [row for row in first.values() if abs(advantages[row].item()) > 1e-6]

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        self.model.eval()
        completions = generate(
            self.model,
            prompt_ids[::num_generations],
            max_new_tokens=self.max_completion_length,
            stopped=self.stopped,
            pad=self._tokenizer.pad_token_id,
            copies=num_generations,
            temperature=self.temperature,
        )
        self.model.train()
        return completions, None

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **_):
        """As TRL's, for text: (B, `logits_to_keep`) log-probabilities and entropies, 0 where the mask is 0.

        Rows lose their padding on the left first, so that a prompt starts at position 0 as it did in decoding.
        """
        at_once = max(1, self.job.config.batch_tokens // input_ids.shape[1])
        if not torch.is_grad_enabled() and len(input_ids) > at_once:  # TRL scores a whole batch by the KL reference
            parts = [
                self._get_per_token_logps_and_entropies(model, ids, mask, logits_to_keep)[:2]
                for ids, mask in zip(input_ids.split(at_once), attention_mask.split(at_once), strict=True)
            ]
            return *(torch.cat(column) for column in zip(*parts, strict=True)), None
        keep = attention_mask.bool()
        rows = [row[mask].tolist() for row, mask in zip(input_ids, keep, strict=True)]
        ids = pad_right(rows, self._tokenizer.pad_token_id, input_ids.device)
        mask = keep[:, -logits_to_keep:]
        ends = keep.sum(1, keepdim=True)
        at = torch.arange(ids.shape[1], device=ids.device)
        flat, entropy = token_logprobs(
            model, ids, (at >= ends - mask.sum(1, keepdim=True)) & (at < ends), self.temperature
        )
        empty = flat.new_zeros(mask.shape)
        return empty.masked_scatter(mask, flat), empty.masked_scatter(mask, entropy), None


def build(job: api.TrainJob, model: Any, tokenizer: Any, rows: list[dict[str, Any]], common: dict, lora: Any) -> Grpo:
    """The trainer of one `past rl`. Raises `UsageError` for settings GRPO cannot work with."""
    config: RlConfig = job.config
    if config.num_generations < 2:
        raise UsageError("num_generations must be at least 2", "an advantage compares answers to one question")
    if config.temperature <= 0:
        raise UsageError("temperature must be above 0", "greedy answers are all alike and teach nothing")
    if not job.rewards:
        raise UsageError("no reward given", "name one with --reward, for example --reward f1")
    arguments = GRPOConfig(
        **common,
        num_train_epochs=1,
        per_device_train_batch_size=config.prompts_per_step * config.num_generations,
        num_generations=config.num_generations,
        steps_per_generation=1,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.beta,
        loss_type=config.loss,
        reward_weights=[weight for _, weight, _ in job.rewards],
    )
    trainer = Grpo(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in rows]),
        reward_funcs=[named_reward(name, function) for name, _, function in job.rewards],
        processing_class=tokenizer,
        peft_config=lora,
    )
    trainer.stopped = stop_rule(tokenizer, end_tokens(model, tokenizer), qa.STOP)
    trainer.attach(job, rows, plan(len(rows), config))
    if trainer.ref_model is not None:
        trainer.ref_model.to(trainer.dtype)
    return trainer
