"""Tiny random models that hear: configurations of models with towers for sound beside their language model."""

from __future__ import annotations

from architectures import SIZES

EARS = dict(d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=48)
MEL = dict(num_mel_bins=16, max_source_positions=50)
ENCODER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
EYES = dict(
    depth=2, hidden_size=32, intermediate_size=48, num_heads=2, patch_size=14, spatial_merge_size=2, out_hidden_size=64
)
OMNI_IDS = dict(audio_token_index=320, image_token_index=321, video_token_index=322)
OMNI_IDS |= dict(audio_start_token_id=323, audio_end_token_id=324, vision_start_token_id=325, vision_end_token_id=326)
M_ROPE = dict(rope_type="default", mrope_section=[2, 3, 3], rope_theta=1e6)
CONFORMER = dict(input_dim=16, num_layers=2, hidden_dim=32, num_heads=2, dim_head=16, output_dim=8)


def configs():
    """Name as in the table -> configuration."""
    import transformers as t

    return {
        "Qwen2-Audio": t.Qwen2AudioConfig(
            audio_config=dict(model_type="qwen2_audio_encoder", **EARS, **MEL),
            text_config=dict(model_type="qwen2", **SIZES),
            audio_token_index=320,
        ),
        "Voxtral": t.VoxtralConfig(
            audio_config=dict(model_type="voxtral_encoder", **{**ENCODER, "intermediate_size": 128}, **MEL),
            text_config=dict(model_type="llama", **SIZES),
            audio_token_id=320,
        ),
        "Granite Speech": t.GraniteSpeechConfig(
            text_config=dict(model_type="granite", **SIZES),
            encoder_config=dict(context_size=20, max_pos_emb=32, conv_kernel_size=5, **CONFORMER),
            projector_config=dict(model_type="blip_2_qformer", encoder_hidden_size=32, **ENCODER),
            audio_token_index=320,
            has_lora_adapter=False,
            tie_word_embeddings=False,
        ),
        "Qwen2.5-Omni (thinker)": t.Qwen2_5OmniThinkerConfig(**thinker()),
    }


def thinker():
    """The configuration of what reads text in Qwen2.5-Omni."""
    return dict(
        audio_config=dict(**EARS, **MEL, output_dim=64, n_window=10),
        vision_config=dict(EYES, window_size=56, fullatt_block_indexes=[1]),
        text_config=dict(**SIZES, rope_parameters=M_ROPE),
        pad_token_id=2,
        **OMNI_IDS,
    )


def phi4():
    """Phi-4-multimodal, whose towers stand within its language model."""
    import transformers as t

    sound = dict(hidden_size=32, intermediate_size=48, num_blocks=2, num_attention_heads=2, audio_token_id=321)
    sound |= dict(ext_pw_out_channel=32, depthwise_separable_out_channel=32, nemo_conv_channels=32)
    return t.Phi4MultimodalConfig(
        **SIZES,
        vision_config=dict(image_size=28, crop_size=28, image_token_id=320, **{**ENCODER, "num_hidden_layers": 2}),
        audio_config=dict(input_size=16, bias_max_distance=16, **sound),
    )


NAMES = ("Qwen2-Audio", "Voxtral", "Granite Speech", "Qwen2.5-Omni (thinker)")


def gemma3n():
    """Gemma 3n with both towers, of which timm makes the one that sees."""
    import transformers as t

    text = dict(head_dim=16, hidden_size_per_layer_input=8, laurel_rank=8, altup_num_inputs=2, num_kv_shared_layers=0)
    text |= dict(activation_sparsity_pattern=None, layer_types=["sliding_attention", "full_attention"])
    ears = dict(input_feat_size=16, hidden_size=32, conf_num_attention_heads=2, conf_num_hidden_layers=1)
    return t.Gemma3nConfig(
        text_config=dict(**SIZES | {"vocab_size": 346}, vocab_size_per_layer_input=330, sliding_window=128, **text),
        vision_config=dict(architecture="mobilenetv3_small_050", hidden_size=576, vocab_size=8, vocab_offset=330),
        audio_config=dict(vocab_size=8, vocab_offset=338, sscp_conv_channel_size=(8, 4), **ears),
        **dict(boi_token_id=321, eoi_token_id=322, image_token_id=323),
        **dict(boa_token_id=324, eoa_token_id=325, audio_token_id=326),
    )
