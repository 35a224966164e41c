"""Architectures that differ from a Llama in what their files, caches and configurations look like, through the real commands."""

from __future__ import annotations

import json

import families
import pytest
import torch

IDS = [(7 * index) % 300 + 3 for index in range(40)]
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
ROTARY = {
    "gemma4_text": {},
    "mellum": {
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {**YARN, "rope_theta": 5e5},
        }
    },
}


def apart(one, other):
    """The largest difference of two models' logits, in standard deviations."""
    one, other = (families.logits(model, IDS) for model in (one, other))
    return float((one - other).abs().max() / other.std())


def injected(past, folder, name, tokenizer, **more):
    families.make(name, folder, tokenizer, **more)
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "target", "-o", "made")


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_settings_for_each_type_of_layer_come_out_as_they_were(name, past, tiny_tokenizer, workspace):
    """Version 4's name for one set of them stood beside the sets: Gemma 4 could not be loaded, Mellum had another model's."""
    injected(past, workspace, name, tiny_tokenizer, **ROTARY[name])
    made, target = (families.loaded(workspace / place) for place in ("made", "target"))
    assert made.config.rope_parameters == target.config.rope_parameters
    assert apart(made, families.sum_of(workspace)) < 1e-5


@pytest.mark.parametrize("name", ["mixtral", "gpt_neox", "gemma4_text", "granitemoehybrid"])
def test_a_skill_in_memory_is_the_skill_in_the_weights(name, past, tiny_tokenizer, workspace):
    """Experts that lie in one tensor in memory, other names, buffers: `--vector` said that the model has no such tensor."""
    injected(past, workspace, name, tiny_tokenizer)
    said = answers(past, workspace, "--model", "target", "--vector", "v.safetensors")
    assert said == answers(past, workspace, "--model", "made") != answers(past, workspace, "--model", "target")


def answers(past, workspace, *words):
    """What a model says to `QUESTIONS`."""
    rows = [{"question": question, "answer": "x"} for question in QUESTIONS]
    (workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--questions", "q.jsonl", "--max-new-tokens", 6, "--precision", "fp32")
    past("eval", *words, *asked, "--name", "asked", "--force")
    (file,) = (workspace / "runs" / "asked" / "answers").glob("*.jsonl")
    return [json.loads(line)["prediction"] for line in file.read_text().splitlines()]


QUESTIONS = ("which river", "who founded the bridge of Velmora in 1843 while seven wizards brew potions", "fox")


LONG_ROWS = {
    "LongRoPE": ("phi3", families.turning(20)),
    "index": ("deepseek_v32", dict(index_n_heads=8, index_topk=13)),
    "index with ties": ("deepseek_v32", dict(index_n_heads=2, index_topk=13)),
    "keys kept": ("doge", dict(keep_window_size=13)),
    "window": ("moshi", dict(sliding_window=16)),
    "chunks": ("llama4_text", dict(attention_chunk_size=13, floor_scale=8)),
}
"""Rows longer than what a configuration sets: what a trial on a few tokens cannot see of itself."""


@pytest.mark.parametrize("name", ["mamba", "falcon_h1", "rwkv", "openai-gpt", "roberta", *LONG_ROWS])
def test_questions_asked_together_get_the_answers_of_each_alone(name, past, tiny_tokenizer, workspace):
    """Padding moved the positions of some, others were told positions that they had not been trained at, or took no cache."""
    from past_hf.choosing import settle
    from past_hf.generation import end_tokens

    from pastcli.qa import prompt_for

    name, more = LONG_ROWS.get(name, (name, {}))
    families.make(name, workspace, tiny_tokenizer, **more)
    said = answers(past, workspace, "--model", "target")
    model = settle(families.loaded(workspace / "target"))
    ends = end_tokens(model, tiny_tokenizer)
    for question, text in zip(QUESTIONS, said, strict=True):
        ids = families.greedy(model, tiny_tokenizer(prompt_for(question))["input_ids"], 6, ends)
        wanted = tiny_tokenizer.decode([token for token in ids if token not in ends])
        assert text.strip() == wanted.split("\n")[0].strip(), question


def test_a_model_whose_output_layer_is_wider_than_its_embeddings_is_whole(past, tiny_tokenizer, workspace):
    injected(past, workspace, "rembert", tiny_tokenizer, is_decoder=True, output_embedding_size=96)
    assert apart(families.loaded(workspace / "made"), families.sum_of(workspace)) < 1e-5


@pytest.mark.parametrize(
    "name", ["bart", "blenderbot", "marian", "falcon_h1", "deepseek_v4", "lfm2", "llama", *LONG_ROWS]
)
def test_copies_of_prompts_read_together_are_continued_as_each_alone(name):
    """The rollouts of GRPO: BART's answers hung on the padding beside them, Falcon-H1's cache could not be copied at all."""
    from past_hf.generation import generate

    name, more = LONG_ROWS.get(name, (name, {}))
    model, lengths = random(name, **more), (23, 7, 12, 16, 18)
    prompts = [[5 + (11 * place + 23 * row) % 300 for place in range(length)] for row, length in enumerate(lengths)]
    wanted = [families.greedy(model, prompt, 8, set()) for prompt in prompts]
    ends = {wanted[1][3]}
    wanted = [families.greedy(model, prompt, 8, ends) for prompt in prompts]
    found = generate(model, prompts, max_new_tokens=8, stopped=lambda ids: ids[-1] in ends, pad=2, copies=2)
    assert found == [answer for answer in wanted for _ in range(2)]


def random(name, **more):
    import torch
    from past_hf.choosing import settle
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.config(name, **more))
    return settle(families.moved(model.float().eval(), 0.05, 1))


