"""Training speed on the real small model beside plain TRL with its defaults, interleaved in one run."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest
from conftest import QUICKSTART

from pastcli import api, models, qa, registry
from pastcli.config import RlConfig, SftConfig
from pastcli.ingest import read_documents, read_questions, training_texts

ROUNDS = 2


@pytest.fixture(scope="module")
def smol() -> Path:
    from past_hf.materialize import hf_directory

    return hf_directory(models.resolve("smol").path)


def rows(path: Path, items: list[dict]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def texts() -> list[str]:
    from pastcli.config import IngestConfig

    return training_texts(read_documents([QUICKSTART / "docs" / "source"], IngestConfig()), "sentences")[:96]


def ours_sft(smol: Path, folder: Path) -> float:
    """Tokens a second of `past sft`."""
    examples = rows(folder / "sft.jsonl", [{"text": text} for text in texts()])
    job = api.TrainJob(smol, examples, folder / "ours", folder / "state", SftConfig(epochs=1, save_every=10**6))
    result = registry.load("trainer", "hf").sft(job)
    return result.tokens / result.seconds


def trl_sft(smol: Path, folder: Path) -> float:
    """Tokens a second of TRL's SFTTrainer as it comes (float32, gradient checkpointing, batches of 8)."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    arguments = TrlConfig(
        output_dir=str(folder / "trl"),
        max_steps=4,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=10**6,
    )
    data = Dataset.from_list([{"text": text} for text in texts()])
    tokenizer = AutoTokenizer.from_pretrained(smol)
    trainer = SFTTrainer(model=str(smol), args=arguments, train_dataset=data, processing_class=tokenizer)
    began = time.monotonic()
    trainer.train()
    return trainer._total_train_tokens / (time.monotonic() - began)


def questions() -> list[dict]:
    return [
        {"prompt": qa.prompt_for(q.question), "answer": q.answers[0], "answers": list(q.answers)}
        for q in read_questions(QUICKSTART / "source_questions.jsonl")
    ]


def token_share(prompts, completions, **columns) -> list[float]:
    """A reward that hardly ever is the same for a whole group, so that most rows are trained."""
    return [len(set(text)) / 100 for text in completions]


def ours_grpo(smol: Path, folder: Path) -> float:
    """Seconds a step of `past rl`: 16 questions x 8 answers of 12 tokens."""
    config = RlConfig(steps=2, save_every=10**6)
    job = api.TrainJob(
        smol,
        rows(folder / "rl.jsonl", questions()),
        folder / "ours",
        folder / "state",
        config,
        rewards=[("token_share", 1.0, token_share)],
    )
    result = registry.load("trainer", "hf").rl(job)
    return result.seconds / result.steps


def trl_grpo(smol: Path, folder: Path) -> float:
    """Seconds a step of TRL's GRPOTrainer with the same questions and answers, else as it comes."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(folder / "trl"),
        max_steps=2,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        per_device_train_batch_size=128,
        num_generations=8,
        max_completion_length=12,
    )
    trainer = GRPOTrainer(
        model=str(smol),
        args=arguments,
        reward_funcs=[token_share],
        train_dataset=Dataset.from_list(questions()),
        processing_class=AutoTokenizer.from_pretrained(smol),
    )
    began = time.monotonic()
    trainer.train()
    return (time.monotonic() - began) / 2


def interleaved(tmp_path: Path, smol: Path, *measures) -> list[float]:
    """The median of each measure, turn by turn, each in a folder of its own."""
    taken: list[list[float]] = [[] for _ in measures]
    for turn in range(ROUNDS):
        for index, measure in enumerate(measures):
            folder = tmp_path / f"{turn}-{index}"
            folder.mkdir()
            taken[index].append(measure(smol, folder))
    return [statistics.median(values) for values in taken]


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_sft_is_faster_than_plain_trl(tmp_path, smol):
    ours, theirs = interleaved(tmp_path, smol, ours_sft, trl_sft)
    print(f"\nSFT: past {ours:.0f} tokens/s, TRL {theirs:.0f} tokens/s, ratio {ours / theirs:.1f}")
    assert ours > 1.5 * theirs


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_grpo_is_faster_than_plain_trl(tmp_path, smol):
    ours, theirs = interleaved(tmp_path, smol, ours_grpo, trl_grpo)
    print(f"\nGRPO: past {ours:.1f} s a step, TRL {theirs:.1f} s a step, ratio {theirs / ours:.1f}")
    assert ours < theirs
