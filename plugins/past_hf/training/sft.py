"""Supervised fine-tuning on TRL: batches by token budget, every label of the training of equal weight."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from pastcli import api
from pastcli.config import SftConfig
from pastcli.errors import UsageError

from ..attending import attend
from ..compute import pad_right, token_batches, token_logprobs
from ..habits import beside
from ..materialize import encode
from . import plans
from .arguments import Machine, stand_in
from .engine import PlannedTrainer
from .examples import in_parts, spoken, warn_too_long
from .held_out import summed
from .lora import lora_config, refuse_others, targeted
from .overrides import stands_in

IGNORED = -100


def tokenize(
    rows: list[dict[str, Any]], tokenizer: Any, max_length: int, strict: bool = False
) -> list[dict[str, list[int]]]:
    """`input_ids` and `labels` of each text; a text of more than `max_length` tokens becomes several.

    Rows are `{"text"}`, every token a label, or `{"prompt", "completion"}`, the prompt masked with -100. The end
    token is added. Splitting loses nothing, where TRL's truncation would drop facts (see `split`). Conversations
    (`{"messages"}`) are pairs in the model's chat template; with `parts`, see `in_parts`. A pair longer than `max_length` is
    left out with a warning.
    """
    made, long = [], []
    for number, row in enumerate(rows, 1):
        if "parts" in row:
            ids, learnt = in_parts(row, tokenizer)
            if len(ids) > max_length:
                long.append(number)
            else:
                labels = [token if own else IGNORED for token, own in zip(ids, learnt, strict=True)]
                made.append({"input_ids": ids, "labels": labels})
            continue
        told = spoken(row, tokenizer)
        if isinstance(told.get("text"), str):
            made += [{"input_ids": part, "labels": part} for part in split(told, tokenizer, max_length)]
        elif isinstance(told.get("prompt"), str) and isinstance(told.get("completion"), str):
            pair = _pair(told, tokenizer)
            if len(pair["input_ids"]) > max_length:
                long.append(number)
            else:
                made.append(pair)
        else:
            keys = ", ".join(told)
            raise UsageError(
                f"example {number} is neither a text nor a prompt with its completion", f"its keys: {keys}"
            )
    warn_too_long(long, len(rows), max_length, "raise --max-length, or give them as plain text", strict)
    return [row for row in made if len(row["input_ids"]) > 1]


def split(row: Mapping[str, Any], tokenizer: Any, max_length: int) -> list[list[int]]:
    """The token ids of a text, of more than `max_length` as several of like size.

    A row that says where it may be cut (`cuts`, offsets at which a sentence or a line begins) is cut there, and each piece
    begins with its `head`, the title; a single sentence that is too long, and a text that says nothing, are cut between tokens.
    """
    end = [tokenizer.eos_token_id]
    ids = encode(tokenizer, row["text"]) + end
    if len(ids) <= max_length:
        return [ids]
    head, cuts = str(row.get("head", "")), list(row.get("cuts", []))
    title = encode(tokenizer, head) if head else []
    room = max_length - len(title) - 1
    if not cuts or room < max_length // 4:  # a title that leaves no room for what it is the title of
        return _evenly(ids, max_length)
    units = [row["text"][a:b] for a, b in itertools.pairwise([*cuts, len(row["text"])])]
    sizes = [len(encode(tokenizer, unit)) for unit in units]
    wanted = sum(sizes) / -(-sum(sizes) // room)
    pieces: list[str] = []
    filled = 0
    for unit, size in zip(units, sizes, strict=True):
        if not pieces or filled + size > room or filled >= wanted:
            pieces.append("")
            filled = 0
        pieces[-1] += unit
        filled += size
    made = [encode(tokenizer, head + piece.rstrip()) + end for piece in pieces]
    return [part for one in made for part in ([one] if len(one) <= max_length else _under(title, one, max_length))]


def _under(title: list[int], ids: list[int], most: int) -> list[list[int]]:
    """A sentence longer than a training text: cut between tokens, the title before every part."""
    return [title + part for part in _evenly(ids[len(title) :], most - len(title))]


def _evenly(ids: list[int], most: int) -> list[list[int]]:
    size = -(-len(ids) // -(-len(ids) // most))
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _pair(row: Mapping[str, str], tokenizer: Any) -> dict[str, list[int]]:
    prompt = encode(tokenizer, row["prompt"])
    ids = encode(tokenizer, row["prompt"] + row["completion"]) + [tokenizer.eos_token_id]
    # Tokens may merge across the border: the completion starts where the two encodings part.
    start = next((i for i, (a, b) in enumerate(zip(prompt, ids)) if a != b), len(prompt))
    return {"input_ids": ids, "labels": [IGNORED] * start + ids[start:]}


class Rows:
    """Tokenised rows by number; `~number` is that row without labels, which fills a micro-batch nothing is left for."""

    def __init__(self, rows: Sequence[dict[str, list[int]]]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        if number >= 0:
            return self.rows[number]
        row = self.rows[~number]
        return {"input_ids": row["input_ids"], "labels": [IGNORED] * len(row["labels"])}


class Sft(PlannedTrainer, SFTTrainer):
    """TRL's SFTTrainer. A step's loss is the sum over its labels by the mean number of labels in a step.

    So each label of the training weighs the same; a mean over the labels of a step would give those of a step with
    few of them more. The loss that is logged is the mean over the step's labels.
    """

    labels_per_step: float
    beside: Callable[[int], int]
    """Which rows are read together."""

    @stands_in()
    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        samples = [next(epoch_iterator) for _ in range(num_batches)]
        counts = torch.tensor([sample.pop("counts") for sample in samples], device=device).sum(0, keepdim=True)
        self.counted, tokens, self._labels = self.accelerator.gather(counts).sum(0).tolist()
        self.state.num_input_tokens_seen += tokens
        return samples, torch.tensor(self.labels_per_step, device=device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs["loss"] *= self.labels_per_step / max(1, self._labels)
            self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen]
        super().log(logs, start_time)

    def prepared(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return tokenize(rows, self.processing_class, self.job.config.max_length, self.job.strict)

    @torch.no_grad()
    def held_out(self, rows: list[dict[str, Any]]) -> float:
        """Minus the mean loss of the labels of held-out rows."""
        lengths = [len(row["input_ids"]) for row in rows]
        processes, numbered = self.accelerator.num_processes, Rows(rows)
        (rounds,) = plans.deal([range(len(rows))], lengths, processes, self.job.config.batch_tokens, self.beside)
        total, count = 0.0, 0
        self.model.eval()
        with self.computing():
            for groups in rounds:
                part = collate([numbered[row] for row in groups[self.rank]], self.processing_class.pad_token_id)
                count += part.pop("counts")[2]
                total += float(self._logprobs({key: value.to(self.args.device) for key, value in part.items()}))
        self.model.train()
        return summed(self, total, count)

    def _logprobs(self, part: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**part, use_cache=False, fused_lm_head=True).log_probs.sum()


class TunedSft(Sft):
    """The step of one process without a card: 16-bit working weights, logits only where there is a label."""

    @stands_in()
    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        parts = next(epoch_iterator)
        self.counted, tokens, self._labels = torch.tensor([part["counts"] for part in parts]).sum(0).tolist()
        self.state.num_input_tokens_seen += tokens
        return [parts], None

    def training_step(self, model: Any, inputs: list[dict], num_items_in_batch: Any = None) -> torch.Tensor:
        model.train()
        total = torch.zeros(())
        with self.clock("train"), self.working as working:
            for part in inputs:
                loss = -self._logprobs(part) / self.labels_per_step
                working.backward(loss)
                total += loss.detach()
        return total

    def _logprobs(self, part: dict[str, torch.Tensor]) -> torch.Tensor:
        wanted = part["labels"] != IGNORED
        wanted[:, 0] = False
        attend(self.model, wanted.shape[1])
        return token_logprobs(self.model, part["input_ids"], wanted, entropies_too=False)[0].sum()

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # transformers guesses from one padded batch; `past` counts tokens and seconds itself


def build(
    job: api.TrainJob, machine: Machine, model: Any, tokenizer: Any, rows: list[dict[str, Any]], common: dict
) -> Sft:
    """The trainer of one `past sft`. Raises `UsageError` for rows that cannot be trained on."""
    config: SftConfig = job.config
    examples = tokenize(rows, tokenizer, config.max_length, job.strict)
    if not examples:
        raise UsageError("nothing to train on: every text is empty")
    lengths = [len(row["input_ids"]) for row in examples]
    steps = plans.sft_plan(lengths, config)
    budget, together = config.batch_tokens, beside(model)
    dealt = [] if machine.tuned else plans.deal(steps, lengths, machine.processes, budget, together)

    def parts(step: list[dict[str, list[int]]]) -> list[dict[str, Any]]:
        groups = token_batches([len(row["input_ids"]) for row in step], budget, None, together)
        return [collate([step[index] for index in group], tokenizer.pad_token_id) for group in groups]

    arguments = SFTConfig(
        **common,
        gradient_accumulation_steps=1 if machine.tuned else len(dealt[0]),
        per_device_train_batch_size=1,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    lora = lora_config(config, model)
    layers = targeted(lora, model)
    trainer = (TunedSft if machine.tuned else Sft)(
        model=model,
        args=machine.one_card(arguments),
        train_dataset=stand_in(examples[0]),
        processing_class=tokenizer,
        data_collator=parts if machine.tuned else lambda batch: collate(batch, tokenizer.pad_token_id),
        peft_config=lora,
    )
    refuse_others(trainer.model, layers)
    labels = [sum(label != IGNORED for label in row["labels"][1:]) for row in examples]
    trainer.beside = together
    trainer.labels_per_step = sum(labels[row] for step in steps for row in step) / len(steps)
    mine = [group[trainer.rank] for step in dealt for group in step]
    trainer.attach(job, machine, Rows(examples), steps if machine.tuned else mine)
    return trainer


def collate(batch: list[dict[str, list[int]]], pad: int) -> dict[str, Any]:
    """Right-padded `input_ids`, `labels` and `attention_mask` (B, L), and `counts`: rows, tokens and labels that count."""
    ids, labels = [row["input_ids"] for row in batch], [row["labels"] for row in batch]
    real = [any(label != IGNORED for label in row) for row in labels]
    return {
        "input_ids": pad_right(ids, pad),
        "attention_mask": pad_right([[1] * len(row) for row in ids], 0),
        "labels": pad_right(labels, IGNORED),
        "counts": [
            sum(real),
            sum(len(row) for row, one in zip(ids, real) if one),
            sum(label != IGNORED for row in labels for label in row[1:]),
        ],
    }
