"""Models of several parts: a language model with towers for images or sound beside it (`text_config` in config.json).

Text is all that is read here, so the language model is all that is trained; the towers come along as they are. The files of one
such model go by several names: published before transformers 4.52 its layers are `language_model.model.layers.0` (or
`model.layers.0` beside `visual.blocks.0`), in memory they are `model.language_model.layers.0`. Here they have the names of the
language model alone, `model.layers.0` and `lm_head`, under which its GGUF and its class without towers know them as well.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pastcli import tested
from pastcli.errors import MismatchError, PastError

from .counts import refuse_impossible

_LANGUAGE = re.compile(r"^(?:model\.)?(?:language_model|text_model)\.(?:model\.)?")
_TOWER = re.compile(
    r"^(?:model\.)?(?P<part>vision_tower|vision_model|visual|vision_embed_tokens|vqmodel|multi_modal_projector|connector|aligner|projector"
    r"|audio_tower|image_tower|video_tower|embed_vision|embed_audio|image_newline|qformer|perceiver)(?=\.|$)(?:\.vision_model(?=\.))?"
)


def is_composite(config: Mapping[str, Any]) -> bool:
    """Whether config.json describes a language model with other parts beside it."""
    return isinstance(config.get("text_config"), dict)


def full_name(key: str) -> str:
    """The one name here of a tensor or module of such a model, whatever a file or transformers calls it."""
    key = key.removeprefix("thinker.")  # as the whole of Qwen2.5-Omni has it, and what transformers writes of it alone
    name = _LANGUAGE.sub("model.", key)
    if name != key:
        return name.removeprefix("model.") if name.startswith("model.lm_head") else name
    return _TOWER.sub(lambda found: found["part"], key)


def full_names(keys: Iterable[str]) -> dict[str, str]:
    """{stored name: name here}; as they are stored where two would get one name."""
    made = {key: full_name(key) for key in keys}
    return made if len(set(made.values())) == len(made) else {key: key for key in made}


def auto_class(config: Any) -> Any:
    """transformers' Auto class that makes the class which `config` (transformers') names as its architecture.

    `AutoModelForCausalLM` would leave the towers of some out without a word (Qwen3.5, Llama 4), and does not know most others. Raises
    `MismatchError` for a model that has no class which reads text alone.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    _refuse_other_readers(config)
    kinds = {"CausalLM": "CAUSAL_LM", "ImageTextToText": "IMAGE_TEXT_TO_TEXT", "MultimodalLM": "MULTIMODAL_LM"}
    named = {kind: getattr(modeling_auto, f"MODEL_FOR_{table}_MAPPING_NAMES", None) for kind, table in kinds.items()}
    if (
        named["CausalLM"] is None or named["ImageTextToText"] is None
    ):  # then every model would be taken for one of text alone
        raise PastError("this transformers does not say of which class a model is", tested.install(["transformers"]))
    tables = {kind: table.get(config.model_type) for kind, table in named.items() if table is not None}
    wanted = set(config.architectures or ())
    if not any(tables.values()) and config.model_type in modeling_auto.CONFIG_MAPPING_NAMES:
        raise MismatchError(
            f"transformers {transformers.__version__} names no class of {config.model_type} for text that is continued",
            "extract and inject work on its weights all the same",
        )
    known = {kind: {found} if isinstance(found, str) else set(found) for kind, found in tables.items() if found}
    order = (
        sorted(known, key=lambda kind: kind == "CausalLM") if config.get_text_config() is not config else list(known)
    )
    kind = next((kind for kind in order if known[kind] & wanted), next(iter(order), "CausalLM"))
    return getattr(transformers, f"AutoModelFor{kind}")


def _refuse_other_readers(config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise MismatchError(
            f"the decoder of {config.model_type} answers what its encoder has read: it continues no text by itself",
            "take a model that is a decoder alone (...ForCausalLM); without its encoder this one would be another",
        )
    if getattr(config, "languages", None) and getattr(config, "default_language", "") is None:
        raise MismatchError(
            f"a model of type {config.model_type} has layers for each of its languages, and its config.json does not say which to read by",
            f'set "default_language" in it to one of {", ".join(map(str, config.languages))}'[:300],
        )
    thinker = getattr(config, "thinker_config", None)
    if thinker is not None:
        kind = f"{(config.architectures or ['Qwen2_5OmniForConditionalGeneration'])[0]}".replace(
            "OmniFor", "OmniThinkerFor"
        )
        raise MismatchError(
            f"{config.model_type} is several models; the one that reads text and continues it is its thinker",
            f'write that out once: python -c "from transformers import {kind} as M; '
            "M.from_pretrained('WHOLE', dtype='auto').save_pretrained('THINKER')\"",
        )


def read_config(folder: Path) -> Any:
    """transformers' configuration of the model in `folder`. Raises `MismatchError` for what it cannot read.

    Code that comes with a model is never run: left to itself, transformers asks at the terminal whether it may.
    """
    from transformers import AutoConfig

    refuse_impossible(folder)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # its own checks of a config raise whatever they like
        if "custom code" in str(error):
            raise MismatchError(
                f"{folder} comes with code of its own, which past does not run",
                "extract and inject need none of it; else take a model that transformers has a class for",
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise MismatchError(f"transformers cannot read {folder / 'config.json'}: {reason}", "mend that file") from error


def without_weights(folder: Path) -> Any:
    """The model in `folder` as transformers makes it, without memory: config.json alone is read."""
    import torch

    config = read_config(folder)
    with torch.device("meta"):
        model = auto_class(config).from_config(config)
    model.tie_weights()
    return model


def in_memory(folder: Path) -> dict[str, str]:
    """{name here: name in memory} of the weights of the model in `folder`."""
    return {name: key for key, name in full_names(without_weights(folder).state_dict()).items()}


def is_tied(model: Any) -> bool:
    """Whether the output layer is the embeddings once more. What configs say of it stands at the top or in a part, or nowhere."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and embedding is not None and head.weight is embedding.weight


def decoder_name(model: Any) -> str:
    """What the language model of one with towers is called among its modules; "" for a model that is one itself."""
    if model.config.get_text_config() is model.config:
        return ""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def within(name: str) -> bool:
    """Whether a module or parameter belongs to a tower that stands within the language model, as those of Phi-4-multimodal do."""
    return "embed_tokens_extend" in name.split(".")


def towers(model: Any) -> list[Any]:
    """The parameters beside the language model, which text does not reach; none of a model that is one."""
    if not decoder_name(model):
        return [one for name, one in model.named_parameters() if within(name)]
    parts = (model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings())
    language = {id(one) for part in parts if part is not None for one in part.parameters()}
    return [one for one in model.parameters() if id(one) not in language]


def say_text_alone(model: Any) -> None:
    """Let a model that asks in training which tokens stand for images (Gemma 3 in transformers 5.0) be told: none."""
    import torch

    inner = model.base_model
    if not decoder_name(model) or "token_type_ids" not in inspect.signature(inner.forward).parameters:
        return
    training = model.training
    model.train()
    try:
        with torch.no_grad():
            inner(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), use_cache=False)
    except ValueError as error:
        if "token_type_ids" not in str(error):
            raise
        inner.register_forward_pre_hook(_told_of_text, with_kwargs=True)
    finally:
        model.train(training)


def _told_of_text(module: Any, arguments: tuple, given: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    if module.training and given.get("token_type_ids") is None and given.get("input_ids") is not None:
        given = {**given, "token_type_ids": given["input_ids"].new_zeros(given["input_ids"].shape)}
    return arguments, given
