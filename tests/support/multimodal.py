"""Tiny random models with towers for images beside their language model, as the hub has them: names, config and processor files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import audio
from architectures import SIZES

HEAD_16 = dict(head_dim=16)
IMAGE = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14
)
IDS = dict(image_token_id=320, video_token_id=321, vision_start_token_id=322, vision_end_token_id=323)
QWEN_EYES = dict(
    depth=3, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=14, spatial_merge_size=2, out_hidden_size=64
)
M_ROPE = dict(rope_type="default", mrope_section=[2, 3, 3], rope_theta=1e6)
"""Rotary embeddings of three axes."""


def configs():
    """Name as in the table -> configuration."""
    import transformers as t

    moe = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    gemma = dict(query_pre_attn_scalar=16, sliding_window=128, **HEAD_16)
    pixtral = dict(model_type="pixtral", head_dim=16, **IMAGE)
    linear = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16)
    deep = dict(num_position_embeddings=16, deepstack_visual_indexes=[0, 1])
    qwen35 = dict(
        layer_types=["linear_attention", "full_attention"], rope_parameters=dict(M_ROPE, mrope_interleaved=True)
    )
    llama4 = dict(intermediate_size_mlp=128, num_local_experts=4, num_experts_per_tok=1, interleave_moe_layer_step=2)
    llama4 |= dict(attention_chunk_size=128)
    eyes4 = dict(
        vision_output_dim=32, projector_input_dim=32, projector_output_dim=32, **{**IMAGE, "intermediate_size": 128}
    )
    ears = dict(hidden_size_per_layer_input=8, vocab_size_per_layer_input=330, sliding_window=128, **HEAD_16)
    clip = dict(model_type="clip_vision_model", projection_dim=32, **IMAGE)
    intern = {**IMAGE, "image_size": [28, 28], "patch_size": [14, 14]}
    llama = dict(model_type="llama", **SIZES)
    return {
        "Gemma 3 with images": t.Gemma3Config(
            text_config=dict(**SIZES, **gemma), vision_config=IMAGE, mm_tokens_per_image=4, image_token_index=320
        ),
        "Gemma 4": t.Gemma4Config(
            text_config=dict(**SIZES, **ears),
            vision_config=dict(num_key_value_heads=2, position_embedding_size=16, **HEAD_16, **IMAGE),
            audio_config=None,
        ),
        "Mistral 3": t.Mistral3Config(
            text_config=dict(model_type="mistral", **SIZES, **HEAD_16, sliding_window=None),
            vision_config=pixtral,
            image_token_index=320,
            tie_word_embeddings=False,
        ),
        "Ministral 3": t.Mistral3Config(
            text_config=dict(model_type="ministral3", **SIZES, **HEAD_16), vision_config=pixtral, image_token_index=320
        ),
        "Qwen2.5-VL": t.Qwen2_5_VLConfig(
            text_config=dict(
                **SIZES, rope_scaling=M_ROPE, rms_norm_eps=1e-6
            ),  # as published; llama.cpp 0.3.36 takes it for 0
            vision_config=dict(QWEN_EYES, window_size=56, fullatt_block_indexes=[1]),
            **IDS,
        ),
        "Qwen3-VL": t.Qwen3VLConfig(
            text_config=dict(**SIZES, **HEAD_16, rope_scaling=M_ROPE),
            vision_config=dict(QWEN_EYES, **deep),
            **IDS,
            tie_word_embeddings=True,
        ),
        "Qwen3-VL-MoE": t.Qwen3VLMoeConfig(
            text_config=dict(**SIZES, **HEAD_16, **moe, rope_scaling=M_ROPE),
            vision_config=dict(QWEN_EYES, **deep),
            **IDS,
        ),
        "Qwen3.5": t.Qwen3_5Config(
            text_config=dict(**SIZES, **HEAD_16, **linear, **qwen35),
            vision_config=dict(QWEN_EYES, num_position_embeddings=16),
            **IDS,
        ),
        "Llama 4": t.Llama4Config(
            text_config=dict(**SIZES, **HEAD_16, **llama4), vision_config=eyes4, image_token_index=320
        ),
        "SmolVLM": t.SmolVLMConfig(
            text_config=llama, vision_config=IMAGE, image_token_id=320, scale_factor=2, pad_token_id=2
        ),
        "LLaVA": t.LlavaConfig(text_config=llama, vision_config=clip, image_token_index=320),
        "InternVL": t.InternVLConfig(
            text_config=dict(model_type="qwen2", **SIZES), vision_config=intern, image_token_id=320
        ),
        **audio.configs(),
    }


def reader(config: Any) -> Any:
    """The Auto class of a model that sees or hears."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEEING

    sees = config.model_type in SEEING
    return transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForMultimodalLM


