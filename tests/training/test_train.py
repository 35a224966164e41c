"""Trainers: what they learn from, that they resume exactly, and that they fail loudly."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import os
import shutil
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from train_tools import RL, SFT, job_of, rl_rows, sft_rows, variety, weights

from pastcli.errors import FullDisk, PastError, UsageError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def hf():
    from past_hf.training import HFTrainer

    return HFTrainer()


@pytest.fixture
def sft_job(tmp_path, tiny_model):
    return job_of(tmp_path, "sft", tiny_model, sft_rows(), SFT)


@pytest.fixture
def rl_job(tmp_path, tiny_model):
    return job_of(tmp_path, "rl", tiny_model, rl_rows(), RL, rewards=[("variety", 1.0, variety)])


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------- what is learned


def test_sft_lowers_the_loss_and_saves_fp32_with_tokenizer(hf, sft_job, tiny_model):
    result = hf.sft(sft_job)
    assert result.log[-1]["loss"] < result.log[0]["loss"] - 0.1
    assert result.initial_hash != result.final_hash and result.tokens > 1000
    assert {tensor.dtype for tensor in weights(result).values()} == {torch.float32}
    assert (result.path / "tokenizer.json").read_bytes() == (tiny_model / "tokenizer.json").read_bytes()


def test_same_seed_same_weights_other_seed_other_weights(hf, sft_job, tmp_path):
    def train(seed, name):
        job = dataclasses.replace(sft_job, out=tmp_path / name, config=dataclasses.replace(SFT, seed=seed))
        return weights(hf.sft(job))

    first = train(0, "a")
    assert same(first, train(0, "b")) and not same(first, train(1, "c"))


def test_bf16_working_weights_stay_close_to_fp32(hf, sft_job, tmp_path):
    exact = hf.sft(sft_job)
    job = dataclasses.replace(sft_job, out=tmp_path / "bf16", config=dataclasses.replace(SFT, precision="bf16"))
    rounded = hf.sft(job)
    assert rounded.log[-1]["loss"] == pytest.approx(exact.log[-1]["loss"], rel=0.02)
    moved = torch.cat(
        [(tensor - torch.round(tensor.float(), decimals=3)).flatten() for tensor in weights(rounded).values()]
    )
    assert moved.abs().max() > 0  # masters are off any coarse grid


def test_long_texts_are_split_and_lose_no_token(tiny_tokenizer):
    from past_hf.materialize import encode
    from past_hf.training.sft import tokenize

    text = "seven wizards brew potions " * 40
    whole = encode(tiny_tokenizer, text) + [tiny_tokenizer.eos_token_id]
    pieces = [row["input_ids"] for row in tokenize([{"text": text}], tiny_tokenizer, max_length=50)]
    assert len(pieces) > 1 and max(map(len, pieces)) <= 50 and functools.reduce(operator.iadd, pieces, []) == whole


def test_pairs_learn_the_completion_only_and_never_lose_its_end(tiny_tokenizer):
    from past_hf.training.sft import IGNORED, tokenize

    (row,) = tokenize([{"prompt": "Question: who?\nAnswer:", "completion": " a fox"}], tiny_tokenizer, 100)
    learned = [token for token in row["labels"] if token != IGNORED]
    assert tiny_tokenizer.decode(learned) == " a fox" + tiny_tokenizer.eos_token
    with pytest.raises(UsageError, match="1 of 1 examples are longer"):
        tokenize([{"prompt": "Question: who?\nAnswer:", "completion": " a fox"}], tiny_tokenizer, 5)


def test_lora_makes_an_adapter_and_rl_starts_from_its_merged_model(hf, sft_job, rl_job, tmp_path):
    from past_hf.materialize import load_model

    adapter = hf.sft(dataclasses.replace(sft_job, config=dataclasses.replace(SFT, method="lora")))
    assert adapter.kind == "adapter" and any(
        "lora_B" in name and tensor.any() for name, tensor in weights(adapter).items()
    )
    on_top = dataclasses.replace(
        rl_job, model=adapter.path, config=dataclasses.replace(RL, method="lora"), out=tmp_path / "rl"
    )
    result = hf.rl(on_top)
    merged = tmp_path / "rl" / "sft"
    assert json.loads((result.path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(merged)
    assert same(load_model(adapter.path, torch.float32).state_dict(), load_model(merged, torch.float32).state_dict())


# ---------------------------------------------------------------- GRPO


def test_rl_raises_a_reachable_reward(hf, rl_job):
    config = dataclasses.replace(RL, steps=30, lr=5e-3, prompts_per_step=5, num_generations=8)
    result = hf.rl(dataclasses.replace(rl_job, config=config))
    first, last = result.log[:5], result.log[-5:]
    assert sum(entry["reward"] for entry in last) > sum(entry["reward"] for entry in first) + 0.2
    assert {"dead_groups", "completion_length", "lr", "tokens_per_second", "reward_std"} <= result.log[0].keys()
    questions = len(rl_rows())
    assert [entry["passes"] for entry in result.log] == [step * 5 / questions for step in range(1, 31)]


@pytest.mark.parametrize("loss", ["dapo", "grpo", "bnpo", "dr_grpo"])
def test_micro_batches_and_merged_rows_change_no_gradient(hf, rl_job, tmp_path, loss):
    def first_step(name, batch_tokens):
        config = dataclasses.replace(RL, steps=1, batch_tokens=batch_tokens, loss=loss, warmup=0.0, schedule="constant")
        return weights(hf.rl(dataclasses.replace(rl_job, out=tmp_path / name, config=config)))

    whole, parts = first_step("whole", 100_000), first_step("parts", 40)
    # Adam's first step has the size of the learning rate whatever the gradient: agreement is in its sign.
    wrong = sum(((whole[n] - parts[n]).abs() > 1e-4).sum().item() for n in whole)
    assert wrong / sum(tensor.numel() for tensor in whole.values()) < 1e-3


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_the_memory_limit_changes_no_result(hf, tiny_model, tmp_path, stage):
    """A step of 4,000 tokens at once and in parts of 500: the same losses and weights."""
    config = (
        dataclasses.replace(SFT, step_tokens=2000, epochs=6)
        if stage == "sft"
        else dataclasses.replace(RL, num_generations=8)
    )
    rows = sft_rows() * 3 if stage == "sft" else rl_rows()

    def trained(batch_tokens):
        made = dataclasses.replace(config, batch_tokens=batch_tokens)
        rewards = [("variety", 1.0, variety)] if stage == "rl" else ()
        return getattr(hf, stage)(job_of(tmp_path / str(batch_tokens), stage, tiny_model, rows, made, rewards=rewards))

    parts, whole = trained(500), trained(4000)
    assert len(parts.log) == len(whole.log) and len(whole.log) > 4
    for one, other in zip(parts.log, whole.log):
        for name in {"loss", "reward", "grad_norm", "completion_length"} & one.keys():
            assert one[name] == pytest.approx(other[name], abs=1e-5, rel=1e-4), (one["step"], name)
        assert (one["rows"], one["tokens"]) == (other["rows"], other["tokens"])
    for name, tensor in weights(parts).items():
        torch.testing.assert_close(tensor, weights(whole)[name], rtol=0, atol=1e-4)


def test_groups_without_a_signal_are_skipped_without_nan(hf, rl_job):
    calls = []

    def mostly_flat(prompts, completions, **_):
        calls.append(1)
        return [float(len(set(text))) if len(calls) == 2 else 1.0 for text in completions]

    result = hf.rl(dataclasses.replace(rl_job, rewards=[("flat", 1.0, mostly_flat)]))
    assert [entry["rows_trained"] > 0 for entry in result.log] == [False, True, False, False, False, False]
    assert result.log[0]["dead_groups"] == 1.0
    assert all(torch.isfinite(tensor).all() for tensor in weights(result).values())


def test_rewards_that_never_differ_are_reported_as_training_nothing(hf, rl_job):
    with pytest.raises(PastError, match="training changed nothing"):
        hf.rl(
            dataclasses.replace(
                rl_job, rewards=[("flat", 1.0, lambda prompts, completions, **_: [0.0] * len(completions))]
            )
        )


def test_ungradable_answers_are_left_out_not_scored_zero(hf, rl_job):
    def half(prompts, completions, **_):
        return [None if i % 2 else 1.0 + len(set(text)) for i, text in enumerate(completions)]

    result = hf.rl(dataclasses.replace(rl_job, rewards=[("half", 1.0, half)]))
    assert all(entry["reward"] >= 1.0 for entry in result.log)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda prompts, completions, **_: 1 / 0, "reward 'bad' failed: ZeroDivisionError"),
        (lambda prompts, completions, **_: [1.0], "reward 'bad' gave 1 values for 16 answers"),
        (lambda prompts, completions, **_: [float("nan")] * len(completions), "no finite number"),
    ],
)
def test_a_bad_reward_stops_the_run_and_is_named(hf, rl_job, function, message):
    with pytest.raises(PastError, match=message):
        hf.rl(dataclasses.replace(rl_job, rewards=[("bad", 1.0, function)]))


def test_a_reward_that_fails_with_all_it_was_given_is_one_short_line(hf, rl_job):
    def talkative(prompts, completions, **_):
        raise ValueError("\n".join(["no such column", *prompts] * 100))

    with pytest.raises(PastError, match="reward 'bad' failed: ValueError: no such column") as caught:
        hf.rl(dataclasses.replace(rl_job, rewards=[("bad", 1.0, talkative)]))
    assert len(caught.value.message) < 400 and "\n" not in caught.value.message


def test_kl_term_keeps_the_model_nearer_to_its_start(hf, rl_job, tiny_model, tmp_path):
    start = load_file(tiny_model / "model.safetensors")

    def distance(beta):
        job = dataclasses.replace(
            rl_job, out=tmp_path / f"b{beta}", config=dataclasses.replace(RL, beta=beta, steps=12)
        )
        made = hf.rl(job)
        assert ("kl" in made.log[-1]) == (beta > 0)
        return sum(((tensor - start[name]) ** 2).sum().item() for name, tensor in weights(made).items())

    assert distance(5.0) < distance(0.0)


# ---------------------------------------------------------------- interruption


def killed(train, job, at):
    """Train in a process forked from this one, which kills itself by kill -9 after step `at`."""

    def progress(done, total, metrics):
        if done == at:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            train(dataclasses.replace(job, progress=progress))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("stage, at", [("sft", 8), ("rl", 5)])
def test_a_killed_training_resumes_to_the_same_weights(hf, request, tmp_path, stage, at):
    job = request.getfixturevalue(f"{stage}_job")
    straight = getattr(hf, stage)(dataclasses.replace(job, out=tmp_path / "straight", state=tmp_path / "other"))
    killed(getattr(hf, stage), job, at)
    assert len(list((tmp_path / "state").glob("checkpoint-*"))) == 2
    resumed = getattr(hf, stage)(dataclasses.replace(job, resume=True))
    assert same(weights(straight), weights(resumed))
    assert resumed.steps == straight.steps and resumed.tokens == straight.tokens
    assert [entry["step"] for entry in resumed.log] == [entry["step"] for entry in straight.log]


class Stop(Exception):
    pass


def stop_at(step):
    def progress(done, total, metrics):
        if done == step:
            raise Stop

    return progress


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(hf, sft_job, tmp_path, damage, capsys):
    straight = hf.sft(dataclasses.replace(sft_job, out=tmp_path / "straight", state=tmp_path / "other"))
    with pytest.raises(Stop):
        hf.sft(dataclasses.replace(sft_job, progress=stop_at(8)))
    file = tmp_path / "state" / "checkpoint-6" / "optimizer.pt"
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    resumed = hf.sft(dataclasses.replace(sft_job, resume=True))
    assert "checkpoint-6 is damaged" in capsys.readouterr().err
    assert same(weights(straight), weights(resumed))


def test_a_full_disk_while_checkpointing_is_one_clear_error(hf, sft_job, monkeypatch):
    real, now = shutil.disk_usage, []

    def full(*_, **__):
        now.append("full")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 46208 vs 46096")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: real(place)._replace(free=0) if now else real(place))
    with pytest.raises(FullDisk, match="checkpoint of step 3 cannot be written: no space left in") as caught:
        hf.sft(sft_job)
    assert "--resume" in caught.value.hint and not list(sft_job.state.glob("*"))


def test_checkpoints_by_time_come_less_often_where_they_take_long_and_never_without_room(
    hf, sft_job, monkeypatch, capsys
):
    from past_hf.training import checkpoints

    saved = []
    real = checkpoints.save
    monkeypatch.setattr(
        checkpoints, "save", lambda trainer, folder: (saved.append(trainer.state.global_step), real(trainer, folder))
    )
    by_time = dataclasses.replace(SFT, save_every=0, save_minutes=1e-9)
    hf.sft(dataclasses.replace(sft_job, config=by_time))
    assert saved and saved[0] == 1 and len(saved) < 13  # a checkpoint may take a twentieth of the time
    saved.clear()
    made = hf.sft(dataclasses.replace(sft_job, config=dataclasses.replace(by_time, save_minutes=10.0)))
    assert saved == []
    usage, room = checkpoints.shutil.disk_usage, 2 * (made.path / "model.safetensors").stat().st_size
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage(path)._replace(free=room))
    hf.sft(dataclasses.replace(sft_job, config=by_time))
    assert saved == [] and capsys.readouterr().err.count("no checkpoint: it takes") == 1


# ---------------------------------------------------------------- pieces


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(10, 200), st.integers(0, 5))
def test_token_batches_hold_every_row_once_within_the_budget(lengths, budget, seed):
    from past_hf.compute import token_batches

    for generator in (None, torch.Generator().manual_seed(seed)):
        batches = token_batches(lengths, budget, generator)
        assert sorted(functools.reduce(operator.iadd, batches, [])) == list(range(len(lengths)))
        assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)


@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(["linear", "cosine", "constant"]))
def test_schedules_rise_to_one_and_end_where_they_should(steps, warmup, kind):
    from past_hf.training.engine import schedule

    factors = [schedule(kind, steps, warmup)(step) for step in range(steps)]
    assert max(factors) == pytest.approx(1.0) and min(factors) > 0
    rise = max(1, int(warmup * steps))
    assert all(b <= a + 1e-9 for a, b in zip(factors[rise - 1 :], factors[rise:]))


@pytest.mark.parametrize("part", [8192, 100])
def test_token_logprobs_equal_a_plain_softmax_and_its_gradient(tiny_model, monkeypatch, part):
    """Also where the words do not come out even in the parts in which the output layer's gradient is formed."""
    from past_hf import compute
    from past_hf.compute import WorkingWeights, token_logprobs
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(compute, "PART", part)
    ids = torch.randint(3, 300, (5, 17), generator=torch.Generator().manual_seed(0))
    wanted = torch.rand(5, 17, generator=torch.Generator().manual_seed(1)) < 0.4
    wanted[:, 0] = False
    gradients = []
    for ours in (True, False):
        model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        with WorkingWeights(model, torch.float32) as working:
            if ours:
                logps, entropy = token_logprobs(model, ids, wanted, temperature=0.7)
            else:
                full = (model(ids).logits[:, :-1] / 0.7).log_softmax(-1)
                kept = full[wanted[:, 1:]]
                logps = kept.gather(1, ids[wanted][:, None])[:, 0]
                assert torch.allclose(entropy, -(kept.exp() * kept).sum(1), atol=1e-5)
            working.backward((logps * torch.linspace(-1, 1, len(logps))).sum())
        gradients.append((logps, {name: p.grad for name, p in model.named_parameters()}))
    assert torch.allclose(gradients[0][0], gradients[1][0], atol=1e-5)
    assert all(torch.allclose(gradients[0][1][n], gradients[1][1][n], atol=1e-5) for n in gradients[0][1])