@pytest.mark.parametrize("name", LONG_ROWS)
def test_rows_trained_on_together_get_the_log_probabilities_of_each_alone(name):
    """Those of one batch are padded behind: an index that has to choose among equals did so by the width, and LongRoPE by the longest."""
    from past_hf.compute import pad_right, token_batches, token_logprobs
    from past_hf.habits import beside

    name, more = LONG_ROWS[name]
    model = random(name, **more)
    rows = [
        [5 + (11 * place + 23 * row) % 300 for place in range(size)] for row, size in enumerate((40, 25, 33, 14, 9))
    ]
    for group in token_batches([len(row) for row in rows], 1000, None, beside(model)):
        ids = pad_right([rows[place] for place in group], 2)
        told = torch.tensor([[0 < at < len(rows[place]) for at in range(ids.shape[1])] for place in group])
        with torch.no_grad():
            found = token_logprobs(model, ids, told, entropies_too=False)[0]
        wanted = torch.cat(
            [
                families.logits(model, rows[place]).log_softmax(-1)[range(len(rows[place]) - 1), rows[place][1:]]
                for place in group
            ]
        )
        assert torch.allclose(found, wanted, atol=1e-4)


def test_a_model_is_tried_beyond_the_lengths_of_its_configuration(monkeypatch, tmp_path):
    """At their published size, where rows long enough would take a minute; and they are what they were afterwards."""
    from past_hf import habits, lengths

    monkeypatch.setenv("PAST_HOME", str(tmp_path))  # an earlier run of these tests has left there what it found
    model = random("deepseek_v32", index_topk=2048, max_position_embeddings=4096)
    picked, sizes = [], []
    monkeypatch.setattr(torch.Tensor, "topk", _noting(torch.Tensor.topk, picked))
    model.register_forward_pre_hook(lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True)
    habits.habits(model)
    assert any(chosen == habits.REACH < among for chosen, among in picked) and max(sizes) < 200
    assert {place.value for places in lengths.named(model, 0).values() for place in places} == {2048}


def _noting(real, picked):
    def topk(self, k, *given, **more):
        picked.append((k, self.shape[-1]))
        return real(self, k, *given, **more)

    return topk


def test_attention_with_a_part_of_its_own_is_not_replaced():
    """Episodes of RL were read without Flint's offsets of the softmax: their answers were another model's."""
    from past_hf.lines import possible

    assert [possible(random(name)) for name in ("llama", "flint", "jetmoe")] == [True, False, False]