NAMES = (
    "Gemma 3 with images",
    "Gemma 4",
    "Mistral 3",
    "Ministral 3",
    "Qwen2.5-VL",
    "Qwen3-VL",
    "Qwen3-VL-MoE",
    "Qwen3.5",
    "Llama 4",
    "SmolVLM",
    "LLaVA",
    "InternVL",
    *audio.NAMES,
)
PROCESSOR = {
    "preprocessor_config.json": '{"image_processor_type": "SiglipImageProcessor", "size": {"height": 28, "width": 28}}',
    "video_preprocessor_config.json": '{"video_processor_type": "Qwen3VLVideoProcessor"}',
    "processor_config.json": '{"processor_class": "Gemma3Processor", "image_seq_length": 4}',
    "chat_template.json": '{"chat_template": "{{ messages }}"}',
}
TOWERS = ("vision", "visual", "audio_tower", "encoder.", "projector", "connector", "mtp.")
"""Parts of the names of what lies beside the language model."""
_PUBLISHED = {"Gemma 3 with images": "vision_tower.vision_model.", "LLaVA": "vision_tower.vision_model."}
"""What transformers 5 no longer writes: the tower's tensors were one level deeper when these were published."""


def make(name: str, folder: Path, tokenizer, seed: int = 0, dtype: str = "float32", shard: str = "5GB") -> Path:
    """Save a random model whose vectors differ from what they begin with, as it was published."""
    import torch

    torch.manual_seed(seed)
    config = configs()[name]
    model = reader(config).from_config(config).float()
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    for file, text in PROCESSOR.items():
        (folder / file).write_text(text)
    if name in _PUBLISHED:
        rename(folder, lambda key: key.replace("vision_tower.", _PUBLISHED[name]))
    if name == "Qwen3.5":
        further = {"mtp.fc.weight": torch.randn(64, 128), "mtp.norm.weight": torch.randn(64)}
        rename(folder, lambda key: key, {key: value.to(getattr(torch, dtype)) for key, value in further.items()})
    return folder


def rename(folder: Path, new: Callable[[str], str], more: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Give the tensors of a directory other names, in its index too, and put `more` into its first file."""
    from safetensors.torch import load_file, save_file

    where = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors = {new(key): value for key, value in load_file(file).items()} | ({} if where else dict(more))
        where |= dict.fromkeys(tensors, file.name)
        save_file(tensors, file, {"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        index.write_text(json.dumps({"metadata": {}, "weight_map": where}))


def logits(folder: Path, ids: list[int]):
    """transformers alone, in float32, by the class of the whole: (tokens, vocabulary)."""
    import torch
    from transformers import AutoConfig

    how = dict(dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model, found = reader(AutoConfig.from_pretrained(folder)).from_pretrained(folder, **how)
    assert not found["missing_keys"] and not found["unexpected_keys"], found
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits[0].numpy()


LLAMA_CPP = {
    "Gemma 3 with images": "gemma3",
    "Mistral 3": "llama",
    "Qwen2.5-VL": "qwen2vl",
    "Qwen3-VL": "qwen3vl",
    "SmolVLM": "llama",
    "LLaVA": "llama",
    "InternVL": "qwen2",
}
"""Name as in the table -> architecture of its language model in llama.cpp."""
CLASSES = {"gemma3": "Gemma3ForCausalLM", "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def language(name: str, whole: Path, folder: Path, tokenizer) -> Path:
    """The language model of `whole` alone, as a directory of the class that has no towers."""
    from safetensors.torch import load_file, save_file

    config = json.loads((whole / "config.json").read_text())
    ours = {}
    for key, value in load_file(whole / "model.safetensors").items():
        if not any(part in key for part in TOWERS):
            inner = re.sub(r"^(model\.)?(language_model|text_model)\.(model\.)?", "model.", key)
            ours[inner.replace("model.lm_head", "lm_head")] = value
    folder.mkdir()
    save_file(ours, folder / "model.safetensors", {"format": "pt"})
    alone = config["text_config"] | {"architectures": [CLASSES.get(LLAMA_CPP[name], "")]}
    alone["tie_word_embeddings"] = "lm_head.weight" not in ours
    (folder / "config.json").write_text(json.dumps(alone))
    tokenizer.save_pretrained(folder)
    return folder
