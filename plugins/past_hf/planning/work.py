"""How much there is to do in a training, from the plan that training itself would follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pastcli.config import RlConfig, SftConfig

from ..attending import WIDE
from ..training import groups, plans
from ..training.arguments import Machine
from ..training.sft import IGNORED, tokenize
from .memory import Load

Settings = SftConfig | RlConfig


@dataclasses.dataclass(frozen=True)
class Work:
    """How much there is to do: optimiser steps, tokens trained (padding included; `padded_least` of them where every answer
    ends at once) and read or decoded besides."""

    steps: int
    tokens: int
    padded: int
    padded_least: int
    read: int
    load: Load


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Tokens of each row: all of them, for RL those of its prompt; and those that bear a label, for RL none."""

    lengths: list[int]
    labels: list[int]


def sizes(rows: Sequence[dict[str, Any]], tokenizer: Any, settings: Settings, strict: bool = False) -> Sizes:
    """How long the rows are; without a tokenizer a token is taken for four characters."""
    if isinstance(settings, RlConfig):
        prompts = [row["prompt"] for row in rows]
        return Sizes([len(tokenizer(text)["input_ids"]) if tokenizer else len(text) // 4 for text in prompts], [])
    if not tokenizer:
        lengths = [min(settings.max_length, 1 + sum(len(str(value)) for value in row.values()) // 4) for row in rows]
        return Sizes(lengths, lengths)
    made = tokenize(list(rows), tokenizer, settings.max_length, strict)
    labels = [sum(label != IGNORED for label in row["labels"]) for row in made]
    return Sizes([len(row["input_ids"]) for row in made], labels)


def measured(found: Sizes, settings: Settings, machine: Machine) -> Work:
    """The work of rows of these sizes."""
    lengths, labels = found.lengths, found.labels
    if isinstance(settings, RlConfig):
        return _rl(lengths, settings, machine)
    steps = plans.sft_plan(lengths, settings)
    dealt = plans.deal(steps, lengths, machine.processes, settings.batch_tokens)
    groups = [group for rounds in dealt for each in rounds for group in each if group[0] >= 0]
    padded = [(len(group) * max(lengths[row] for row in group), group) for group in groups]
    largest = max(padded, key=lambda pair: pair[0])[1]
    narrow = max((pair for pair in padded if pair[0] < WIDE * len(pair[1])), key=lambda pair: pair[0], default=(0, []))
    load = Load(
        len(largest),
        max(lengths[row] for row in largest),
        max(sum(labels[r] for r in g) for g in groups),
        (len(narrow[1]), narrow[0] // max(1, len(narrow[1]))),
    )
    tokens, whole = sum(lengths[row] for step in steps for row in step), sum(size for size, _ in padded)
    return Work(len(steps), tokens, whole, whole, 0, load)


def _rl(prompts: Sequence[int], settings: RlConfig, machine: Machine) -> Work:
    width = max(prompts) + settings.max_new_tokens
    answers = settings.prompts_per_step * settings.num_generations // machine.processes
    at_once = min(answers, max(1, settings.batch_tokens // width))
    if not machine.tuned:
        at_once = answers // plans.rl_rounds(settings, machine.processes, max(prompts))
    mean = sum(prompts) / len(prompts)
    brief = dataclasses.replace(settings, max_new_tokens=1)
    of_step, least = (
        settings.prompts_per_step * settings.num_generations * (mean + one.max_new_tokens) for one in (settings, brief)
    )
    wide, padded = width, of_step
    if machine.tuned:  # answers to one question are read in one row, see `training.groups`
        made = _shared(round(mean), settings)
        padded, least = (settings.prompts_per_step * sum(_shared(round(mean), one)) for one in (settings, brief))
        wide = max(_shared(max(prompts), settings))
        at_once = max(1, min(len(made) * settings.prompts_per_step, settings.batch_tokens // wide))
    labels = (
        min(answers, at_once * max(1, round((wide - max(prompts)) / settings.max_new_tokens))) * settings.max_new_tokens
    )
    load = Load(
        at_once,
        wide,
        labels,
        decoded=answers,
        context=width,
        new=settings.max_new_tokens,
        prompts=max(1, settings.prompts_per_step // machine.processes),
        reference=settings.beta > 0,
    )
    read = settings.steps * settings.prompts_per_step * (mean + settings.num_generations * settings.max_new_tokens)
    tokens, whole, few = (round(settings.steps * each) for each in (of_step, padded, least))
    return Work(settings.steps, tokens, whole, few, round(read), load)


def _shared(prompt: int, settings: RlConfig) -> list[int]:
    """Lengths of the rows that hold one question's answers, all of them as long as they may be."""
    prompts, answers = [(0,) * prompt] * settings.num_generations, [settings.max_new_tokens] * settings.num_generations
    rows = groups.shared(prompts, answers, settings.batch_tokens)
    return [groups.length_of(one, prompts, answers) for one in rows]