def test_working_weights_entered_again_compute_with_what_the_masters_are_now(make_tiny, tmp_path):
    """Copies and sums stay between the steps: nothing of the step before may be left in them."""
    from past_hf.compute import WorkingWeights
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(make_tiny(tmp_path / "model", tied=False), dtype=torch.float32)
    model.lm_head.weight.requires_grad_(False)
    frozen = [name for name, one in model.named_parameters() if not one.requires_grad]
    working = WorkingWeights(model, torch.bfloat16)

    def gradients(working, parts):
        with working as it:
            for ids in parts:
                it.backward(model(input_ids=ids, labels=ids).loss)
        return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}

    some, more = torch.arange(3, 12)[None], torch.arange(40, 47)[None]
    gradients(working, [some, more])
    with torch.no_grad():
        for name, one in model.named_parameters():
            if name not in frozen:
                one.add_(torch.randn(one.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02)
    model.zero_grad()
    again = gradients(working, [more])
    model.zero_grad()
    fresh = gradients(WorkingWeights(model, torch.bfloat16), [more])
    assert again.keys() == fresh.keys() and not set(frozen) & fresh.keys() and len(fresh) > 5
    assert all(torch.equal(again[name], fresh[name]) and again[name].dtype == torch.float32 for name in fresh)
    assert all(one.dtype == torch.float32 for one in model.parameters())


SIZES = dict(vocab_size=320, num_hidden_layers=2, num_attention_heads=4, hidden_size=32)
WIDE = dict(**SIZES, intermediate_size=64, num_key_value_heads=2)
HEADS = {
    "Llama": (WIDE, True),
    "Gemma2": (dict(**WIDE, head_dim=8, final_logit_softcapping=5.0), False),  # capped
    "Granite": (dict(**WIDE, logits_scaling=3.0), False),
    "Cohere": (dict(**WIDE, logit_scale=0.3), False),
    "OPT": (dict(**SIZES, ffn_dim=64, word_embed_proj_dim=16), True),  # its base projects by itself
    "Phi": (WIDE, False),  # the head has a bias
    "Mamba": (dict(vocab_size=320, hidden_size=32, num_hidden_layers=1, state_size=4), None),
    "Llama4": (dict(**WIDE, head_dim=8, intermediate_size_mlp=64, num_local_experts=2), False),  # base_model is itself
}


@pytest.mark.parametrize("name", HEADS)
def test_logits_are_those_of_the_model_whatever_it_does_behind_its_last_layer(name):
    """Only where it does nothing there are they formed for the wanted tokens alone; a scale under a new name trained another model."""
    import transformers
    from past_hf.compute import token_logprobs

    sizes, fast = HEADS[name]
    kind = getattr(transformers, f"{name}TextConfig" if name == "Llama4" else f"{name}Config")
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(kind(**sizes, pad_token_id=2)).float()
    ids = torch.randint(3, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    wanted = torch.ones_like(ids, dtype=torch.bool)
    wanted[:, 0] = False
    full = model.eval()(ids).logits[:, :-1].float().log_softmax(-1)
    logps, _ = token_logprobs(model, ids, wanted)
    assert torch.allclose(logps, full.gather(2, ids[:, 1:, None]).reshape(-1), atol=1e-5)
    assert fast is None or model._past_plain_head is fast


def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path, tiny_model):
    from past_hf.materialize import hf_directory

    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(PastError, match="weights as a pickle") as caught:
        hf_directory(tmp_path)
    assert "save_pretrained" in caught.value.hint
