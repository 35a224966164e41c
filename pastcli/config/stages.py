"""One dataclass per stage: each setting with its type, default, help text, and the values it may take.

A command's options, the environment variables, past.toml and the checks all come from these fields and from nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from .setting import setting
from .tools import AgentConfig, LessonsConfig, ServeConfig
from .training import RlConfig, SftConfig


@dataclass(frozen=True)
class IngestConfig:
    """`past ingest`: documents to passages."""

    max_chars: int = setting(
        2000, "longest passage, in characters; cuts fall at paragraph, then sentence ends", at_least=20
    )
    min_chars: int = setting(1, "drop passages shorter than this many characters", at_least=1)
    implication_sets: int = setting(1, "sets of implications to keep of a record's `completions`", at_least=0)
    max_file_mb: int = setting(256, "skip files larger than this many megabytes", at_least=1)


@dataclass(frozen=True)
class GenerateConfig:
    """`past generate`: more texts and questions out of passages, by a chat model or by rule (METHOD 3)."""

    kind: list = setting(
        ["rules"],
        "what to make: implications, rewrite, summary, self_qa, factual, reasoning, definition, comparison, listing, "
        "significance, six (the last six in rotation), verbatim, recall, cloze, rules (the last three); may repeat",
    )
    backend: str = setting("hf", "chat plugin that runs the model")
    samples: int = setting(1, "answers to ask for, of each kind and passage", at_least=1)
    max_new_tokens: int = setting(512, "longest answer, in tokens", at_least=1)
    temperature: float = setting(0.7, "sampling temperature; 0 is greedy", at_least=0)
    near: float = setting(0.8, "similarity of word triples from which two texts count as the same", above=0, at_most=1)
    price_in: float = setting(0.0, "price of a million prompt tokens, for the plan", at_least=0)
    price_out: float = setting(0.0, "price of a million answer tokens, for the plan", at_least=0)
    seed: int = setting(0, "seed of the sampling", at_least=0)


@dataclass(frozen=True)
class DistillConfig:
    """`past distill`: K rounds of SFT and RL on disjoint parts of the source (METHOD 2)."""

    rounds: int = setting(2, "number of rounds K; the source is split into K disjoint parts by document", at_least=1)
    seed: int = setting(0, "random seed of the split", at_least=0)


@dataclass(frozen=True)
class ExtractConfig:
    """`past extract`: v = theta_rl - theta_sft (METHOD 1)."""

    rank: int = setting(0, "keep at most this rank of each matrix (truncated SVD); 0 keeps all", at_least=0)
    energy: float = setting(
        0.0,
        "keep the smallest rank that holds this share of each matrix's squared norm; 0 is off",
        at_least=0,
        at_most=1,
    )
    density: float = setting(
        0.0, "keep this share of each tensor's entries, the largest ones; 0 keeps all", at_least=0, at_most=1
    )
    allow_lossy: bool = setting(False, "accept checkpoints whose difference is mostly 16-bit rounding noise")
    assume_parent: bool = setting(
        False, "take an RL adapter whose base is not on this disk as trained on --sft; the skill will say so"
    )
    seed: int = setting(0, "seed of the randomised SVD", at_least=0)


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
    rounding: str = setting("nearest", "rounding to the stored type", choices=("nearest", "stochastic"))
    control: str = setting(
        "none",
        "replace v by a control of the same per-tensor norm: none | random | shuffled | layers (its layers in another "
        "order) | zero | a skill FILE (of another seed, of imitation, of format)",
    )
    project: str = setting("", "sft:K removes the part of v inside the top-K subspaces of the target's own SFT change")
    merge: str = setting("sum", "how several vectors are put together", choices=("sum", "ties"))
    ties_density: float = setting(0.2, "share of each vector's entries that TIES keeps", above=0, at_most=1)
    density: float = setting(
        1.0,
        "keep this share of each vector's entries in every tensor, the largest ones; 1 keeps all",
        above=0,
        at_most=1,
    )
    rescale: bool = setting(False, "give every tensor that --density trimmed its old norm back (DoTS)")
    raise_types: str = setting("", "GGUF: give the tensors that would lose the skill this finer type (q8_0, f16)")
    min_survival: float = setting(
        0.0,
        "gate: fail (exit 4) if less of the skill, or of the target's own change, survives the cast (cosine)",
        at_least=-1,
        at_most=1,
    )
    seed: int = setting(0, "seed of the control and of stochastic rounding", at_least=0)


@dataclass(frozen=True)
class ExportConfig:
    """`past export`: a model in the form that another program runs."""

    to: str = setting(
        "gguf", "what to write: a Hugging Face directory, a GGUF, a folder for Ollama", choices=("gguf", "hf", "ollama")
    )
    dtype: str = setting(
        "auto", "stored type: auto (as the model) | f32 | bf16 | f16; a GGUF also takes llama.cpp's types"
    )
    min_survival: float = setting(
        0.0, "gate: fail (exit 4) if a cast leaves less of what training changed (cosine)", at_least=-1, at_most=1
    )


@dataclass(frozen=True)
class SweepConfig:
    """`past sweep`: the scale lambda chosen on a development set, with the KL to the target as its price."""

    grid: list = setting(
        ["0.25", "0.5", "0.75", "1", "1.25", "1.5"], "scales to try, beside 0 (the target itself); may repeat"
    )
    group: list = setting([], "sweep these tensors apart, all others at 0, as in --scales (self_attn, mlp); may repeat")
    backend: str = setting("hf", "chat plugin that runs the models")
    max_new_tokens: int = setting(16, "longest answer, in tokens", at_least=1)
    batch_size: int = setting(64, "questions decoded together", at_least=1)
    samples: int = setting(5, "answers sampled to each question without labels", at_least=2)
    temperature: float = setting(0.7, "temperature of those samples", above=0)
    dtype: str = setting("auto", "stored type of the models tried: auto (as the target) | f32 | bf16 | f16")
    precision: str = setting(
        "stored",
        "type that computes: stored loses nothing of the weights; a cast is reported with what it keeps of the difference",
        choices=("stored", "fp32", "bf16", "fp16"),
    )
    seed: int = setting(0, "seed of stochastic rounding and of sampled answers", at_least=0)


@dataclass(frozen=True)
class ProbeConfig:
    """`past probe-orthogonality` (METHOD 4)."""

    subspaces: int = setting(0, "compare the top-K singular subspaces of every matrix as well; 0 is off", at_least=0)
    geometry: int = setting(
        0,
        "measure which entries each update moves, and how it turns the K leading singular directions of the weights; 0 is "
        "off: it takes about a hundred times as long as the rest",
        at_least=0,
    )
    allow_lossy: bool = setting(
        False, "probe checkpoints whose difference is mostly the rounding of their stored types"
    )
    seed: int = setting(0, "seed of the random control, of sign flips and of the singular vectors' start", at_least=0)


@dataclass(frozen=True)
class EvalConfig:
    """`past eval`: closed-book question answering with intervals and paired tests."""

    backend: str = setting("hf", "chat plugin that runs the model")
    retained: str = setting(
        "", "a base model: also measure what each model kept of it (perplexity and KL on a fixed neutral text)"
    )
    max_new_tokens: int = setting(16, "longest answer, in tokens", at_least=1)
    batch_size: int = setting(64, "questions decoded together", at_least=1)
    precision: str = setting(
        "stored",
        "type that computes: stored loses nothing of the weights; a cast is reported with what it keeps of the difference",
        choices=("stored", "fp32", "bf16", "fp16"),
    )
    passages: int = setting(3, "passages that --baseline retrieval puts before a question", at_least=1)
    limit: int = setting(0, "ask only the first N questions; 0 asks all", at_least=0)
    judge_model: str = setting("", "also let this model say which answers are right (the metric judge)")
    judge_backend: str = setting("", "chat plugin that runs the judge's model (default: openai)")
    judge_votes: int = setting(0, "votes of the judge on an answer; 0: three", at_least=0, at_most=6)
    resamples: int = setting(10_000, "bootstrap and permutation resamples", at_least=100)
    confidence: float = setting(0.95, "coverage of the intervals", at_least=0.5, at_most=0.9999)
    seed: int = setting(0, "seed of the resampling", at_least=0)


@dataclass(frozen=True)
class AskConfig:
    """`past ask`: one question, or a conversation."""

    backend: str = setting(
        "auto", "chat plugin that runs the model; auto: llama.cpp for a GGUF, transformers for a folder"
    )
    prompt: str = setting(
        "auto",
        "qa: the closed-book prompt of training; chat: the model's template; auto: qa for models trained here",
        choices=("auto", "qa", "chat"),
    )
    scale: float = setting(1.0, "lambda: the multiple of the skill vectors to add")
    max_new_tokens: int = setting(256, "longest answer, in tokens", at_least=1)
    temperature: float = setting(0.0, "sampling temperature; 0 is greedy", at_least=0)
    seed: int = setting(0, "seed of the sampling", at_least=0)


@dataclass(frozen=True)
class StudyConfig:
    """`past study init`: a study from one folder of documents."""

    base: str = setting("smol", "base model of everything: alias, local path or hub id")
    share: float = setting(
        0.34, "share of the text, by document, that is the source: what RL practises on", above=0, at_most=0.9
    )
    dev: float = setting(
        0.2,
        "share of the target's documents whose questions only choose the scale; 0: none do",
        at_least=0,
        at_most=0.8,
    )
    per_document: int = setting(12, "questions on one document, at most", at_least=1)
    seeds: int = setting(3, "seeds of every training; with fewer than three nothing is claimed", at_least=1)
    minutes: float = setting(
        0.0, "take only as many documents, and as much of each, as fit into this time; 0 takes all", at_least=0
    )
    backend: str = setting("hf", "chat plugin that runs the model that writes questions")


STAGES: dict[str, type] = {
    "ingest": IngestConfig,
    "lessons": LessonsConfig,
    "generate": GenerateConfig,
    "sft": SftConfig,
    "rl": RlConfig,
    "distill": DistillConfig,
    "extract": ExtractConfig,
    "inject": InjectConfig,
    "export": ExportConfig,
    "sweep": SweepConfig,
    "probe": ProbeConfig,
    "eval": EvalConfig,
    "ask": AskConfig,
    "agent": AgentConfig,
    "serve": ServeConfig,
    "study": StudyConfig,
}
