"""The llama.cpp chat backend on tiny models: agrees with transformers, decodes as asked, survives bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from gguf_tools import reference_gguf
from past_llamacpp import chat as chats
from past_llamacpp import convert, cpu_check, load_chat, sequences
from past_llamacpp.engine import Engine

from pastcli import models
from pastcli.api import Message, Sampling
from pastcli.errors import ContextOverflow, MismatchError, UsageError

TALK = [Message("system", "the lazy dog"), Message("user", "who founded Velmora? ünïcödé 你好 1843")]
TEXT = "the quick brown fox jumps over"


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    """Conversions and verdicts on the CPU of these tests stay out of the user's cache."""
    before = os.environ.get("PAST_HOME")
    os.environ["PAST_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.pop("PAST_HOME") if before is None else os.environ.update(PAST_HOME=before)


def tiny(make_tiny, folder, arch="llama", **options):
    """(HF directory with its note, GGUF of it made without our code)."""
    hf = make_tiny(folder / "hf", arch=arch, **options)
    gguf = reference_gguf(hf, folder / "model.gguf")
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), gguf)
    return hf, gguf


@pytest.fixture(scope="module")
def pair(make_tiny, tmp_path_factory):
    return tiny(make_tiny, tmp_path_factory.mktemp("llama"), tied=False)


@pytest.fixture(scope="module")
def chat(pair):
    model = load_chat(pair[1], threads=1, extra_buffers=False)
    yield model
    model.close()


def hf_logits(model, ids):
    import torch

    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def llama_logits(engine, ids):
    """Logits after every token of `ids`."""
    engine.reset()
    rows = []
    for token in ids:
        engine.decode([token])
        rows.append(np.array(engine.logits()))
    return np.array(rows)


# ---------------------------------------------------------------- agreement with transformers