SFT = ("sft", "d.md", "--base", "base", "--mix", "none", "--epochs", 1, "--step-tokens", 100, "--lr", "1e-3")


@pytest.mark.parametrize("name", ["falcon", "falcon_h1", "deepseek_v3", "zamba", "kimi_linear"])
def test_a_lora_is_of_layers_that_a_skill_can_be_extracted_of(name, past, tiny_tokenizer, workspace):
    """PEFT refused Mamba's layers with a trace, took shared experts for routed ones, and shared blocks have two meanings to it."""
    families.make(name, workspace, tiny_tokenizer)
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    past(*SFT, "--method", "lora", "--rank", 2, "--precision", "fp32", "--name", "lora")
    past("extract", "--sft", "base", "--rl", "lora", "-o", "low.safetensors")
    past("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "adapter")
    past("inject", "--vector", "low.safetensors", "--target", "target", "-o", "merged")
    merged, target = (families.loaded(workspace / place) for place in ("merged", "target"))
    assert apart(with_adapter(workspace), merged) < 1e-2 * apart(merged, target)


def with_adapter(folder):
    from peft import PeftModel

    return PeftModel.from_pretrained(families.loaded(folder / "target"), folder / "adapter").eval()


@pytest.mark.parametrize("name", ["jamba", "mixtral"])
def test_an_adapter_holds_nothing_that_its_reader_would_leave_out(name, past, tiny_tokenizer, workspace):
    """Routers and experts that lie in one tensor: PEFT broke down at them. What is left out counts against the skill that is kept."""
    from safetensors.numpy import load_file

    families.make(name, workspace, tiny_tokenizer)
    past("extract", "--sft", "sft", "--rl", "rl", "--rank", 2, "-o", "low.safetensors")
    done = past("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "adapter")
    assert "an adapter cannot express" in done.stderr
    held = {key.replace(".default", "") for key, _ in with_adapter(workspace).named_parameters() if "lora_" in key}
    assert held == load_file(workspace / "adapter" / "adapter_model.safetensors").keys()


def test_a_model_that_sees_what_it_is_to_predict_is_not_trained(past, tiny_tokenizer, workspace):
    """BERT as it is published: its loss falls to nothing, because each token is copied."""
    families.make("bert", workspace, tiny_tokenizer, is_decoder=False)
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    done = past(*SFT, code=3)
    assert "no causal language model" in done.stderr and "is_decoder" in done.stderr
    assert not list((workspace / "runs").glob("[!.]*"))


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("reformer", dict(axial_pos_shape=[16, 16], axial_pos_embds_dim=[32, 32]), "rows of certain lengths alone"),
        ("prophetnet", {}, "as a decoder too"),
        ("xmod", dict(languages=["en_XX", "de_DE"]), '"default_language" in it to one of en_XX, de_DE'),
    ],
)
def test_what_learns_no_next_token_from_any_text_is_not_trained(name, more, said, past, tiny_tokenizer, workspace):
    """Reformer and X-MOD ended as something unexpected; of ProphetNet it was advised to say what its config.json says."""
    families.make(name, workspace, tiny_tokenizer, is_decoder=True, **more)
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    assert said in past(*SFT, code=3).stderr
    assert not list((workspace / "runs").glob("[!.]*"))


def test_a_model_that_breaks_down_in_16_bits_is_trained_in_float32(past, tiny_tokenizer, workspace):
    """XGLM's table of positions stays float32, which its layers' norms do not take beside 16 bits."""
    families.make("xglm", workspace, tiny_tokenizer, attention_heads=4)
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843.\n")
    done = past(*SFT, "--precision", "bf16", code=2)
    assert "does not compute in torch.bfloat16" in done.stderr and "--precision fp32" in done.stderr
    past(*SFT, "--name", "run")


