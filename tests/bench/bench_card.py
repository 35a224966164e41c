"""Training on a card: `python tests/bench/bench_card.py [parity] [sft] [grpo] [--model DIR]`, a JSON document a line.

`parity`: a few steps in float32 on the card (TRL's own step) and on the processor (the tuned step); their losses must be the same.
`sft`, `grpo`: `past` beside plain TRL at equal settings, turn by turn: seconds a step without the first ones, tokens a second,
and the share of the card's bf16 peak that the 6 N operations a token of a training make.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench_train as bench

from pastcli.config import RlConfig, SftConfig

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""bf16 operations a second of a card without sparsity, as its maker states them."""
ROUNDS, WARM = 2, 3
ROWS, WORDS, STEPS = 32, 330, 12
"""Of `sft`: rows in a step, words in a row (about 500 tokens), steps."""


def texts(count: int, words: int) -> list[str]:
    rng, known = random.Random(0), " ".join(bench.texts()).split()
    return [" ".join(rng.choices(known, k=words)) for _ in range(count)]


def tokenised(rows: Sequence[str]) -> int:
    from past_hf.materialize import load_tokenizer

    tokenizer = load_tokenizer(bench.smol())
    return sum(len(tokenizer(row)["input_ids"]) + 1 for row in rows)


# ---------------------------------------------------------------- the same losses on card and processor


