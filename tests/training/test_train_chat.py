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


@pytest.mark.parametrize("kind", ["Mamba", "xLSTM", "Rwkv"])
def test_a_model_whose_cache_is_its_own_answers_with_its_question(kind):
    """Mamba took the cache for an unknown word, and saw each new token alone."""
    from past_hf.generation import generate

    own = {"Mamba": {"state_size": 4}, "xLSTM": {"num_heads": 4}, "Rwkv": {"attention_hidden_size": 32}}
    model, prompts = of_kind(kind, **own[kind]), [[5, 6, 7], [9, 8, 7, 6, 5]]
    got = generate(model, prompts, max_new_tokens=4, stopped=lambda _: False, pad=2)
    assert got == [greedy(model, prompt, 4) for prompt in prompts]


def greedy(model, prompt, count):
    """The answer of a model that reads everything again for each token."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def llama_whose_cache_is(name):
    """A tiny Llama that calls the argument as transformers do before 5.24 or from then on, whichever is installed."""
    import inspect

    import transformers

    known = transformers.LlamaForCausalLM
    here = "cache" if "cache" in inspect.signature(known.forward).parameters else "past_key_values"

    class Older(known):
        def forward(self, input_ids=None, past_key_values=None, **others):
            return super().forward(input_ids, **{here: past_key_values}, **others)

    class Newer(known):
        def forward(self, input_ids=None, cache=None, **others):
            return super().forward(input_ids, **{here: cache}, **others)

    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, pad_token_id=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    torch.manual_seed(0)
    kinds = {"past_key_values": Older, "cache": Newer}
    return kinds[name](transformers.LlamaConfig(vocab_size=320, **sizes, **heads)).float().eval()


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_answers_rest_on_the_question_by_whichever_name_a_model_takes_its_cache(name):
    """Transformers 5.24 calls `cache` what was `past_key_values`: past rl, eval and agent refused every model, and a name that a
    model does not know is passed over in silence."""
    from past_hf.generation import generate
    from past_hf.lines import Lines, attending
    from past_hf.prefixes import Prefixes, together

    model = llama_whose_cache_is(name)
    prompts = [[5, 6, 7, 8], [9, 8, 7, 6, 5]]
    wanted = [greedy(model, prompt, 5) for prompt in prompts]
    always = dict(max_new_tokens=5, stopped=lambda _: False, pad=2)
    assert generate(model, prompts, **always) == wanted
    kept = Prefixes(model)
    kept.read([prompt[:3] for prompt in prompts])
    rows = kept.read(prompts)
    assert [row.evaluated for row in rows] == [1, 2]
    assert generate(model, prompts, **always, begun=together(rows, model.config)) == wanted
    lines, said = Lines(model, 2, 12), [[], []]
    with torch.no_grad(), attending(model):
        logits = lines.read(0, prompts, [0, 0])
        for _ in range(5):
            for row, token in zip(said, logits.argmax(-1).tolist(), strict=True):
                row.append(token)
            ends = [len(prompt) + len(row) - 1 for prompt, row in zip(prompts, said, strict=True)]
            logits = lines.read(0, [[row[-1]] for row in said], ends)
    assert said == wanted


def test_recurrent_states_are_neither_shared_nor_dropped():
    """Answers of several copies, of which some end early, are those of each prompt by itself."""
    from past_hf.generation import generate

    heads = dict(intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, pad_token_id=2)
    model = of_kind("Lfm2", layer_types=["conv", "full_attention"], **heads)
    prompts = [[5, 6, 7, 8, 9], [20, 21]]
    alone = [greedy(model, prompt, 6) for prompt in prompts]
    ends = alone[0][2]
    wanted = [row[: row.index(ends) + 1] if ends in row else row for row in alone for _ in range(3)]
    rule = dict(max_new_tokens=6, stopped=lambda ids: ids[-1] == ends, pad=2)
    assert generate(model, prompts, copies=3, **rule) == wanted
