"""The transformers chat model: batches, stop strings, sampling, adapters."""

from __future__ import annotations

import pytest
import torch

from pastcli.api import Message, Sampling
from pastcli.errors import ContextOverflow, MismatchError, UsageError

PROMPTS = ["Question: who?\nAnswer:", "the quick brown fox jumps over a lazy dog while", "when", "seven wizards brew"]


@pytest.fixture(scope="module")
def chat(tiny_model):
    from past_hf.chat import load_chat

    torch.set_num_threads(1)
    return load_chat(tiny_model, precision="fp32", batch_size=3)


def test_greedy_batches_equal_transformers_own_generate_one_by_one(chat):
    greedy = Sampling(max_tokens=12)
    together = chat.complete(PROMPTS, greedy)
    assert [one.text for one in together] == [chat.complete([prompt], greedy)[0].text for prompt in PROMPTS]
    for prompt, got in zip(PROMPTS, together):
        ids = chat.tokenizer(prompt, return_tensors="pt")
        reference = chat.model.generate(**ids, max_new_tokens=12, do_sample=False, pad_token_id=2)[
            0, ids["input_ids"].shape[1] :
        ]
        assert list(got.token_ids) == reference.tolist()
        assert got.prompt_tokens == ids["input_ids"].shape[1]


def test_stop_strings_cut_the_answer_even_across_tokens(chat):
    whole = chat.complete(PROMPTS[:1], Sampling(max_tokens=20))[0].text
    stop = whole[5:9]
    cut = chat.complete(PROMPTS[:1], Sampling(max_tokens=20, stop=(stop,)))[0]
    assert cut.text == whole[: whole.index(stop)] and cut.finish == "stop"
    assert chat.complete(PROMPTS[:1], Sampling(max_tokens=3))[0].finish == "length"


def test_a_seed_repeats_and_nucleus_sampling_narrows(chat):
    def sample(seed, top_p=1.0):
        return [
            one.text for one in chat.complete(PROMPTS, Sampling(max_tokens=8, temperature=1.0, seed=seed, top_p=top_p))
        ]

    assert sample(1) == sample(1) != sample(2)
    greedy = [one.text for one in chat.complete(PROMPTS, Sampling(max_tokens=8))]
    assert sample(3, top_p=1e-6) == greedy


def test_chat_equals_completion_of_the_rendered_conversation(chat):
    turns = [Message("user", "who?")]
    assert (
        chat.chat(turns, Sampling(max_tokens=6)).text
        == chat.complete([chat.render(turns)], Sampling(max_tokens=6))[0].text
    )


def test_grammar_and_overlong_prompts_are_refused(chat):
    with pytest.raises(UsageError, match="grammar"):
        chat.complete(["x"], Sampling(grammar='root ::= "a"'))
    with pytest.raises(ContextOverflow):
        chat.complete(["potions " * 400], Sampling())


def test_an_adapter_answers_like_its_merged_model(tiny_model, tmp_path):
    from past_hf.chat import load_chat
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(tiny_model)
    adapted.save_pretrained(tmp_path)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        wanted, got = adapted(ids).logits, load_chat(tmp_path, precision="fp32").model(ids).logits
    assert torch.allclose(wanted, got, atol=1e-5)


def test_a_truncated_model_is_named_not_traced(tiny_model, tmp_path):
    from past_hf.chat import load_chat

    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(MismatchError, match="is truncated: tensor"):
        load_chat(tmp_path)


def of_kind(kind, **sizes):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=320, hidden_size=32, num_hidden_layers=2, **sizes)
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def test_a_model_that_takes_no_cache_is_refused_instead_of_answering_without_its_question():
    """Mamba took the cache for an unknown word, and saw each new token alone."""
    from past_hf.generation import generate

    with pytest.raises(MismatchError, match="in a way of its own") as caught:
        generate(of_kind("Mamba", state_size=4), [[5, 6, 7]], max_new_tokens=2, stopped=lambda _: False, pad=2)
    assert caught.value.exit_code == 3


def test_recurrent_states_are_neither_shared_nor_dropped():
    """Answers of several copies, of which some end early, are those of each prompt by itself."""
    from past_hf.generation import generate

    heads = dict(intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, pad_token_id=2)
    model = of_kind("Lfm2", layer_types=["conv", "full_attention"], **heads)
    prompts = [[5, 6, 7, 8, 9], [20, 21]]
    alone = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        alone.append(ids[len(prompt) :])
    ends = alone[0][2]
    wanted = [row[: row.index(ends) + 1] if ends in row else row for row in alone for _ in range(3)]
    rule = dict(max_new_tokens=6, stopped=lambda ids: ids[-1] == ends, pad=2)
    assert generate(model, prompts, copies=3, **rule) == wanted