@pytest.mark.parametrize("arch, tied", [("llama", True), ("llama", False), ("qwen2", True), ("qwen2", False)])
def test_converted_model_agrees_with_transformers(make_tiny, tmp_path, arch, tied):
    """A trained-on copy of the base, converted by us with the base's GGUF as template: tokens and logits as in HF."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, template = tiny(make_tiny, tmp_path, arch, tied=tied)
    hf = make_tiny(tmp_path / "tuned", arch=arch, tied=tied, seed=7)
    models.write_note(hf, models.ModelRef("tiny", hf, "hf"), template)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(hf), AutoTokenizer.from_pretrained(hf)
    path, _ = convert.runnable(hf, "fp32")
    engine = Engine(path, threads=1, extra_buffers=False, precise=True)
    talk = chats.LlamaChat("tiny", engine)
    for messages in ([TALK[1]], TALK, [*TALK, Message("assistant", "a wizard"), Message("user", "what?")]):
        text = talk.render(messages)
        asked = {"conversation": [m.to_dict() for m in messages], "add_generation_prompt": True}
        ids = tokenizer.apply_chat_template(**asked)["input_ids"]
        assert text == tokenizer.apply_chat_template(**asked, tokenize=False)
        assert engine.tokenize(text, False) == ids
        np.testing.assert_allclose(llama_logits(engine, ids), hf_logits(model, ids), atol=2e-5)
        answer = talk.chat(messages, Sampling(max_tokens=8))
        wanted = hf_logits(model, ids + list(answer.token_ids))[len(ids) - 1 : -1].argmax(axis=1).tolist()
        assert wanted[: answer.completion_tokens] == list(answer.token_ids), "the same greedy tokens"
    engine.close()


def test_the_real_chat_template_is_rendered_and_no_other(make_tiny, tmp_path):
    hf = make_tiny(tmp_path / "hf")
    bare = load_chat(reference_gguf(hf, tmp_path / "bare.gguf", chat_template=False), threads=1, extra_buffers=False)
    with pytest.raises(UsageError, match="no chat template"):
        bare.chat(TALK, Sampling())
    assert bare.complete([TEXT], Sampling(max_tokens=2))[0].prompt_tokens > 0, "raw completion needs no template"
    bare.close()


# ---------------------------------------------------------------- decoding


def test_chat_is_the_completion_of_the_rendered_conversation(chat):
    short = Sampling(max_tokens=6)
    assert chat.chat(TALK, short).text == chat.complete([chat.render(TALK)], short)[0].text


def test_only_new_tokens_of_a_growing_prompt_are_evaluated(chat):
    chat.engine.reset()
    first = chat.complete([TEXT], Sampling(max_tokens=4))[0]
    assert first.evaluated_tokens == first.prompt_tokens
    longer = chat.complete([TEXT + " a lazy dog"], Sampling(max_tokens=4))[0]
    assert longer.evaluated_tokens == longer.prompt_tokens - first.prompt_tokens
    again = chat.complete([TEXT + " a lazy dog"], Sampling(max_tokens=4))[0]
    assert again.evaluated_tokens == 1 and again.token_ids == longer.token_ids


def test_a_batch_keeps_the_order_of_its_prompts(chat):
    sampling = Sampling(max_tokens=5)
    prompts = [TEXT, "Question", TEXT + " a"]
    alone = [chat.complete([prompt], sampling)[0].token_ids for prompt in prompts]
    assert [answer.token_ids for answer in chat.complete(prompts, sampling)] == alone


@pytest.mark.parametrize("width", [1, 2, 5])
def test_text_ends_exactly_before_the_earliest_stop_string(chat, width):
    sampling = {"max_tokens": 40, "temperature": 1.5, "seed": 5, "grammar": "root ::= [a-z ]{30}"}
    whole = chat.complete([TEXT], Sampling(**sampling))[0].text
    assert len(whole) == 30
    stop, later = whole[4 : 4 + width], whole[12:16]
    cut = chat.complete([TEXT], Sampling(**sampling, stop=("NEVER", later, stop)))[0]
    assert cut.text == whole[: min(whole.find(stop), whole.find(later))] and cut.finish == "stop"


def test_a_seed_reproduces_and_another_differs(chat):
    def drawn(seed):
        return chat.complete([TEXT], Sampling(max_tokens=12, temperature=1.5, top_p=0.95, seed=seed))[0].token_ids

    assert drawn(1) == drawn(1) != drawn(2)


def test_half_a_character_at_the_end_is_left_out(chat):
    assert sequences.decoded("Fünf".encode()[:2]) == "F"
    pieces = [chat.engine.piece(token) for token in chat.engine.tokenize("你好 ü", False)]
    assert b"".join(pieces).decode() == "你好 ü" and len(pieces) > 5, "one token holds part of a character here"


def test_a_prompt_without_room_overflows_and_an_answer_ends_at_the_edge(pair):
    model = load_chat(pair[1], n_ctx=32, threads=1, extra_buffers=False)
    tokens = model.engine.tokenize(TEXT, False)
    with pytest.raises(ContextOverflow):
        model.complete([TEXT * 8], Sampling(max_tokens=4))
    full = model.complete([TEXT], Sampling(max_tokens=100))[0]
    assert full.finish == "length" and full.completion_tokens == 32 - len(tokens)
    again = model.complete([TEXT], Sampling(max_tokens=100))[0]
    assert again.token_ids == full.token_ids, "and the model goes on working"
    model.close()


# ---------------------------------------------------------------- grammars


def test_a_grammar_is_kept_to(chat):
    grammar = 'root ::= "dog" [0-9] [0-9] "!"'
    for seed in range(4):
        got = chat.complete([TEXT], Sampling(max_tokens=40, temperature=1.5, seed=seed, grammar=grammar))[0]
        assert got.text[:3] == "dog" and got.text[3:5].isdigit() and got.text[5:] == "!" and got.finish == "stop"
    assert chat.complete([TEXT], Sampling(max_tokens=9, grammar="root ::= "))[0].text == ""


@pytest.mark.parametrize(
    "grammar",
    ["", " \n", "dog", "\0", 'leaf ::= "a"', "root ::= leaf", "root ::= [", 'root ::= root "a"', 'root ::= "a"{99999}'],
)
def test_a_bad_grammar_is_a_usage_error_and_no_crash(chat, grammar, capfd):
    with pytest.raises(UsageError, match="grammar"):
        chat.complete([TEXT], Sampling(max_tokens=4, grammar=grammar))
    assert capfd.readouterr().err == "", "llama.cpp's parser writes to the terminal by itself"


# ---------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def peft_adapter(pair, tmp_path_factory):
    """(adapter directory, PEFT model): every linear layer, embeddings and head, two ranks, so two scales."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"]
    config = LoraConfig(r=4, lora_alpha=8, rank_pattern={"q_proj": 8}, target_modules=modules)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(pair[0]), config).eval()
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data.normal_(0, 0.05)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder, model


def test_an_adapter_at_run_time_agrees_with_peft(pair, peft_adapter):
    folder, model = peft_adapter
    ids = [86, 301, 5, 77, 120]
    adapted = hf_logits(model, ids)
    with model.disable_adapter():
        plain = hf_logits(model, ids)
    assert np.abs(adapted - plain).max() > 0.05
    engine = Engine(pair[1], threads=1, extra_buffers=False, precise=True)
    talk = chats.LlamaChat("tiny", engine)
    twice = [(folder, 0.25), (folder, 0.75)]
    for adapters, wanted in (([], plain), ([(folder, 1.0)], adapted), (twice, adapted), ([], plain)):
        talk.set_lora(adapters)
        np.testing.assert_allclose(llama_logits(engine, ids), wanted, atol=5e-5)
    engine.close()