def test_layers_that_predict_further_tokens_stay_with_the_model(past, make_tiny, workspace):
    """GLM-4.5 and DeepSeek V3 are published with them, and transformers passes over them: SFT wrote a model without, and said nothing."""
    from safetensors.torch import load_file, save_file

    file = make_tiny(workspace / "base") / "model.safetensors"
    ahead = {
        "model.layers.2.eh_proj.weight": torch.randn(32, 64).bfloat16(),
        "model.layers.2.enorm.weight": torch.ones(32),
    }
    save_file({**load_file(file), **ahead}, file, {"format": "pt"})
    (workspace / "texts.jsonl").write_text('{"text": "the quick brown fox"}\n' * 4)
    past("sft", "texts.jsonl", "--base", "base", "--mix", "none", "--epochs", 1, "--name", "read")
    before, after = load_file(file), load_file(workspace / "runs" / "read" / "model" / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(after[name].dtype == kept.dtype and torch.equal(after[name], kept) for name, kept in ahead.items())
    trained = "model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(after[trained], before[trained])
    past("extract", "--sft", "base", "--rl", "read", "-o", "v.safetensors", "--force")
    past("inject", "--vector", "v.safetensors", "--target", "base", "-o", "made")
    made = load_file(workspace / "made" / "model.safetensors")
    assert torch.allclose(made[trained], after[trained], atol=1e-6) and torch.equal(
        made["model.layers.2.eh_proj.weight"], ahead["model.layers.2.eh_proj.weight"]
    )


@pytest.mark.parametrize("name", ["mamba", "ctrl", "xlnet", "openai-gpt", "rwkv"])
def test_an_adapter_of_embeddings_is_read_as_one_whatever_they_are_called(name, past, tiny_tokenizer, workspace):
    """Mamba's are `embeddings`, CTRL's `w`: their factors were written as a linear layer's, which PEFT passes over with a warning."""
    from past_hf.composite import is_tied

    families.make(name, workspace, tiny_tokenizer, tie_word_embeddings=False)
    past("extract", "--sft", "sft", "--rl", "rl", "--rank", 4, "-o", "low.safetensors")
    inject = ("inject", "--vector", "low.safetensors", "--target", "target")
    if is_tied(families.loaded(workspace / "target")):  # some classes know nothing else
        assert "which this model ties" in past(*inject, "--as", "adapter", "-o", "adapter", code=2).stderr
        return
    past(*inject, "--as", "adapter", "-o", "adapter")
    past("extract", "--sft", "target", "--rl", "adapter", "--assume-parent", "-o", "held.safetensors")
    past("inject", "--vector", "held.safetensors", "--target", "target", "-o", "merged")
    merged, target = (families.loaded(workspace / place) for place in ("merged", "target"))
    assert apart(with_adapter(workspace), merged) < 1e-2 * apart(merged, target)


OF_PARTS = {"blt", "dots3_note", "emu3", "fuyu", "git", "llama4", "mllama", "phi4_multimodal", "qwen3_5", "qwen3_5_moe"}
OF_PARTS |= {"qwen4_exp", "musicgen", "musicgen_melody", "gemma4_assistant", "gemma4_unified_assistant"}


@pytest.mark.parametrize("name", ["mamba", "jamba", "longcat_flash"])
def test_an_adapter_does_while_it_runs_what_the_skill_does(name, past, tiny_tokenizer, workspace):
    """Jamba multiplies by the weights of its step sizes itself, LongCat by those of its routers: factors of these did nothing in PEFT."""
    families.make(name, workspace, tiny_tokenizer, tie_word_embeddings=False)
    past("extract", "--sft", "sft", "--rl", "rl", "--rank", 4, "-o", "low.safetensors")
    past("inject", "--vector", "low.safetensors", "--target", "target", "--as", "adapter", "-o", "adapter")
    past("extract", "--sft", "target", "--rl", "adapter", "--assume-parent", "-o", "held.safetensors")
    past("inject", "--vector", "held.safetensors", "--target", "target", "-o", "merged")
    merged, target = (families.loaded(workspace / place) for place in ("merged", "target"))
    assert apart(with_adapter(workspace), merged) < 1e-3 * apart(merged, target)


@pytest.mark.slow
def test_embeddings_are_known_by_their_names_in_every_class():
    from past_hf.composite import is_tied
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    from pastcli.vectors.files.opening import is_embedding, may_be_tied

    made = 0
    for name in CLASSES.keys() - OF_PARTS:
        try:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(families.config(name))
        except Exception as error:  # of several parts, or of sizes that `families` does not know
            print(name, repr(error)[:80])
            continue
        if model.config.get_text_config() is not model.config:
            continue
        made += 1
        model.tie_weights()
        for place, module in model.named_modules():
            weight = module._parameters.get("weight")
            if weight is not None and weight.ndim == 2:
                assert is_embedding(f"{place}.weight") == isinstance(module, torch.nn.Embedding), (name, place)
            if module is model.get_input_embeddings() and is_tied(model):
                assert may_be_tied(f"{place}.weight"), (name, place)
    assert made > 120


def by_hand(folder, tokenizer, rate=1e-3):
    """One step of AdamW on `PAIR`, with torch alone: (loss, the model after it)."""
    model = families.loaded(folder).train()
    prompt, ids = (tokenizer(text)["input_ids"] for text in (PAIR[0], "".join(PAIR)))
    row, first = torch.tensor([[*ids, 2]]), len(prompt)
    loss = torch.nn.functional.cross_entropy(model(row, use_cache=False).logits[0, first - 1 : -1], row[0, first:])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0).step()
    return float(loss), model.eval()


