"""One dataclass per stage, and how its values are found: flag > environment > past.toml > default.

`past.toml` has one table per stage (`[sft]`, `[rl]`, ...); the environment variable of a setting is
`PAST_<STAGE>_<NAME>`. What a run used is written beside its output as `config.toml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UsageError


def setting(default: Any, help: str) -> Any:
    """A dataclass field with the text that `--help` and the docs show."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class IngestConfig:
    """`past ingest`: documents to passages."""

    max_chars: int = setting(2000, "longest passage, in characters; cuts fall at paragraph, then sentence ends")
    min_chars: int = setting(1, "drop passages shorter than this many characters")
    implication_sets: int = setting(1, "sets of implications to keep of a record's `completions`")
    max_file_mb: int = setting(256, "skip files larger than this many megabytes")


@dataclass(frozen=True)
class SftConfig:
    """`past sft`: supervised fine-tuning on documents (METHOD 1; SEAL's inner loop for the text layout)."""

    base: str = setting("smol", "base model: alias, local path or hub id")
    trainer: str = setting("hf", "trainer plugin")
    method: str = setting("full", "full | lora")
    epochs: float = setting(6.0, "passes over the training texts")
    lr: float = setting(3e-4, "peak learning rate")
    schedule: str = setting("linear", "learning-rate schedule: linear | cosine | constant")
    warmup: float = setting(0.05, "share of the steps spent warming up")
    weight_decay: float = setting(0.0, "AdamW weight decay")
    clip: float = setting(1.0, "gradient-norm clip")
    batch_tokens: int = setting(1000, "tokens in a batch, padding included (one optimiser step)")
    max_length: int = setting(1024, "longest training text, in tokens; longer ones are split, never cut off")
    augment: str = setting(
        "sentences", "sentences: each sentence, titled, is a text of its own beside the passage | none"
    )
    mix: list = setting(
        ["qa"],
        "prompt/completion JSONL mixed in; `qa` is a built-in set of everyday questions that teaches the "
        "answer format beside documents, `none` leaves it out; may repeat",
    )
    rank: int = setting(16, "LoRA rank (method lora)")
    alpha: float = setting(32.0, "LoRA alpha (method lora)")
    precision: str = setting("auto", "compute type: auto | bf16 | fp32; master weights are always fp32")
    save_every: int = setting(50, "optimiser steps between resumable checkpoints")
    seed: int = setting(0, "random seed")


@dataclass(frozen=True)
class RlConfig:
    """`past rl`: GRPO on questions, no passage in the prompt (METHOD 3)."""

    trainer: str = setting("hf", "trainer plugin")
    method: str = setting("full", "full | lora")
    steps: int = setting(30, "optimiser steps")
    prompts_per_step: int = setting(16, "different questions in a step")
    num_generations: int = setting(8, "answers sampled for each question (the GRPO group)")
    max_new_tokens: int = setting(12, "longest answer, in tokens")
    temperature: float = setting(1.0, "sampling temperature")
    lr: float = setting(4e-5, "peak learning rate")
    schedule: str = setting("constant", "learning-rate schedule: linear | cosine | constant")
    warmup: float = setting(0.15, "share of the steps spent warming up")
    weight_decay: float = setting(0.0, "AdamW weight decay")
    clip: float = setting(1.0, "gradient-norm clip")
    beta: float = setting(0.0, "weight of the KL term to the starting model")
    loss: str = setting("dapo", "GRPO loss type: dapo | grpo | dr_grpo | bnpo")
    batch_tokens: int = setting(1000, "tokens in one backward pass, padding included (memory, not mathematics)")
    reward: list = setting(["f1:0.5", "contains:0.25", "exact_match:0.25"], "reward as name[:weight]; may repeat")
    rank: int = setting(16, "LoRA rank (method lora)")
    alpha: float = setting(32.0, "LoRA alpha (method lora)")
    precision: str = setting("auto", "compute type: auto | bf16 | fp32; master weights are always fp32")
    save_every: int = setting(10, "optimiser steps between resumable checkpoints")
    seed: int = setting(0, "random seed")


@dataclass(frozen=True)
class DistillConfig:
    """`past distill`: K rounds of SFT and RL on disjoint parts of the source (METHOD 2)."""

    rounds: int = setting(2, "number of rounds K; the source is split into K disjoint parts by document")
    seed: int = setting(0, "random seed of the split")


