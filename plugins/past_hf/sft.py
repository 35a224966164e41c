"""Supervised fine-tuning on TRL: batches by token budget, logits only where the loss needs them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from pastcli import api
from pastcli.config import SftConfig
from pastcli.errors import UsageError

from .compute import WorkingWeights, pad_right, token_batches, token_logprobs
from .materialize import encode
from .state import PlannedTrainer

IGNORED = -100


def tokenize(rows: list[dict[str, Any]], tokenizer: Any, max_length: int) -> list[dict[str, list[int]]]:
    """`input_ids` and `labels` of each text; a text of more than `max_length` tokens becomes several.

    Rows are `{"text"}`, every token a label, or `{"prompt", "completion"}`, the prompt masked with -100. The end
    token is added. Splitting loses nothing, where TRL's truncation would drop facts.
    """
    made = []
    for number, row in enumerate(rows, 1):
        if isinstance(row.get("text"), str):
            ids = encode(tokenizer, row["text"]) + [tokenizer.eos_token_id]
            pieces = -(-len(ids) // max_length)
            size = -(-len(ids) // pieces)
            parts = [ids[start : start + size] for start in range(0, len(ids), size)]
            made += [{"input_ids": part, "labels": part} for part in parts]
        elif isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
            made.append(_pair(row, tokenizer, max_length, number))
        else:
            keys = ", ".join(row)
            raise UsageError(
                f"example {number} is neither a text nor a prompt with its completion", f"its keys: {keys}"
            )
    return [row for row in made if len(row["input_ids"]) > 1]


def _pair(row: Mapping[str, str], tokenizer: Any, max_length: int, number: int) -> dict[str, list[int]]:
    prompt = encode(tokenizer, row["prompt"])
    ids = encode(tokenizer, row["prompt"] + row["completion"]) + [tokenizer.eos_token_id]
    # Tokens may merge across the border: the completion starts where the two encodings part.
    start = next((i for i, (a, b) in enumerate(zip(prompt, ids)) if a != b), len(prompt))
    if len(ids) > max_length:
        raise UsageError(
            f"example {number} has {len(ids)} tokens, and a prompt with its completion cannot be split",
            f"raise --max-length (now {max_length}), or give it as plain text",
        )
    return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}


def plan(lengths: list[int], config: SftConfig) -> list[list[int]]:
    """The batches of the whole training: anew shuffled and bucketed in every epoch, each within `batch_tokens`."""
    generator = torch.Generator().manual_seed(config.seed)
    batches: list[list[int]] = []
    for _ in range(math.ceil(config.epochs)):
        batches += token_batches(lengths, config.batch_tokens, generator)
    per_epoch = len(batches) / math.ceil(config.epochs)
    return batches[: max(1, round(per_epoch * config.epochs))]


class Sft(PlannedTrainer, SFTTrainer):
    """TRL's SFTTrainer with one token-budget batch an optimiser step; loss is the mean over the batch's labels."""

    def training_step(self, model: Any, inputs: Mapping[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        began = time.perf_counter()
        model.train()
        ids = inputs["input_ids"].to(self.args.device)
        wanted = inputs["labels"].to(self.args.device) != IGNORED
        wanted[:, 0] = False
        with WorkingWeights(model, self.dtype) as working:
            logps, _ = token_logprobs(model, ids, wanted)
            loss = -logps.mean()
            working.backward(loss)
        self.state.num_input_tokens_seen += int(inputs["tokens"])
        self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen]
        self._metrics["train"]["tokens_per_second"].append(inputs["tokens"] / (time.perf_counter() - began))
        return loss.detach()


def build(job: api.TrainJob, model: Any, tokenizer: Any, rows: list[dict[str, Any]], common: dict, lora: Any) -> Sft:
    """The trainer of one `past sft`. Raises `UsageError` for rows that cannot be trained on."""
    config: SftConfig = job.config
    examples = tokenize(rows, tokenizer, config.max_length)
    if not examples:
        raise UsageError("nothing to train on: every text is empty")
    steps = plan([len(row["input_ids"]) for row in examples], config)
    arguments = SFTConfig(
        **common,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = Sft(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
        peft_config=lora,
    )
    trainer.attach(job, examples, steps)
    return trainer


def collate(batch: list[dict[str, list[int]]], pad: int) -> dict[str, Any]:
    """Right-padded `input_ids` and `labels` (B, L), and the number of tokens that are no padding."""
    ids = [row["input_ids"] for row in batch]
    return {
        "input_ids": pad_right(ids, pad),
        "labels": pad_right([row["labels"] for row in batch], IGNORED),
        "tokens": sum(map(len, ids)),
    }
