"""The settings of training: those SFT and RL share, and each stage's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .setting import setting

METHODS = ("full", "lora")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class TrainingConfig:
    """What `past sft` and `past rl` have in common."""

    trainer: str = setting("hf", "trainer plugin")
    method: str = setting("full", "what is trained: every weight, or a LoRA", choices=METHODS)
    lr: float = setting(1e-4, "peak learning rate", above=0)
    schedule: str = setting("linear", "learning-rate schedule", choices=SCHEDULES)
    warmup: float = setting(0.05, "share of the steps spent warming up", at_least=0, at_most=1)
    weight_decay: float = setting(0.0, "AdamW weight decay", at_least=0)
    clip: float = setting(1.0, "gradient-norm clip", at_least=0)
    batch_tokens: int = setting(
        0,
        "tokens in one backward pass of a process, padding included (memory, not mathematics); 0: what a card has free memory for, "
        "else 1000",
        at_least=0,
        named=1000,
    )
    rank: int = setting(16, "LoRA rank (method lora)", at_least=1)
    alpha: float = setting(32.0, "LoRA alpha (method lora)", above=0)
    lora_target: list = setting(
        [], "layers that get a LoRA, by the end of their names; none: all linear ones but the output; may repeat"
    )
    rank_pattern: list = setting([], "rank of some layers' LoRA, as PATTERN=RANK (q_proj=8); may repeat")
    alpha_pattern: list = setting([], "alpha of some layers' LoRA, as PATTERN=ALPHA; may repeat")
    rslora: bool = setting(False, "scale a LoRA by alpha / sqrt(rank) instead of alpha / rank (2312.03732)")
    quantize: str = setting(
        "",
        "hold the frozen base under a LoRA in 4 bits (nf4, by bitsandbytes); the adapter is then used on the whole base",
        choices=("", "4bit"),
    )
    optimizer: str = setting("adamw", "AdamW, or its 8-bit form by bitsandbytes", choices=("adamw", "adamw_8bit"))
    gradient_checkpointing: str = setting(
        "auto", "compute activations twice to save memory; auto: on cards only", choices=("auto", "on", "off")
    )
    precision: str = setting("auto", "compute type; master weights are always fp32", choices=PRECISIONS)
    save_every: int = setting(
        0, "optimiser steps between resumable checkpoints; 0 goes by --save-minutes", at_least=0, decides=False
    )
    save_minutes: float = setting(
        2.0,
        "minutes between resumable checkpoints with --save-every 0; more where writing one takes long",
        above=0,
        decides=False,
    )
    processes: int = setting(
        0,
        "processes to train in, of all machines together, started by accelerate; 0: one for each visible card, else one",
        at_least=0,
    )
    machines: int = setting(
        0,
        "machines over which the processes are spread, each with this workspace at the same path",
        at_least=0,
        decides=False,
    )
    machine_rank: int = setting(
        0,
        "which of them this is: 0 makes the run, the others are given the same command and join it",
        at_least=0,
        decides=False,
    )
    main_process_ip: str = setting("", "address of machine 0, as the others reach it", decides=False)
    main_process_port: int = setting(
        0, "free port of machine 0 where all meet", at_least=0, at_most=65535, decides=False
    )
    sharding: str = setting(
        "none", "with several processes: a whole model in each (DDP), or one over all (FSDP2)", choices=("none", "full")
    )
    watchdog: bool = setting(True, "stop a run that can no longer learn, and say why", decides=False, named=True)
    patience: int = setting(
        10, "steps without a signal before the watchdog stops a run", at_least=1, decides=False, named=10
    )
    dev_every: int = setting(10, "steps between measures of --dev", at_least=1)
    report_to: list = setting(
        [], "also log to tensorboard, trackio, wandb or mlflow, if it is installed; may repeat", decides=False
    )
    launch: str = setting("", "accelerate configuration file that starts the processes, instead of --processes")
    seed: int = setting(0, "random seed", at_least=0)


@dataclass(frozen=True)
class SftConfig(TrainingConfig):
    """`past sft`: supervised fine-tuning on documents (METHOD 1; SEAL's inner loop for the text layout)."""

    base: str = setting("smol", "base model: alias, local path or hub id")
    epochs: float = setting(6.0, "passes over the training texts", above=0)
    lr: float = setting(3e-4, "peak learning rate", above=0)
    step_tokens: int = setting(1000, "tokens in an optimiser step, padding included, over all processes", at_least=1)
    max_length: int = setting(
        1024, "longest training text, in tokens; longer ones are split, never cut off", at_least=2
    )
    augment: str = setting(
        "sentences",
        "sentences: each sentence, titled, is a text of its own beside the passage | none: passages alone | off: no "
        "running text of the documents at all, only --task and pairs",
        choices=("sentences", "none", "off"),
    )
    phase: str = setting(
        "",
        "a phase of several, for long documents; brings settings of its own. encoding: the documents, with tasks of "
        "reciting | adaptation: on from an encoded model with question-answer pairs, at a lower rate",
        choices=("", "encoding", "adaptation"),
    )
    task: list = setting(
        [],
        "question-answer pairs to make of the documents by rule, as `past generate` does: verbatim, recall, cloze, or "
        "none; may repeat",
    )
    mix: list = setting(
        ["qa"],
        "prompt/completion JSONL mixed in; `qa` is a built-in set of everyday questions that teaches the "
        "answer format beside documents, `none` leaves it out; may repeat",
    )


PHASES: dict[str, dict[str, Any]] = {
    "encoding": {"task": ["verbatim", "recall"], "mix": ["none"], "lr": 3e-4},
    "adaptation": {"task": ["cloze"], "mix": ["none"], "augment": "off", "lr": 1e-4, "epochs": 2.0},
}
"""What a phase of SFT sets where nobody says otherwise (METHOD 3): knowledge at a high rate, then answering at a low one."""


def preset(stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults that the `values` given bring with them, instead of the stage's own."""
    return PHASES.get(values.get("phase", ""), {}) if stage == "sft" else {}


@dataclass(frozen=True)
class ToolRlConfig:
    """What `past rl --tools` needs beside: which queries, how long an episode may be, who answers calls and who judges."""

    tool_reward: list = setting(
        ["first_calls:0.5", "verdict:0.5"], "with --tools: reward as name[:weight], instead of --reward; may repeat"
    )
    category: list = setting([], "with --tools: only queries all of whose tools are in this category; may repeat")
    limit: int = setting(0, "with --tools: only the first N queries; 0 takes all", at_least=0)
    format: str = setting(
        "react",
        "with --tools: how the model calls: react (the paper's), or native (its own chat template)",
        choices=("react", "native"),
    )
    prompt: str = setting("full", "with --tools: the prompt, as in `past agent`", choices=("full", "brief"))
    max_turns: int = setting(4, "with --tools: turns before an episode is cut off", at_least=1)
    turn_tokens: int = setting(64, "with --tools: longest turn, in tokens", at_least=1)
    observation_chars: int = setting(
        256, "with --tools: longest observation shown to the model, in characters", at_least=16
    )
    judge: str = setting("rules", "with --tools: judge plugin, whose word the reward `verdict` is")
    environment: str = setting(
        "", "with --tools: environment plugin that answers calls (default: the tools' own, else the simulator)"
    )
    simulator_model: str = setting("", "model that answers in the environment `llm`")
    simulator_backend: str = setting("openai", "chat plugin that runs that model")
    strict_tools: bool = setting(False, "a broken field in the tools file is an error, not a warning")


@dataclass(frozen=True)
class RlConfig(ToolRlConfig, TrainingConfig):
    """`past rl`: GRPO on questions, no passage in the prompt (METHOD 3); with tools, on whole episodes of calls."""

    lr: float = setting(4e-5, "peak learning rate", above=0)
    schedule: str = setting("constant", "learning-rate schedule", choices=SCHEDULES)
    warmup: float = setting(0.15, "share of the steps spent warming up", at_least=0, at_most=1)
    steps: int = setting(30, "optimiser steps", at_least=1)
    prompts_per_step: int = setting(16, "different questions in a step", at_least=1)
    num_generations: int = setting(8, "answers sampled for each question (the GRPO group)", at_least=2)
    max_new_tokens: int = setting(12, "longest answer, in tokens", at_least=1)
    temperature: float = setting(1.0, "sampling temperature", above=0)
    beta: float = setting(0.0, "weight of the KL term to the starting model", at_least=0)
    loss: str = setting("dapo", "GRPO loss type", choices=("dapo", "grpo", "dr_grpo", "bnpo"))
    rollouts: str = setting(
        "own",
        "what decodes the answers: past itself, or vLLM by TRL (cards only)",
        choices=("own", "vllm", "vllm-server"),
    )
    vllm_url: str = setting("", "address of the vLLM server (vllm-server)")
    vllm_memory: float = setting(0.3, "share of a card's memory for vLLM (vllm)", above=0, at_most=1)
    vllm_tensor_parallel: int = setting(1, "cards over which vLLM spreads one model (vllm)", at_least=1)
    reward: list = setting(["f1:0.5", "contains:0.25", "exact_match:0.25"], "reward as name[:weight]; may repeat")
    judge_model: str = setting("", "model of a reward or a judge that needs one (judge; llm)")
    judge_backend: str = setting("", "chat plugin that runs the judge's model (default: openai)")
    judge_votes: int = setting(0, "votes of the judge on an answer or an episode; 0: three", at_least=0, at_most=6)