@dataclass(frozen=True)
class ExtractConfig:
    """`past extract`: v = theta_rl - theta_sft (METHOD 1)."""

    rank: int = setting(0, "keep at most this rank of each matrix (truncated SVD); 0 keeps all")
    energy: float = setting(0.0, "keep the smallest rank that holds this share of each matrix's squared norm; 0 is off")
    density: float = setting(0.0, "keep this share of each tensor's entries, the largest ones; 0 keeps all")
    allow_lossy: bool = setting(False, "accept checkpoints whose difference is mostly 16-bit rounding noise")
    seed: int = setting(0, "seed of the randomised SVD")


@dataclass(frozen=True)
class InjectConfig:
    """`past inject`: theta_final = theta_target + lambda v (METHOD 1)."""

    scale: float = setting(1.0, "lambda: the multiple of the skill vector to add")
    scales: list = setting(
        [], "scale of some tensors, as PATTERN=FACTOR (q_proj=0.5, layers.0-9=0, embed_tokens=0); may repeat"
    )
    depth_scale: str = setting("", "scale that runs linearly over the layers, as FIRST:LAST (0:1)")
    dtype: str = setting(
        "auto", "stored type: auto (as the target) | f32 | bf16 | f16; a GGUF also takes llama.cpp's types"
    )
    rounding: str = setting("nearest", "rounding to the stored type: nearest | stochastic")
    control: str = setting(
        "none", "replace v by a control of the same per-tensor norm: none | random | shuffled | zero"
    )
    project: str = setting("", "sft:K removes the part of v inside the top-K subspaces of the target's own SFT change")
    merge: str = setting("sum", "how several vectors are put together: sum | ties")
    ties_density: float = setting(0.2, "share of each vector's entries that TIES keeps")
    raise_types: str = setting("", "GGUF: give the tensors that would lose the skill this finer type (q8_0, f16)")
    min_survival: float = setting(0.0, "gate: fail (exit 4) if less of the skill survives the cast (cosine)")
    seed: int = setting(0, "seed of the control and of stochastic rounding")


@dataclass(frozen=True)
class SweepConfig:
    """`past sweep`: the scale lambda chosen on a development set, with the KL to the target as its price."""

    grid: list = setting(
        ["0.25", "0.5", "0.75", "1", "1.25", "1.5"], "scales to try, beside 0 (the target itself); may repeat"
    )
    group: list = setting([], "sweep these tensors apart, all others at 0, as in --scales (self_attn, mlp); may repeat")
    backend: str = setting("hf", "chat plugin that runs the models")
    max_new_tokens: int = setting(16, "longest answer, in tokens")
    batch_size: int = setting(64, "questions decoded together")
    dtype: str = setting("auto", "stored type of the models tried: auto (as the target) | f32 | bf16 | f16")
    seed: int = setting(0, "seed of stochastic rounding and the like")


@dataclass(frozen=True)
class ProbeConfig:
    """`past probe-orthogonality` (METHOD 4)."""

    subspaces: int = setting(0, "compare the top-K singular subspaces of every matrix as well; 0 is off")
    seed: int = setting(0, "seed of the shuffled and random controls and of the randomised SVD")


@dataclass(frozen=True)
class EvalConfig:
    """`past eval`: closed-book question answering with intervals and paired tests."""

    backend: str = setting("hf", "chat plugin that runs the model")
    max_new_tokens: int = setting(16, "longest answer, in tokens")
    batch_size: int = setting(64, "questions decoded together")
    limit: int = setting(0, "ask only the first N questions; 0 asks all")
    resamples: int = setting(10_000, "bootstrap and permutation resamples")
    confidence: float = setting(0.95, "coverage of the intervals")
    seed: int = setting(0, "seed of the resampling")


@dataclass(frozen=True)
class AgentConfig:
    """`past agent`: a ReAct loop over tools."""

    backend: str = setting("llamacpp", "chat plugin that runs the model")
    judge: str = setting("rules", "judge plugin")
    max_turns: int = setting(12, "turns before an episode is cut off")
    max_new_tokens: int = setting(256, "longest turn, in tokens")
    observation_chars: int = setting(1024, "longest observation shown to the model, in characters")
    temperature: float = setting(0.0, "sampling temperature; 0 is greedy")
    attempts: int = setting(1, "attempts at each query")
    parallel: int = setting(1, "episodes under way at once; models that decode in batches are asked for all together")
    limit: int = setting(0, "run only the first N queries; 0 runs all")
    decoding: str = setting("off", "constrain the output: off | format | names | schema")
    show_schemas: bool = setting(False, "put the documentation of the tools into the prompt (not names-only)")
    strict_tools: bool = setting(False, "a broken field in the tools file is an error, not a warning")
    seed: int = setting(0, "run seed; each call's seed is derived from it")


