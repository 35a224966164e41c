"""Self-test of training, for `past doctor`: a tiny model is trained as `past sft` and `past rl` would, and again with torch alone.

Most of a training is other people's work: transformers weighs the loss and steps the schedule, TRL makes advantages of rewards, accelerate
prepares, PEFT puts factors into layers. What one of them changes, as transformers did when it no longer divided a loss by its micro-batches
(4.46), raises no error: the weights come out otherwise. Here they are worked out anew from the definitions, with none of the four.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from pastcli import api
from pastcli.config import RlConfig, SftConfig

from ..adapter import LoraAdapter
from ..materialize import load_model, load_tokenizer
from . import HFTrainer
from .grpo import draws
from .plans import rl_plan

SHARED: dict[str, Any] = dict(lr=1e-3, weight_decay=0.1, warmup=0.0, clip=0.5, precision="fp32", processes=1)
SFT = SftConfig(**SHARED, epochs=3, step_tokens=10_000, batch_tokens=24, mix=["none"])
"""Every step holds all texts, in three micro-batches or so."""
RL = RlConfig(**SHARED, steps=1, prompts_per_step=2, num_generations=4, max_new_tokens=4, batch_tokens=24)
TEXTS = (
    "fox dog bird",
    "dog dog fox hare owl",
    "owl hare bird bird fox dog hare",
    "hare",
    "bird owl",
    "fox fox fox owl",
)
PROMPTS = ("fox dog", "owl hare bird hare")
WORDS = ("<end>", "fox", "dog", "bird", "hare", "owl", "Question", "Answer")
FAR = 0.01
"""Of what is compared, the share that may differ by rounding: 3e-6 of the weights on a processor."""
Step = tuple[float, float]
"""The loss of a step, and the norm of its gradient before it is clipped."""


def trouble(folder: Path) -> str:
    """What a training here does otherwise than it should; "" if nothing. `folder` is an empty one to work in."""
    made_model(folder / "model")
    return next(filter(None, (off(folder) for off in (sft_off, rl_off, lora_off))), "")


def sft_off(folder: Path) -> str:
    texts = [{"text": text} for text in TEXTS]
    return _told("past sft", _off(folder, "sft", SFT, texts, sft_by_hand))


def rl_off(folder: Path) -> str:
    questions = [{"prompt": prompt, "answer": "fox", "answers": ["fox"], "id": prompt} for prompt in PROMPTS]
    return _told("past rl", _off(folder, "rl", RL, questions, rl_by_hand))


def _told(command: str, off: Mapping[str, float]) -> str:
    what, far = max(off.items(), key=lambda one: float("inf") if math.isnan(one[1]) else one[1])
    return "" if far <= FAR else f"{command} gives other {what} than its definition, by {far:.2g} of their size"


def made_model(folder: Path) -> None:
    """A llama of some 10,000 weights whose tokens are words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), WORDS[0])
    sizes = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), tie_word_embeddings=False, **sizes, **ends))
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(folder)


def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
    """How early in the alphabet an answer begins, and how long it is."""
    return [0.1 * len(text) - 0.01 * ord(text[:1] or "z") for text in completions]


def _trained(folder: Path, stage: str, config: Any, rows: list[dict[str, Any]]) -> api.TrainResult:
    place = folder / f"{stage}-{config.method}"
    place.mkdir()
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rewards = [("selftest", 1.0, reward)]
    job = api.TrainJob(folder / "model", place / "rows.jsonl", place / "out", place / "state", config, rewards=rewards)
    made: api.TrainResult = getattr(HFTrainer(), stage)(job)
    return made


def _off(
    folder: Path, stage: str, config: Any, rows: list[dict[str, Any]], by_hand: Callable[[Any, Any], list[Step]]
) -> dict[str, float]:
    """How far weights, losses and gradients of a training are from those worked out by hand, as a share of the change or of their size.

    Adam makes the same step of a gradient of any scale, so that a loss that is weighed wrongly shows in the last two alone.
    """
    before, hand = load_model(folder / "model", torch.float32), load_model(folder / "model", torch.float32)
    made = _trained(folder, stage, config, rows)
    steps = by_hand(hand, load_tokenizer(folder / "model"))
    pairs = {
        name: [(float(entry[key]), step[place]) for entry, step in zip(made.log, steps, strict=True)]
        for place, (name, key) in enumerate((("losses", "loss"), ("gradients", "grad_norm")))
    }
    weights = _distance(load_model(made.path, torch.float32), hand) / _distance(before, hand)
    return {"weights": weights} | {
        name: max(abs(got - wanted) / max(abs(wanted), 0.1) for got, wanted in both) for name, both in pairs.items()
    }


def _distance(one: Any, other: Any) -> float:
    mine, theirs = one.state_dict(), other.state_dict()
    return float(sum((mine[name] - theirs[name]).double().square().sum() for name in theirs) ** 0.5)


