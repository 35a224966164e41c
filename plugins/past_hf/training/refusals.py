"""Settings that no training here takes, told before a model is read or a process is started."""

from __future__ import annotations

from typing import Any

from pastcli.errors import UsageError

from .layout import layout_of
from .plans import shared_out


def refuse(stage: str, config: Any, episodes: bool = False) -> None:
    """Raise `UsageError` for settings of `stage` that do not go together, `episodes` being those of `--tools`.

    A worker would raise the same, after all of them have loaded torch and the model, and in the name of one of them.
    """
    layout = layout_of(config)
    sharded = config.sharding == "full" and layout.processes > 1
    if config.quantize:
        refuse_packed(config, sharded)
    if stage != "rl":
        return
    if episodes:
        refuse_episodes(config, sharded)
    if layout.processes > 1:
        shared_out(config, layout.processes)


def refuse_packed(config: Any, sharded: bool) -> None:
    """What a base in 4 bits does not go with."""
    if config.method != "lora":
        raise UsageError("--quantize needs --method lora", "weights in 4 bits cannot be trained themselves")
    if sharded:
        raise UsageError("--quantize goes with whole models only", "leave --sharding out: each process holds the base")


def refuse_episodes(config: Any, sharded: bool) -> None:
    """What episodes with tools do not go with: they are decoded turn by turn, by as many passes as each takes."""
    if config.rollouts != "own":
        raise UsageError(f"--rollouts {config.rollouts} cannot call tools between turns", "leave it out with --tools")
    if sharded:
        raise UsageError(
            "--sharding full cannot play episodes",
            "with --tools each process holds the model: leave it out, and where that is too large train --method lora",
        )