STAGES: dict[str, type] = {
    "ingest": IngestConfig,
    "sft": SftConfig,
    "rl": RlConfig,
    "distill": DistillConfig,
    "extract": ExtractConfig,
    "inject": InjectConfig,
    "sweep": SweepConfig,
    "probe": ProbeConfig,
    "eval": EvalConfig,
    "agent": AgentConfig,
}


def resolve(stage: str, flags: Mapping[str, Any], file: Path | None = None) -> Any:
    """The stage's config with every value resolved; `flags` holds None (or []) for what the user did not type.

    `file` defaults to `past.toml` of the current directory, if there is one. Raises `UsageError` for an
    unknown key (naming the nearest), a wrong type or an unreadable file.
    """
    cls = STAGES[stage]
    table = load_file(file).get(stage, {})
    known = [f.name for f in dataclasses.fields(cls)]
    _check_environment(stage, known)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name in known:
        variable = f"PAST_{stage}_{name}".upper()
        flag = flags.get(name)
        if flag is not None and flag != []:
            values[name] = _coerce(flag, hints[name], f"--{name.replace('_', '-')}")
        elif variable in os.environ:
            values[name] = _coerce(os.environ[variable], hints[name], variable)
        elif name in table:
            values[name] = _coerce(table[name], hints[name], f"{name} in [{stage}] of {file or 'past.toml'}")
    return cls(**values)


def load_file(file: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read and check a past.toml; {} when there is none and none was asked for."""
    path = file or Path("past.toml")
    if not path.exists():
        if file is not None:
            raise UsageError(f"no configuration file {file}", "check the path after --config")
        return {}
    import tomli

    try:
        tables = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    for stage, table in tables.items():
        if stage not in STAGES:
            raise UsageError(f"unknown table [{stage}] in {path}", _nearest(stage, STAGES))
        if not isinstance(table, dict):
            raise UsageError(f"{stage} in {path} must be a table", f"write [{stage}] on a line of its own")
        known = [f.name for f in dataclasses.fields(STAGES[stage])]
        for key in table:
            if key not in known:
                raise UsageError(f"unknown setting {key} in [{stage}] of {path}", _nearest(key, known))
    return tables


def _check_environment(stage: str, known: list[str]) -> None:
    """A misspelt variable would otherwise have no effect, and say nothing."""
    prefix = f"PAST_{stage}_".upper()
    for variable in os.environ:
        name = variable.removeprefix(prefix).lower()
        if variable.startswith(prefix) and name not in known:
            raise UsageError(f"unknown setting in the environment: {variable}", _nearest(name, known))


def to_dict(config: Any) -> dict[str, Any]:
    return dataclasses.asdict(config)


def to_toml(stage: str, config: Any) -> str:
    """The resolved config as a past.toml table, so that a run can be repeated from its own file."""
    import tomli_w

    # TOML has no null: a setting that is None is left out, and means the same when read back.
    return tomli_w.dumps({stage: {name: value for name, value in to_dict(config).items() if value is not None}})


def digest(value: Any) -> str:
    """sha256 over canonical JSON: the same settings give the same text everywhere."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def _coerce(value: Any, wanted: Any, where: str) -> Any:
    """`value` as type `wanted`; text from the environment is parsed, TOML integers may stand for floats."""
    if isinstance(wanted, types.UnionType):
        wanted = next(arg for arg in typing.get_args(wanted) if arg is not type(None))
    try:
        if wanted is list:
            return list(value) if isinstance(value, (list, tuple)) else [v for v in str(value).split(",") if v]
        if wanted is bool:
            if isinstance(value, bool):
                return value
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[str(value).lower()]
        if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
            raise ValueError
        if wanted is int and isinstance(value, float):
            raise ValueError
        return wanted(value)
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{where} must be {wanted.__name__}, not {value!r}") from None
