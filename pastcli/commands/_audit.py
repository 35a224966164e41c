"""`past rl --audit`: a reward tried before anything is trained on it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import api, models, output, qa, registry
from ..config import EvalConfig, RlConfig
from ..errors import GateError, UsageError
from ..words import counted

if TYPE_CHECKING:
    from ..rewards.audit import Audit


TOGETHER = 8
"""Questions whose groups are sampled together."""


def made(
    found: models.ModelRef,
    rows: Sequence[dict[str, Any]],
    rewards: Sequence[tuple[str, float, api.Reward]],
    config: RlConfig,
    count: int,
) -> Audit:
    """The audit on `count` questions drawn by seed, with groups of the model's own answers, sampled as RL would."""
    from ..rewards.audit import audit

    if len(rows) < 3:
        raise UsageError("an audit needs three questions with answers: one's answer is a wrong one to another")
    drawn = random.Random(config.seed).sample(list(rows), min(count, len(rows)))
    chat = registry.load("chat", EvalConfig().backend)(str(found.path))

    def sample(prompts: Sequence[str]) -> Sequence[Sequence[str]]:
        size = config.num_generations
        sampling = api.Sampling(config.max_new_tokens, config.temperature, stop=qa.STOP, seed=config.seed)
        with output.progress("sampling", "questions") as progress:
            said: list[str] = []
            for start in range(0, len(prompts), TOGETHER):
                rows = [prompt for prompt in prompts[start : start + TOGETHER] for _ in range(size)]
                said += [one.text for one in chat.complete(rows, sampling)]
                progress(min(start + TOGETHER, len(prompts)), len(prompts), {})
        return [said[start : start + size] for start in range(0, len(said), size)]

    try:
        return audit(rewards, drawn, sample)
    finally:
        chat.close()


def show(found: Audit, as_json: bool) -> None:
    """The table and the verdict; raises `GateError` for a reward that should not be trained on."""
    document = {**vars(found), "sound": found.sound}

    def human() -> None:
        rows = [(name, _cell(found.earned[name]), _cell(found.share[name], "{:.0%}")) for name in found.earned]
        caption = f"mean over {counted(found.questions, 'questions')}; {found.ungraded:.0%} of the answers could not be graded"
        output.table("what an answer earns", ("answer", "reward", "of accepted"), rows, caption)
        if found.groups:
            own = found.groups
            output.line(
                f"the model's own answers: mean {own['mean']:.3f}, spread within a group {own['spread']:.3f}, "
                f"{own['dead']:.0%} of {own['groups']:.0f} groups dead"
            )
        output.line("sound: nothing that knows nothing is paid for" if found.sound else "not sound:", "bold")
        for fault in found.faults:
            output.line(f"- {fault}")

    output.emit(document, as_json, human)
    if not found.sound:
        raise GateError(
            f"do not train on this reward: {found.faults[0]}", "other rewards or weights: --reward NAME:WEIGHT"
        )


def _cell(value: float | None, form: str = "{:.3f}") -> str:
    return "ungraded" if value is None else form.format(value)
