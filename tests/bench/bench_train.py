"""Training on the real small model beside plain TRL with its defaults: `python tests/bench/bench_train.py sft|grpo|reward`.

Both train on the same rows at the same learning rate, turn by turn (A B A B ...), so that whatever else the machine does meets
both. `sft` and `grpo` print the ratio of wall and of processor time with its spread over the rounds, and the curves that are to
be equal: the held-out loss before and after, the mean reward of the steps. `reward` trains until the answers to held-out
questions earn `--target`, and prints the seconds to get there, without those of the measuring.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "plugins"))
QUICKSTART = ROOT / "examples" / "quickstart"

from pastcli import api, grading, models, qa, registry  # noqa: E402
from pastcli.config import IngestConfig, RlConfig, SftConfig  # noqa: E402
from pastcli.ingest import read_documents, read_questions, training_texts  # noqa: E402

REWARDS = (("f1", 0.5), ("contains", 0.25), ("exact_match", 0.25))
AT_ONCE = 8
"""Rows of TRL's default batch; past takes as many steps."""


class Taken:
    """Wall and processor seconds of the block, and what came out of it."""

    def __enter__(self) -> Taken:
        self._wall, self._busy = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.busy = time.perf_counter() - self._wall, time.process_time() - self._busy
        self.curve: list[float] = []


@functools.cache
def smol() -> Path:
    from past_hf.materialize import hf_directory
    from past_hf.quiet import quiet

    quiet()
    return hf_directory(models.resolve("smol").path)


def written(rows: Sequence[dict[str, Any]]) -> Path:
    file = Path(tempfile.mkdtemp()) / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def ours(stage: str, model: Path, rows: Sequence[dict[str, Any]], config: Any, **more: Any) -> api.TrainResult:
    file = written(rows)
    job = api.TrainJob(model, file, file.parent / "out", file.parent / "state", config, **more)
    return getattr(registry.load("trainer", "hf"), stage)(job)


def common(steps: int, lr: float, kind: str, warmup: int = 0) -> dict[str, Any]:
    """Of TRL's arguments what keeps it off cards, logs and checkpoints, and what makes the curves comparable."""
    return dict(
        output_dir=tempfile.mkdtemp(),
        max_steps=steps,
        learning_rate=lr,
        lr_scheduler_type=kind,
        warmup_steps=warmup,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )


def silent(trainer: Any) -> None:
    """Its log would stand between the figures."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


# ---------------------------------------------------------------- SFT


@functools.cache
def texts() -> list[str]:
    return training_texts(read_documents([QUICKSTART / "docs" / "source"], IngestConfig()), "sentences")


def loss_of(model: Any, tokenizer: Any, held_out: Sequence[str]) -> float:
    """Mean loss of every token of the held-out texts, by the same arithmetic for both."""
    import torch
    from past_hf.compute import token_logprobs

    model.eval()
    found = []
    with torch.no_grad():
        for text in held_out:
            ids = torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]])
            wanted = torch.ones_like(ids, dtype=torch.bool)
            wanted[:, 0] = False
            found.append(-token_logprobs(model, ids, wanted)[0])
    return float(torch.cat(found).mean())


def step_tokens(lengths: Sequence[int]) -> int:
    """The least budget by which past takes no more steps than TRL: the same rows in as many updates."""
    from past_hf.training.plans import sft_plan

    tokens, steps = AT_ONCE * round(statistics.mean(lengths)), -(-len(lengths) // AT_ONCE)
    while len(sft_plan(lengths, SftConfig(epochs=1, step_tokens=tokens))) > steps:
        tokens += AT_ONCE
    return tokens


def sft_past(rows: Sequence[str], held_out: Sequence[str], lr: float) -> Taken:
    import torch
    from past_hf.materialize import load_model, load_tokenizer

    tokenizer = load_tokenizer(smol())
    tokens = step_tokens([len(tokenizer(row)["input_ids"]) + 1 for row in rows])
    config = SftConfig(epochs=1, lr=lr, schedule="constant", warmup=0.0, step_tokens=tokens, save_every=10**6)
    with Taken() as taken:
        result = ours("sft", smol(), [{"text": row} for row in rows], config)
    taken.wall = result.seconds
    taken.curve = [loss_of(load_model(result.path, torch.float32), tokenizer, held_out)]
    return taken


def sft_trl(rows: Sequence[str], held_out: Sequence[str], lr: float) -> Taken:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(smol())
    trainer = SFTTrainer(
        model=str(smol()),
        args=TrlConfig(**common(-(-len(rows) // AT_ONCE), lr, "constant")),
        train_dataset=Dataset.from_list([{"text": row} for row in rows]),
        processing_class=tokenizer,
    )
    silent(trainer)
    with Taken() as taken:
        trainer.train()
    taken.curve = [loss_of(trainer.model, tokenizer, held_out)]
    return taken


def sft(rounds: int, rows: int, lr: float) -> dict[str, Any]:
    import torch
    from past_hf.materialize import load_model, load_tokenizer

    used, held_out = texts()[:rows], texts()[-24:]
    measures = (lambda: sft_past(used, held_out, lr), lambda: sft_trl(used, held_out, lr))
    found = interleaved(rounds, *measures)
    start = loss_of(load_model(smol(), torch.float32), load_tokenizer(smol()), held_out)
    return {"what": f"SFT, {rows} texts once", "held_out_loss_before": start, **found}


# ---------------------------------------------------------------- GRPO


@functools.cache
def questions() -> list[dict[str, Any]]:
    asked = read_questions(QUICKSTART / "source_questions.jsonl")
    return [{"prompt": qa.prompt_for(q.question), "answer": q.answers[0], "answers": list(q.answers)} for q in asked]


MODEL: list[Path] = []
"""A model to start GRPO from, if one was given."""


@functools.cache
def knowing() -> Path:
    """The model given, or an SFT model of the quickstart's documents: without one hardly any answer earns anything."""
    if MODEL:
        return MODEL[0]
    texts_ = [{"text": text} for text in texts()]
    with open(ROOT / "pastcli" / "ingest" / "qa_format.jsonl", encoding="utf-8") as pairs:
        texts_ += [json.loads(line) for line in pairs]
    return ours("sft", smol(), texts_, SftConfig(save_every=10**6)).path


