"""Models that hear: what of them reads text, and what no part of does. The whole path of those that do stands in `test_multimodal`."""

from __future__ import annotations

import re
import subprocess
import sys

import audio
import families
import pytest
import torch
from safetensors.torch import load_file
from test_architectures import SMALL

HALF = dict(vocab_size=330, d_model=64, encoder_ffn_dim=128, decoder_ffn_dim=128, decoder_start_token_id=0)
HALF |= dict(encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4)
HALF |= dict(pad_token_id=2, bos_token_id=0, eos_token_id=2)


def encoder_decoder(kind):
    import transformers as t

    if kind == "T5":
        config = t.T5Config(vocab_size=330, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
        return t.T5ForConditionalGeneration(config)
    if kind == "BART":
        return t.BartForConditionalGeneration(t.BartConfig(max_position_embeddings=256, **HALF))
    return t.WhisperForConditionalGeneration(t.WhisperConfig(**audio.MEL, max_target_positions=256, **HALF))


def saved(model, folder, tokenizer):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder.parent / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    (folder.parent / "q.jsonl").write_text('{"question": "which river", "answer": "fox"}\n')
    return folder


@pytest.mark.parametrize("kind", ["Whisper", "BART", "T5"])
def test_a_decoder_is_not_taken_for_the_whole(kind, past, workspace, tiny_tokenizer):
    """Whisper as it is published was trained, and answered, without its encoder, which was not in the result: nothing was said."""
    base = saved(encoder_decoder(kind), workspace / "base", tiny_tokenizer)
    for words in (
        ("sft", "d.md", "--base", base, *SMALL, "--name", "none"),
        ("eval", "--model", base, "--questions", "q.jsonl"),
    ):
        assert "answers what its encoder has read" in past(*words, code=3).stderr
    assert not list((workspace / "runs").glob("[!.]*"))


def test_a_model_without_a_class_for_text_is_refused_by_its_type(past, workspace, tiny_tokenizer):
    """AudioFlamingo 3 stands in transformers' tables for speech alone: what was said of it was an "unrecognized configuration class"."""
    from transformers import AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration

    hears = dict(model_type="audioflamingo3_encoder", **audio.ENCODER, **audio.MEL)
    reads = dict(model_type="qwen2", **audio.SIZES)
    config = AudioFlamingo3Config(audio_config=hears, text_config=reads, audio_token_id=320)
    base = saved(AudioFlamingo3ForConditionalGeneration(config), workspace / "base", tiny_tokenizer)
    said = past("eval", "--model", base, "--questions", "q.jsonl", code=3).stderr
    assert "names no class of audioflamingo3" in said and "extract and inject" in said


def test_of_a_model_of_several_models_the_one_that_reads_text_is_named(past, workspace, tiny_tokenizer):
    """Qwen2.5-Omni as it is published ended in an AttributeError; the command that is named makes what can be trained."""
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    torch.manual_seed(0)
    whole = Qwen2_5OmniForConditionalGeneration(
        Qwen2_5OmniConfig(thinker_config=audio.thinker(), enable_audio_output=False)
    )
    base = saved(whole, workspace / "base", tiny_tokenizer)
    said = past("sft", "d.md", "--base", base, *SMALL, "--name", "none", code=3).stderr
    assert "its thinker" in said
    command = re.search(r"python -c \"(.*)\"", " ".join(said.split()))[1]
    command = command.replace("WHOLE", str(base)).replace("THINKER", str(workspace / "thinker"))
    subprocess.run([sys.executable, "-c", command], check=True, capture_output=True)
    tiny_tokenizer.save_pretrained(workspace / "thinker")
    past("sft", "d.md", "--base", "thinker", *SMALL, "--name", "read")
    past("extract", "--sft", "thinker", "--rl", "read", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "thinker", "-o", "made")
    past("eval", "--model", "made", "--questions", "q.jsonl", "--max-new-tokens", 2)
    places = (base, *(workspace / name for name in ("thinker", "runs/read/model", "made")))
    first, thinker, read, made = (load_file(place / "model.safetensors") for place in places)
    assert first.keys() == thinker.keys() == read.keys() == made.keys()
    text = {name for name in first if name.startswith(("thinker.model.", "thinker.lm_head."))}
    assert {name for name in first if not torch.equal(first[name], read[name])} <= text
    assert all(torch.allclose(made[name], read[name], atol=1e-6) for name in first)
    assert not torch.equal(made["thinker.model.norm.weight"], first["thinker.model.norm.weight"])


def test_towers_within_a_language_model_are_left_as_they_are(past, past_json, workspace, tiny_tokenizer):
    """Phi-4-multimodal has no `text_config`: a LoRA lay on its towers as well, which text does not train."""
    from transformers import Phi4MultimodalForCausalLM

    torch.manual_seed(0)
    model = families.moved(Phi4MultimodalForCausalLM(audio.phi4()).float(), 0.02, 1)
    base = saved(model, workspace / "base", tiny_tokenizer)
    past("sft", "d.md", "--base", base, *SMALL, "--method", "lora", "--rank", 2, "--name", "lora")
    held = load_file(workspace / "runs/lora/adapter/adapter_model.safetensors")
    assert held and not any("embed_tokens_extend" in name for name in held)
    past("sft", "d.md", "--base", base, *SMALL, "--name", "full")
    before, after = (load_file(place / "model.safetensors") for place in (base, workspace / "runs/full/model"))
    beside = {name for name in before if "embed_tokens_extend" in name}
    assert before.keys() == after.keys() and beside
    assert {name for name in before if torch.equal(before[name], after[name])} == beside
    plan = past_json("sft", "d.md", "--base", base, *SMALL, "--dry-run", "--card", 80)
    weights = [value.numel() for name, value in model.named_parameters() if name in beside]
    assert plan["parameters"] - plan["trained"] == sum(weights) > 0