def letters(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    """The share of an answer's characters that are letters: a reward that is hardly ever the same for a whole group."""
    return [sum(map(str.isalpha, text)) / max(1, len(text)) for text in completions]


def losses() -> dict[str, list[float]]:
    """Of a few steps of both stages in float32, on whatever device torch sees."""
    rows = [{"text": text} for text in bench.texts()[:24]]
    sft = SftConfig(epochs=1, step_tokens=256, batch_tokens=256, precision="fp32", save_every=10**6)
    trained = bench.ours("sft", bench.smol(), rows, sft)
    rl = RlConfig(steps=3, prompts_per_step=4, lr=1e-5, precision="fp32", save_every=10**6, watchdog=False)
    after = bench.ours("rl", trained.path, bench.questions(), rl, rewards=[("letters", 1.0, letters)])
    return {
        "sft": [step["loss"] for step in trained.log],
        "rl_reward": [step["reward"] for step in after.log],
        "rl_gradient": [step["grad_norm"] for step in after.log],
    }


def parity() -> dict[str, Any]:
    here = losses()
    words = [sys.executable, __file__, "losses", *(["--model", str(bench.smol())])]
    done = subprocess.run(words, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr[-800:]}
    there = json.loads(done.stdout.splitlines()[-1])["losses"]
    worst = {
        name: max((abs(a - b) / max(abs(b), 1e-9) for a, b in zip(here[name], there[name], strict=True)), default=0.0)
        for name in here
    }
    return {"card": here, "processor": there, "largest_relative_difference": worst}


# ---------------------------------------------------------------- beside plain TRL


class Times:
    """Seconds of every step, from a trainer's own callbacks."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def callback(self) -> Any:
        from transformers import TrainerCallback

        ends = self.ends

        class Look(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                import torch

                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                ends.append(time.perf_counter())

        return Look()

    @property
    def median(self) -> float:
        return statistics.median(b - a for a, b in zip(self.ends[WARM:-1], self.ends[WARM + 1 :], strict=True))


def trained(trainer: Any) -> float:
    """Train; the median seconds of a step."""
    times = Times()
    bench.silent(trainer)
    trainer.add_callback(times.callback())
    trainer.train()
    return times.median


def plain_model() -> Any:
    import torch
    from past_hf.materialize import load_model

    return load_model(bench.smol(), torch.float32, "sdpa")


def settings(steps: int, lr: float) -> dict[str, Any]:
    import torch

    card = torch.cuda.is_available()
    return bench.common(steps, lr, "constant") | dict(use_cpu=not card, bf16=card, gradient_checkpointing=False)


def sft_past(rows: list[str]) -> float:
    tokens = -(-tokenised(rows) // STEPS)
    config = SftConfig(
        epochs=1, step_tokens=tokens + 2048, batch_tokens=10**6, gradient_checkpointing="off", save_every=10**6
    )
    log = bench.ours("sft", bench.smol(), [{"text": row} for row in rows], config).log[WARM:]
    return statistics.median(step["seconds"] / step["rows"] for step in log) * ROWS


def sft_trl(rows: list[str]) -> float:
    from datasets import Dataset
    from past_hf.materialize import load_tokenizer
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    trainer = SFTTrainer(
        model=plain_model(),
        args=TrlConfig(**settings(STEPS, 3e-4), per_device_train_batch_size=ROWS),
        train_dataset=Dataset.from_list([{"text": row} for row in rows]),
        processing_class=load_tokenizer(bench.smol()),
    )
    return trained(trainer)


def sft() -> dict[str, Any]:
    rows = texts(ROWS * STEPS, WORDS)
    found = beside(lambda: sft_past(rows), lambda: sft_trl(rows))
    tokens = tokenised(rows) / STEPS
    return {"tokens_a_step": round(tokens), **found, **rates(found, tokens)}


def grpo_past(steps: int) -> float:
    config = RlConfig(
        steps=steps, batch_tokens=10**6, gradient_checkpointing="off", save_every=10**6, watchdog=False, warmup=0.0
    )
    log = bench.ours("rl", bench.smol(), bench.questions(), config, rewards=bench.rewards()).log[WARM:]
    return statistics.median(step["seconds"] for step in log)


def grpo_trl(steps: int) -> float:
    from datasets import Dataset
    from past_hf.materialize import load_tokenizer
    from trl import GRPOConfig, GRPOTrainer

    trainer = GRPOTrainer(
        model=plain_model(),
        args=GRPOConfig(
            **settings(steps, 4e-5), per_device_train_batch_size=128, num_generations=8, max_completion_length=12
        ),
        reward_funcs=[lambda completions, answers, **_: bench.graded(completions, answers)],
        train_dataset=Dataset.from_list(bench.questions()),
        processing_class=load_tokenizer(bench.smol()),
    )
    return trained(trainer)


def grpo() -> dict[str, Any]:
    steps = WARM + 6
    return {"what": "16 x 8 answers of 12 tokens", **beside(lambda: grpo_past(steps), lambda: grpo_trl(steps))}


def beside(past: Callable[[], float], trl: Callable[[], float]) -> dict[str, Any]:
    taken = [(past(), trl()) for _ in range(ROUNDS)]
    return {
        "seconds_a_step": {"past": [a for a, _ in taken], "trl": [b for _, b in taken]},
        "trl_over_past": [round(b / a, 3) for a, b in taken],
    }


def rates(found: dict[str, Any], tokens: float) -> dict[str, Any]:
    import torch

    parameters = sum(one.numel() for one in plain_model().parameters())
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((value for key, value in PEAK.items() if key in name), 0.0)
    seconds = {who: statistics.median(every) for who, every in found["seconds_a_step"].items()}
    told: dict[str, Any] = {"tokens_a_second": {who: round(tokens / s) for who, s in seconds.items()}}
    if peak:
        flops = 6 * parameters * tokens
        told["model_flops_utilisation"] = {who: round(flops / s / peak, 3) for who, s in seconds.items()}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "what", nargs="*", default=["parity", "sft", "grpo"], choices=("parity", "sft", "grpo", "losses")
    )
    parser.add_argument("--model", help="HF directory (default: the packaged small model)")
    given = parser.parse_args()
    if given.model:
        bench.smol = lambda: Path(given.model)
    import torch

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(json.dumps({"card": card, "torch": torch.__version__}))
    for name in given.what:
        began = time.perf_counter()
        found = {"parity": parity, "sft": sft, "grpo": grpo, "losses": losses}[name]()
        seconds = round(time.perf_counter() - began, 1)
        print(
            json.dumps({name: found, "bench_seconds": seconds}), flush=True
        )  # a lent machine may be taken back any moment


if __name__ == "__main__":
    main()
