"""Which rows each optimiser step trains on, and how a step is dealt out to processes and micro-batches.

A plan is one list of row numbers a step. It covers the whole training and depends on the seed alone, so that a
resumed run is where the killed one was once it has skipped the first steps, and any number of processes takes the
same steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from pastcli.config import RlConfig, SftConfig
from pastcli.errors import UsageError

from ..compute import token_batches


def sft_plan(lengths: Sequence[int], config: SftConfig) -> list[list[int]]:
    """The steps of the whole training: anew shuffled and bucketed in every epoch, each within `step_tokens`."""
    generator = torch.Generator().manual_seed(config.seed)
    steps: list[list[int]] = []
    for _ in range(math.ceil(config.epochs)):
        steps += token_batches(list(lengths), config.step_tokens, generator)
    per_epoch = len(steps) / math.ceil(config.epochs)
    return steps[: max(1, round(per_epoch * config.epochs))]


def rl_plan(questions: int, config: RlConfig) -> list[list[int]]:
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


def deal(
    steps: Sequence[Sequence[int]],
    lengths: Sequence[int],
    processes: int,
    budget: int,
    beside: Callable[[int], int] = lambda length: 0,
) -> list[list[list[list[int]]]]:
    """Every step as `rounds` x `processes` micro-batches of row numbers, rows x longest row <= `budget`.

    `rounds` is the same for all steps, as gradient accumulation wants it. Each row of a step is in one micro-batch; where
    there are fewer rows than micro-batches, `~row` stands for a row that is computed but has no label. What runs at
    the same time is of like size. `beside` is that of `token_batches`.
    """
    parts = [
        [[step[i] for i in group] for group in token_batches([lengths[r] for r in step], budget, None, beside)]
        for step in steps
    ]
    rounds = max(-(-len(groups) // processes) for groups in parts)
    return [_rounds(groups, lengths, rounds, processes) for groups in parts]


def _rounds(groups: list[list[int]], lengths: Sequence[int], rounds: int, processes: int) -> list[list[list[int]]]:
    def cost(group: list[int]) -> int:
        return len(group) * max(lengths[row] for row in group)

    groups = [list(group) for group in groups]
    shortest = min((row for group in groups for row in group), key=lambda row: lengths[row])
    while len(groups) < rounds * processes:
        widest = max(groups, key=lambda group: (len(group) > 1, cost(group)))
        if len(widest) == 1:
            break
        groups.remove(widest)
        groups += [widest[: len(widest) // 2], widest[len(widest) // 2 :]]
    groups.sort(key=cost, reverse=True)
    groups += [[~shortest]] * (rounds * processes - len(groups))
    return [groups[start : start + processes] for start in range(0, len(groups), processes)]


def shared_out(config: RlConfig, processes: int) -> int:
    """Answers of one step that each process takes. Raises `UsageError` if they cannot be shared out evenly."""
    answers = config.prompts_per_step * config.num_generations
    if answers % processes:
        raise UsageError(
            f"{config.prompts_per_step} x {config.num_generations} answers cannot be shared by {processes} processes",
            "make --prompts-per-step a multiple of the processes",
        )
    return answers // processes


def rl_rounds(config: RlConfig, processes: int, longest_prompt: int) -> int:
    """Gradient-accumulation steps of one GRPO step: the fewest equal parts that keep within `batch_tokens`.

    Raises `UsageError` if the answers of a step cannot be shared out evenly.
    """
    mine = shared_out(config, processes)
    at_once = max(1, config.batch_tokens // (longest_prompt + config.max_new_tokens))
    return next(rounds for rounds in range(1, mine + 1) if mine % rounds == 0 and mine // rounds <= at_once)