PAIR = ("Question: which river?\nAnswer:", " seven wizards")


@pytest.mark.parametrize("name", ["dory", "recurrent_gemma", "granite", "gemma2"])
def test_the_scores_that_are_trained_on_are_the_model_s_own(name, past, tiny_tokenizer, workspace):
    """Dory multiplies its logits by weights of its own, which start as ones: they were left out, and another model was trained."""
    more = dict(logits_scaling=2.0) if name == "granite" else {}
    families.make(name, workspace, tiny_tokenizer, **more)
    (workspace / "d.jsonl").write_text(json.dumps({"prompt": PAIR[0], "completion": PAIR[1]}) + "\n")
    one = ("--mix", "none", "--epochs", 1, "--lr", "1e-3", "--warmup", 0, "--precision", "fp32", "--name", "run")
    past("sft", "d.jsonl", "--base", "base", *one)
    (told,) = [json.loads(line) for line in (workspace / "runs/run/log.jsonl").read_text().splitlines()]
    loss, hand = by_hand(workspace / "base", tiny_tokenizer)
    assert told["loss"] == pytest.approx(loss, rel=1e-4)
    made, base = (families.loaded(workspace / place) for place in ("runs/run/model", "base"))
    assert apart(made, hand) < 0.02 * apart(base, hand)


def test_what_trl_would_score_otherwise_is_not_trained_by_it(past, tiny_tokenizer, workspace):
    """Cards and several processes train by TRL's own output layer: with ModernBERT's decoder, or RecurrentGemma's cap, of another model."""
    families.make("modernbert-decoder", workspace, tiny_tokenizer)
    (workspace / "d.jsonl").write_text(json.dumps({"prompt": PAIR[0], "completion": PAIR[1]}) + "\n")
    done = past("sft", "d.jsonl", "--base", "base", "--mix", "none", "--processes", 2, "--name", "run", code=1)
    assert "TRL scores words otherwise than ModernBertDecoderForCausalLM does" in done.stderr


def test_what_transformers_sets_to_zero_while_it_loads_is_what_the_file_holds(past, tiny_tokenizer, workspace):
    """Youtu's embedding of the token for padding, here the end of a text as well: what was trained of it was lost when it was loaded."""
    from past_hf.materialize import load_model
    from safetensors.torch import load_file

    families.make("youtu", workspace, tiny_tokenizer)
    (workspace / "d.jsonl").write_text(json.dumps({"prompt": PAIR[0], "completion": PAIR[1]}) + "\n")
    done = past(*SFT[:1], "d.jsonl", *SFT[2:], "--precision", "fp32", "--name", "run")
    held = load_file(workspace / "runs/run/model/model.safetensors")["model.embed_tokens.weight"]
    read = load_model(workspace / "runs/run/model", torch.float32).get_input_embeddings().weight
    assert torch.equal(read, held) and held[2].any()
    plain = families.loaded(workspace / "base").get_input_embeddings().weight[2]
    assert plain.any() or "past keeps what the file holds" in done.stderr  # until transformers is mended