def rewards() -> list[tuple[str, float, Any]]:
    return [(name, weight, registry.load("reward", name)) for name, weight in REWARDS]


def graded(completions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float | None]:
    columns = {"answers": list(answers), "answer": [each[0] for each in answers]}
    return grading.total(rewards(), [""] * len(completions), list(completions), columns)


def split(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Three of four questions to learn from, every fourth to measure by."""
    return [row for i, row in enumerate(rows) if i % 4], [row for i, row in enumerate(rows) if i % 4 == 0]


def grpo_past(steps: int, lr: float, target: float = 0.0) -> Taken:
    learn, held_out = split(questions())
    config = RlConfig(steps=steps, lr=lr, warmup=0.0, save_every=10**6, dev_every=5, watchdog=False)
    dev = written(held_out) if target else None
    with Taken() as taken:
        result = ours("rl", knowing(), learn, config, rewards=rewards(), dev=dev)
    taken.wall = result.seconds
    taken.curve = [step["reward"] for step in result.log]
    if target:
        at = next((n for n, step in enumerate(result.log) if step.get("dev", -1.0) >= target), len(result.log) - 1)
        parts = result.log[: at + 1]
        taken.wall = sum(step["seconds"] - step.get("seconds_dev", 0.0) for step in parts)
        taken.curve = [step["dev"] for step in parts if "dev" in step]
    return taken


def grpo_trl(steps: int, lr: float, target: float = 0.0) -> Taken:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    learn, held_out = split(questions())
    tokenizer = AutoTokenizer.from_pretrained(knowing())
    trainer = GRPOTrainer(
        model=str(knowing()),
        args=GRPOConfig(
            **common(steps, lr, "constant"),
            per_device_train_batch_size=128,
            num_generations=8,
            max_completion_length=12,
        ),
        reward_funcs=[lambda completions, answers, **_: graded(completions, answers)],
        train_dataset=Dataset.from_list(learn),
        processing_class=tokenizer,
    )
    measure = Reached(trainer, tokenizer, held_out, target)
    if target:
        trainer.add_callback(measure.callback())
    silent(trainer)
    with Taken() as taken:
        trainer.train()
    taken.wall -= measure.seconds
    taken.curve = measure.curve or [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    return taken


class Reached:
    """Every five steps the reward of greedy answers to held-out questions; stops the trainer at the target."""

    def __init__(self, trainer: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], target: float):
        self.trainer, self.tokenizer, self.rows, self.target = trainer, tokenizer, rows, target
        self.curve: list[float] = []
        self.seconds = 0.0

    def callback(self) -> Any:
        from transformers import TrainerCallback

        look = self

        class Look(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step % 5 == 0:
                    control.should_training_stop = look.now() >= look.target

        return Look()

    def now(self) -> float:
        from past_hf.generation import end_tokens, generate, stop_rule

        began, model = time.perf_counter(), self.trainer.model
        model.eval()
        prompts = [self.tokenizer(row["prompt"])["input_ids"] for row in self.rows]
        stopped = stop_rule(self.tokenizer, end_tokens(model, self.tokenizer), qa.STOP)
        answers = generate(model, prompts, max_new_tokens=12, stopped=stopped, pad=self.tokenizer.eos_token_id)
        said = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        model.train()
        values = [value for value in graded(said, [row["answers"] for row in self.rows]) if value is not None]
        self.curve.append(statistics.mean(values))
        self.seconds += time.perf_counter() - began
        return self.curve[-1]


def grpo(rounds: int, steps: int, lr: float) -> dict[str, Any]:
    knowing()
    found = interleaved(rounds, lambda: grpo_past(steps, lr), lambda: grpo_trl(steps, lr))
    return {"what": f"GRPO, {steps} steps of 16 x 8 answers of 12 tokens", **found}


def reward(rounds: int, steps: int, lr: float, target: float) -> dict[str, Any]:
    knowing()
    measures = (lambda: grpo_past(steps, lr, target), lambda: grpo_trl(steps, lr, target))
    found = interleaved(rounds, *measures, names=("wall",))
    reached = {who: [curve[-1] >= target for curve in curves] for who, curves in found["curves"].items()}
    return {"what": f"GRPO to a held-out reward of {target}, at most {steps} steps", "reached": reached, **found}


# ---------------------------------------------------------------- both


def interleaved(
    rounds: int, past: Callable[[], Taken], trl: Callable[[], Taken], names: Sequence[str] = ("wall", "busy")
) -> dict[str, Any]:
    """Turn by turn; the ratio of each round, so that both had the same company."""
    taken = [(past(), trl()) for _ in range(rounds)]
    found: dict[str, Any] = {}
    for name in names:
        ratios = [getattr(b, name) / getattr(a, name) for a, b in taken]
        found[f"{name}_ratio"] = round(statistics.median(ratios), 2)
        found[f"{name}_spread"] = [round(min(ratios), 2), round(max(ratios), 2)]
        found[f"{name}_seconds"] = {
            who: [round(getattr(pair[at], name), 1) for pair in taken] for at, who in enumerate(("past", "trl"))
        }
    found["curves"] = {who: [pair[at].curve for pair in taken] for at, who in enumerate(("past", "trl"))}
    return found


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_sft_is_ten_times_as_fast_as_plain_trl_at_an_equal_curve():
    found = sft(3, 96, 1e-4)
    print(json.dumps(found))
    assert found["wall_ratio"] >= 10
    for mine, theirs in zip(found["curves"]["past"], found["curves"]["trl"], strict=True):
        learnt = found["held_out_loss_before"] - theirs[0]
        assert found["held_out_loss_before"] - mine[0] > 0.9 * learnt > 0


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_grpo_is_six_times_as_fast_as_plain_trl():
    found = grpo(3, 3, 4e-5)
    print(json.dumps(found))
    assert found["wall_ratio"] >= 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("sft", "grpo", "reward"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=96, help="texts (sft)")
    parser.add_argument("--steps", type=int, default=3, help="steps (grpo), or the most there are (reward)")
    parser.add_argument("--lr", type=float, default=0.0, help="default: 1e-4 (sft), 4e-5")
    parser.add_argument("--target", type=float, default=0.35, help="held-out reward (reward)")
    parser.add_argument("--model", help="SFT model to start from (grpo, reward); default: one is trained first")
    given = parser.parse_args()
    if given.model:
        from past_hf.materialize import hf_directory

        MODEL.append(hf_directory(models.resolve(given.model).path))
    if given.what == "sft":
        found = sft(given.rounds, given.rows, given.lr or 1e-4)
    elif given.what == "grpo":
        found = grpo(given.rounds, given.steps, given.lr or 4e-5)
    else:
        found = reward(given.rounds, given.steps, given.lr or 4e-5, given.target)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