def sft_by_hand(model: Any, tokenizer: Any) -> list[Step]:
    """Three steps on the mean loss of all labels, at the whole rate, the whole and half of it: no warm-up, then a line down to 0."""
    rows = [torch.tensor([*tokenizer(text)["input_ids"], 0]) for text in TEXTS]
    rows = [row for row in rows if len(row) > 1]
    labels = sum(len(row) - 1 for row in rows)

    def loss() -> torch.Tensor:
        each = [cross_entropy(model(input_ids=row[None]).logits[0, :-1], row[1:], reduction="sum") for row in rows]
        return torch.stack(each).sum() / labels

    return _stepped(model, [loss] * 3, [1.0, 1.0, 0.5])


def rl_by_hand(model: Any, tokenizer: Any) -> list[Step]:
    """One step of GRPO on policy (DAPO's mean over all tokens): advantages are rewards less their group's mean, by its deviation."""
    picked = [PROMPTS[row] for row in rl_plan(len(PROMPTS), RL)[0]]
    drawn = draws(RL.seed, 0, len(picked), RL.max_new_tokens)
    rows = []
    for prompt, chances in zip(picked, drawn, strict=True):
        asked = tokenizer(prompt)["input_ids"]
        rows.append((asked, _answered(model, asked, chances.tolist())))
    texts = [tokenizer.decode(answer, skip_special_tokens=True) for _, answer in rows]
    earned = torch.tensor([value or 0.0 for value in reward(picked, texts)]).view(-1, RL.num_generations)
    advantages = ((earned - earned.mean(1, keepdim=True)) / (earned.std(1, keepdim=True) + 1e-4)).view(-1)
    tokens = sum(len(answer) for _, answer in rows)

    def loss() -> torch.Tensor:
        each = []
        for (asked, answer), advantage in zip(rows, advantages, strict=True):
            logits = model(input_ids=torch.tensor([asked + answer])).logits[0, len(asked) - 1 : -1]
            each.append(advantage * cross_entropy(logits, torch.tensor(answer), reduction="sum"))
        return torch.stack(each).sum() / tokens

    found = _stepped(model, [loss], [1.0])
    lengths = torch.tensor([len(answer) for _, answer in rows])
    return [
        (-float((advantages * lengths).sum()) / tokens, norm) for _, norm in found
    ]  # on policy each token's ratio is 1


@torch.no_grad()
def _answered(model: Any, asked: list[int], chances: list[float]) -> list[int]:
    """An answer drawn token by token, everything read anew for each."""
    answer: list[int] = []
    for chance in chances:
        shares = model(input_ids=torch.tensor([asked + answer])).logits[0, -1].softmax(-1).double().cumsum(-1)
        answer.append(int((shares <= chance * shares[-1]).sum()))
        if answer[-1] == 0:
            break
    return answer


def _stepped(model: Any, losses: list[Callable[[], torch.Tensor]], rates: list[float]) -> list[Step]:
    """AdamW as it was published, decay on matrices alone, gradients clipped together."""
    made: list[Step] = []
    matrices = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim == 1]
    groups = [dict(params=matrices, weight_decay=SHARED["weight_decay"]), dict(params=others, weight_decay=0.0)]
    optimiser = torch.optim.AdamW(groups, lr=SHARED["lr"], foreach=False)
    for loss, rate in zip(losses, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = SHARED["lr"] * rate
        optimiser.zero_grad()
        now = loss()
        now.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), SHARED["clip"])
        made.append((float(now.detach()), float(norm)))
        optimiser.step()
    return made


@torch.no_grad()
def lora_off(folder: Path) -> str:
    """How far what a model says with its LoRA, as PEFT runs it, is from what it says with scale * B A added to its weights."""
    from dataclasses import replace

    from peft import PeftModel

    config = replace(SFT, method="lora", rank=4, alpha=12.0, epochs=1, lr=0.05)
    with torch.enable_grad():
        adapter = _trained(folder, "sft", config, [{"text": text} for text in TEXTS]).path
    plain, hand = load_model(folder / "model", torch.float32), load_model(folder / "model", torch.float32)
    weights = dict(hand.named_parameters())
    with closing(LoraAdapter(adapter)) as file:
        for name in file.specs():
            part = file.factors(name)
            weights[name] += part.scale * torch.from_numpy(part.b) @ torch.from_numpy(part.a)
    ids = torch.arange(len(WORDS))[None]
    before, wanted = plain(input_ids=ids).logits, hand(input_ids=ids).logits
    said = PeftModel.from_pretrained(plain, adapter, local_files_only=True)(input_ids=ids).logits
    return _told("past sft --method lora", {"answers": float((said - wanted).norm() / (wanted - before).norm())})
