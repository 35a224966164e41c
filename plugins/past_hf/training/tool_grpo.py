"""GRPO on whole episodes of tool calls, through TRL's `rollout_func`: the policy's tokens are trained, observations are not.

The episodes are played by whoever made the job (`api.Episodes`); here they are decoded, weighed and learned from. TRL hands
the rollout its prompts alone, so the tasks asked are taken from the rows just before, and each copy of a row is made a
row of its own: TRL writes the columns of a rollout into them.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object

from pastcli import api
from pastcli.config import RlConfig
from pastcli.errors import PastError

from .arguments import Machine
from .examples import warn_too_long
from .grpo import Grpo, TunedGrpo, assembled, check
from .held_out import of_all
from .overrides import stands_in
from .policy import Policy
from .refusals import refuse_episodes
from .tool_watchdog import TOOL_RULES
from .watch import EPISODES, Grades

AT_ONCE = 64
"""Episodes under way together: what is kept of each takes some 40 MB of a small model, and more at once are hardly faster."""


class Playing(Grpo):
    """Mixed in before a GRPO trainer: an answer is an episode."""

    unneeded = ("_generate_single_turn",)  # turns are `policy`'s
    rules = TOOL_RULES
    policy: Policy
    asked: list[str]
    cut_off: float = 0.0
    """Share of the last step's turns that ended at the token limit."""

    @stands_in()
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [dict(row) for row in inputs]
        self.asked = [row["id"] for row in rows]
        batch = super()._generate_and_score_completions(rows)
        # TRL calls cut off what does not end in an end token: a turn ends where its observation begins.
        self._metrics["train"]["completions/clipped_ratio"][-1] = self.cut_off
        return batch

    def play(self) -> dict[str, Any]:
        """The episodes of this process's rows, as TRL wants a rollout, and what the rewards need of them."""
        first = self.rank * len(self.asked)
        self.counted = len(self.asked) * self.accelerator.num_processes
        episodes = self.job.episodes
        assert episodes is not None, "`build` is for jobs with episodes"
        asked = [(key, first + place) for place, key in enumerate(self.asked)]
        played: list[api.Rollout] = []
        self.model.eval()
        with self.accelerator.autocast() if self.args.bf16 else contextlib.nullcontext():
            for start in range(0, len(asked), AT_ONCE):
                self.policy.forget()
                played += episodes.play(
                    self.policy,
                    asked[start : start + AT_ONCE],
                    step_seed(self.job.config.seed, self.state.global_step),
                    self.clock,
                )
        self.model.train()
        turns = [step for rollout in played for step in rollout.episode.steps]
        cut = sum(step.completion.finish == "length" for step in turns)
        all_cut, all_turns, tokens, seconds = of_all(
            self, cut, len(turns), self.policy.sampled, self.policy.seconds
        ).T.double()
        self.cut_off = (all_cut.sum() / all_turns.sum().clamp(min=1)).item()
        self.extra["rollout_tokens"] = int(tokens.sum().item())
        self.extra["rollout_tokens_per_second"] = (tokens.sum() / seconds.max().clamp(min=1e-9)).item()
        self.policy.begin()  # what was kept of the episodes is as large as the model
        for rollout in played:
            for name, value in rollout.figures.items():
                if value is not None:
                    self._log_metric(EPISODES + name, float(value))
        return {
            "prompt_ids": [list(rollout.prompt_ids) for rollout in played],
            "completion_ids": [list(rollout.completion_ids) for rollout in played],
            "env_mask": [list(rollout.mask) for rollout in played],
            "logprobs": None,
            "episode": [rollout.episode for rollout in played],
            "verdict": [rollout.verdict for rollout in played],
        }

    def seen(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: dict[str, Any],
        by_name: Mapping[str, Grades],
        total: Grades,
    ) -> None:
        if all(gather_object([value is None for value in total])):
            raise PastError(
                f"no reward could grade any of {self.counted} episodes",
                "rewards of episodes are first_calls and verdict; the judge must be able to grade these queries",
            )
        super().seen(prompts, completions, columns, by_name, total)


class TunedPlaying(Playing, TunedGrpo):
    """The step of one process without a card."""


def roll_out(prompts: list[str], trainer: Playing) -> dict[str, Any]:
    """TRL's `rollout_func`."""
    return trainer.play()


def step_seed(seed: int, step: int) -> int:
    """31 bits from (run seed, step): episodes are the same after `--resume`, and differ from step to step."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=4).digest()) & 0x7FFFFFFF


def build(
    job: api.TrainJob, machine: Machine, model: Any, tokenizer: Any, rows: list[dict[str, Any]], common: dict
) -> Playing:
    """The trainer of one `past rl --tools`. Raises `UsageError` for what cannot play episodes."""
    config: RlConfig = job.config
    check(job)
    refuse_episodes(config, machine.sharded)
    policy = Policy(model, tokenizer, lambda part: trainer.clock(part))
    assert job.episodes is not None, "jobs without episodes are `grpo.build`'s"
    openings = job.episodes.openings(policy)
    limit = policy.context - config.turn_tokens
    long = [number for number, row in enumerate(rows, 1) if openings[row["id"]] > limit]
    warn_too_long(long, len(rows), limit, "these queries show too many tools: the model holds no more", job.strict)
    rows = [row for row in rows if openings[row["id"]] <= limit]
    opening = max(openings[row["id"]] for row in rows)
    # A token of an observation is two characters at the least, where it is not foreign script.
    after = config.max_turns * config.turn_tokens + (config.max_turns - 1) * config.observation_chars // 2
    kind = TunedPlaying if machine.tuned else Playing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using 'rollout_func'")  # TRL is pinned to the version it is in
        trainer = assembled(kind, job, machine, model, tokenizer, rows, common, (opening, after), rollout_func=roll_out)
    trainer.policy = policy
    return trainer