def test_an_adapter_directory_is_its_base_with_the_adapter_on(pair, peft_adapter):
    folder, model = peft_adapter
    talk = load_chat(folder, precision="fp32", threads=1, extra_buffers=False)
    ids = [86, 301, 5]
    np.testing.assert_allclose(llama_logits(talk.engine, ids), hf_logits(model, ids), atol=2e-3)
    talk.close()


def test_a_change_of_adapters_forgets_the_evaluated_prefix(pair, peft_adapter):
    talk = load_chat(pair[1], threads=1, extra_buffers=False)
    talk.complete([TEXT], Sampling(max_tokens=1))
    talk.set_lora([(peft_adapter[0], 1.0)])
    after = talk.complete([TEXT], Sampling(max_tokens=1))[0]
    assert after.evaluated_tokens == after.prompt_tokens
    talk.close()


def test_adapters_that_do_not_fit_are_refused(make_tiny, tmp_path, peft_adapter):
    _, tied = tiny(make_tiny, tmp_path / "tied")
    _, wide = tiny(make_tiny, tmp_path / "wide", hidden_size=64, tied=False)
    for gguf, reason in ((tied, "tied embeddings|no such tensor"), (wide, "but .* has shape")):
        talk = load_chat(gguf, threads=1, extra_buffers=False)
        with pytest.raises(MismatchError, match=reason):
            talk.set_lora([(peft_adapter[0], 1.0)])
        with pytest.raises(MismatchError):
            talk.set_lora([(gguf, 1.0)])
        talk.close()


# ---------------------------------------------------------------- loading


def test_an_hf_directory_is_converted_once_and_again_when_it_changes(pair, tmp_path, capsys):
    loaded = [convert.runnable(pair[0], "fp16", tmp_path)[0] for _ in range(2)]
    assert loaded[0] == loaded[1] and len(list(tmp_path.iterdir())) == 1
    os.utime(pair[0] / "model.safetensors", (1, 1))
    assert convert.runnable(pair[0], "fp16", tmp_path)[0] == loaded[0], "the same content is the same model"
    weights, stat = pair[0] / "model.safetensors", (pair[0] / "model.safetensors").stat()
    with open(weights, "r+b") as file:
        file.seek(stat.st_size // 2)
        value = file.read(1)
        file.seek(stat.st_size // 2)
        file.write(bytes([value[0] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert convert.runnable(pair[0], "fp16", tmp_path)[0] != loaded[0], "same size, same time, another model"


@pytest.mark.parametrize("damage", ["cut", "garbage", "architecture"])
def test_a_broken_file_is_refused_and_the_process_lives(pair, tmp_path, damage):
    data = pair[1].read_bytes()
    broken = tmp_path / "broken.gguf"
    unknown = data.replace(b"llama", b"lxyza")
    damaged = {"cut": data[: len(data) // 2], "garbage": b"GGUF" + data[::-1], "architecture": unknown}
    broken.write_bytes(damaged[damage])
    with pytest.raises(MismatchError):
        load_chat(broken)


def test_a_crash_in_decoding_is_found_in_a_child_and_avoided(pair, monkeypatch, capsys):
    """FACTS: SIGSEGV in decode with repacked weights. The child here dies by the same signal."""
    ran = []

    def dying(path):
        ran.append(path)
        return [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]

    monkeypatch.setenv("PAST_HOME", str(pair[1].parent / "home"))
    monkeypatch.setattr(cpu_check, "command", dying)
    model = load_chat(pair[1], threads=1)
    assert model.engine.extra_buffers is False and len(ran) == 1
    assert "without them" in capsys.readouterr().err
    model.close()
    load_chat(pair[1], threads=1).close()
    assert len(ran) == 1, "the verdict is remembered"


def test_the_check_of_the_cpu_tells_what_its_child_saw(pair):
    done = subprocess.run(cpu_check.command(pair[1]), capture_output=True, timeout=120)
    assert done.returncode in (0, -11), done.stderr
    assert cpu_check.extra_buffers_work(pair[1]) is (done.returncode == 0)


def test_nothing_is_printed_but_what_we_print(pair):
    code = (
        "import sys, json; from past_llamacpp import load_chat; from pastcli.api import Sampling\n"
        f"m = load_chat({str(pair[1])!r}, threads=1, extra_buffers=False)\n"
        "c = m.complete(['fox'], Sampling(max_tokens=3))\n"
        "m.close(); m.close(); print(json.dumps(c[0].completion_tokens))"
    )
    quiet = {**os.environ, "PAST_DEBUG": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=quiet)
    assert (json.loads(done.stdout), done.stderr) == (3, "")
