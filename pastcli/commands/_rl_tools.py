"""What `past rl --tools` and `past distill --tools` train on: the queries of some categories, their tools, and a judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config as configs
from .. import output
from ..api import Episodes, Judge, Task, ToolEnv, ToolSpec
from ..errors import UsageError
from . import _agent_setup, _train

if TYPE_CHECKING:
    from ..config import AgentConfig, RlConfig
    from ..tools.load import ToolSet


@dataclass(frozen=True)
class Source:
    """Tools and the queries chosen from them."""

    loaded: ToolSet
    file: Path
    tasks: tuple[Task, ...]

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return self.loaded.specs

    def part(self, tasks: Sequence[Task]) -> Source:
        """The same tools with other queries."""
        return replace(self, tasks=tuple(tasks), loaded=replace(self.loaded, tasks=tuple(tasks)))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each query: what a trainer and a reader of examples.jsonl need of it."""
        return [
            {
                "prompt": task.query,
                "id": task.id,
                "tools": ["/".join(spec.key) for spec in task.tools],
                "relevant": ["/".join(key) for key in task.relevant],
            }
            for task in self.tasks
        ]

    def counts(self) -> dict[str, int]:
        """How many queries, functions and categories."""
        keys = {spec.key for task in self.tasks for spec in task.tools}
        return {"queries": len(self.tasks), "apis": len(keys), "categories": len({key[0] for key in keys})}

    def episodes(self, config: RlConfig) -> Episodes:
        """What plays the queries, in whatever process it is asked to."""
        from ..agent.rollouts import ToolEpisodes
        from ..tools.rewards.behaviour import describe

        agent = agent_config(config)
        return ToolEpisodes(
            {task.id: task for task in self.tasks}, agent, partial(_opened, self.loaded, self.file, agent), (describe,)
        )


@contextmanager
def playing(source: Source | None, config: RlConfig) -> Iterator[Episodes | None]:
    """What plays the queries of a training, and lets go of tools and judge after it; None without tools."""
    if source is None:
        yield None
        return
    from ..agent.strangers import lent

    with lent(source.episodes(config), "episodes") as episodes:
        yield episodes


def read(tools: Path, tasks: Path | None, config: RlConfig) -> Source:
    """The queries of a tools file that can be rewarded, of the categories and in the number that `config` asks for.

    Raises `UsageError` for a category that is not there, and where no query is left.
    """
    loaded = _agent_setup.read(tools, [], tasks, config.strict_tools)
    _warn(loaded)
    chosen = _of_categories(loaded.tasks, config.category)
    known = [task for task in chosen if task.relevant or task.expected_calls]
    if not known:
        raise UsageError(
            f"nothing is known of what a good run of these {len(chosen)} queries calls", "give --tasks with `calls`"
        )
    if len(known) < len(chosen):
        output.warn(f"{len(chosen) - len(known)} of {len(chosen)} queries do not say what a good run calls: left out")
    return Source(loaded, tools, tuple(known[: config.limit] if config.limit else known))


def read_any(tools: Path, config: RlConfig) -> Source:
    """All tools of the categories that `config` asks for, and the queries that came with them and can be rewarded, if any."""
    from ..tools.learning.split import pick
    from ..tools.load import read_tools

    loaded = read_tools(tools, config.strict_tools)
    _warn(loaded)
    categories = set(pick(loaded.specs, config.category))
    specs = tuple(spec for spec in loaded.specs if spec.category in categories)
    own = _of_categories(loaded.tasks, config.category) if loaded.tasks else []
    known = tuple(task for task in own if task.relevant or task.expected_calls)
    return Source(replace(loaded, specs=specs), tools, known)


def _warn(loaded: ToolSet) -> None:
    for line in loaded.warnings.lines():
        output.warn(line)


def _of_categories(tasks: Sequence[Task], categories: Sequence[str]) -> list[Task]:
    """The queries all of whose tools are in one of the categories."""
    if not categories:
        return list(tasks)
    have = Counter(spec.category for task in tasks for spec in task.tools)
    strange = [name for name in categories if name not in have]
    if strange:
        raise UsageError(f"no category {strange[0]!r} among these tools", f"there are {', '.join(sorted(have))}")
    wanted = set(categories)
    chosen = [task for task in tasks if all(spec.category in wanted for spec in task.tools)]
    if not chosen:
        raise UsageError(f"no query has all its tools in {', '.join(categories)}", "name more categories")
    return chosen


def agent_config(config: RlConfig) -> AgentConfig:
    """The settings of an episode: those of `past agent`, as far as a training has them."""
    return configs.AgentConfig(max_new_tokens=config.turn_tokens, **{name: getattr(config, name) for name in _SHARED})


_SHARED = (
    "format",
    "prompt",
    "max_turns",
    "observation_chars",
    "temperature",
    "judge",
    "judge_model",
    "environment",
    "simulator_model",
    "simulator_backend",
    "strict_tools",
)


def _opened(loaded: ToolSet, file: Path, agent: AgentConfig) -> tuple[ToolEnv, Judge]:
    from ..tools.judging.opening import open_judge

    env = _agent_setup.environment(loaded, file, agent)
    return env, open_judge(agent.judge, agent.judge_backend, agent.judge_model, agent.judge_votes)


def behaviour(log: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """The figures of a run: how episodes went in the first and the last steps (see `ends`), and how fast they were decoded."""
    names = ("first_calls_right", "first_call_recall", "grounded", "finished")
    found: dict[str, float | None] = {}
    for name in names:
        found[f"{name}_first"], found[f"{name}_last"] = _train.ends(log, f"episodes/{name}")
    return found | {"rollout_tokens_per_second": _train.mean(log, "rollout_tokens_per_second", len(log))}


def plan(source: Source, config: RlConfig, model: str) -> dict[str, Any]:
    """What a training would do: the document of `--dry-run`. Raises `UsageError` for settings that its trainer does not take."""
    _train.refuse("rl", config, episodes=True)
    episodes = config.steps * config.prompts_per_step * config.num_generations
    return {
        "would_train": model,
        "method": config.method,
        **source.counts(),
        "steps": config.steps,
        "episodes": episodes,
        "turns_at_most": episodes * config.max_turns,
        "sampled_tokens_at_most": episodes * config.max_turns * config.turn_tokens,
        "judged_at_most": episodes,
        "judge": config.judge,
        "rewards": list(config.tool_reward),
    }
