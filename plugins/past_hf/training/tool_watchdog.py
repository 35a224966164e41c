"""The known ways of cheating a reward for tool calls: a policy that has settled on one is stopped, by name.

Each rule looks at a figure of `episodes/…` in the log. None of these ways should pay under gated rewards: one that has won
all the same says that the reward or the judge can be bought, or that nothing better can be learned from here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .watch import EPISODES
from .watchdog import RULES, Reason, Rule, Step

SETTLED = 0.9
"""Mean of a step's episodes from which a policy does nothing else."""


def _settled(log: Sequence[Step], patience: int, name: str) -> bool:
    """True if the figure was at least `SETTLED` for `patience` steps on end."""
    values = [step.get(EPISODES + name) for step in log[-patience:]]
    return len(values) == patience and all(value is not None and value >= SETTLED for value in values)


def calls_everything(log: Sequence[Step], patience: int) -> Reason | None:
    """Nearly every function shown that the query does not need is called."""
    if not _settled(log, patience, "strangers_called"):
        return None
    return (
        f"in {patience} steps on end the policy called everything: {SETTLED:.0%} of the functions nobody needs",
        "the reward pays for calling: audit it in rollouts.jsonl (first_calls pays less for every needless function)",
    )


def calls_again(log: Sequence[Step], patience: int) -> Reason | None:
    """Nearly every episode makes a call again that was answered."""
    if not _settled(log, patience, "asked_again"):
        return None
    return (
        f"in {patience} steps on end {SETTLED:.0%} of the episodes asked again what had been answered",
        "the reward pays for calling: audit it in rollouts.jsonl (first_calls pays less for every call made again)",
    )


def dumps_observations(log: Sequence[Step], patience: int) -> Reason | None:
    """Nearly every answer hands over what the tools said instead of saying what was asked."""
    if not _settled(log, patience, "dumped"):
        return None
    return (
        f"in {patience} steps on end {SETTLED:.0%} of the answers were dumps of the observations",
        "the judge pays for repeating: audit its verdicts in rollouts.jsonl, or use a stricter one (--judge)",
    )


def finishes_at_once(log: Sequence[Step], patience: int) -> Reason | None:
    """Nearly every episode ends with its first turn, before anything was called."""
    if not _settled(log, patience, "finished_at_once"):
        return None
    return (
        f"in {patience} steps on end {SETTLED:.0%} of the episodes finished at once, without a call",
        "the model knows no call to begin with (more schema SFT, whole ReAct examples), or the reward pays for finishing",
    )


TOOL_RULES: tuple[Rule, ...] = (calls_everything, calls_again, dumps_observations, finishes_at_once, *RULES)
"""Cheating first: it is also what leaves groups dead, and says more."""
