"""Whatever the user named, as something transformers loads: a directory with config, safetensors and tokenizer."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pastcli import adapters, models, output
from pastcli.chat_templates import rendered
from pastcli.config import digest
from pastcli.conversions import kept
from pastcli.errors import MismatchError, UsageError
from pastcli.files import read_json, sync_tree

from .as_stored import refuse_made_up, whole
from .checkpoint import HFCheckpoint
from .composite import read_config
from .counts import refuse_impossible
from .folder import no_weights
from .merging import merged
from .portable import make_portable
from .vocabulary import needs_sentencepiece

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = 2
"""Raise when a conversion changes, so that kept ones of the old kind are not used."""


def hf_directory(path: Path) -> Path:
    """An HF directory for an HF directory (itself) or a GGUF (dequantised to float32, once).

    A conversion is kept under `models.home()/models`. Raises `MismatchError` for a folder without safetensors
    and for adapters, which are no models by themselves.
    """
    path = Path(path)
    if path.is_file():
        place = models.home() / "models"
        return kept(
            [path],
            lambda hashes: place / f"{path.stem}-{digest([VERSION, *hashes])[:24]}",
            lambda folder: _convert_gguf(path, folder),
        )
    if (path / "adapter_config.json").is_file():
        raise MismatchError(f"{path} is a LoRA adapter, not a model", "name the model it was trained on")
    if not (path / "config.json").is_file():
        raise MismatchError(f"{path} holds no config.json", "give an HF model directory, a GGUF file or a run")
    refuse_impossible(path)
    if not any(path.glob("*.safetensors")):
        raise no_weights(path)
    return path


def publish_folder(destination: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write into a temporary folder, and rename it into place when it is on disk; of two at once, one wins."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(3)}")
    temporary.mkdir()
    try:
        fill(temporary)
        sync_tree(temporary)
        try:
            os.rename(temporary, destination)
        except OSError:
            if not destination.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _convert_gguf(file: Path, folder: Path) -> None:
    output.note(f"converting {file.name} to float32 once, for {models.home() / 'models'}")
    folder.mkdir()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .quiet import quiet

    quiet()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # the readers raise many types, from KeyError to struct.error
        raise MismatchError(
            f"{file} cannot be converted by transformers: {error}", "use the HF checkpoint instead"
        ) from error
    config = loaded.config
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        config.__dict__.pop(name, None)
    # transformers marks the loaded model as quantised and refuses to save it: a fresh one takes its weights.
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    fresh.generation_config = loaded.generation_config
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    make_portable(folder)
    models.write_note(folder, models.ModelRef(_alias_of(file), file, "gguf"), template=file)


def _alias_of(file: Path) -> str:
    """The alias whose package ships this file, so that its template is found again elsewhere; else its name."""
    return next((alias for alias, (_, name) in models.PACKAGED.items() if name == file.name), file.name)


def base_directory(adapter: Path) -> Path:
    """The model directory below an adapter (or a pile of them), as their own configs name it."""
    while (adapter / adapters.CONFIG).is_file():
        adapter = adapters.base_of(adapter).path
    return hf_directory(adapter)


_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def working_dtype(path: Path, precision: str) -> Any:
    """The torch type of a setting `precision`; `stored` is the narrowest that loses nothing of the model's weights: the type of
    its matrices, float32 where these differ, and for adapters, which are merged in it, and GGUFs, which are dequantised to it.
    """
    import torch

    if precision != "stored":
        if precision not in _PRECISIONS:
            raise UsageError(f"precision must be stored, {', '.join(_PRECISIONS)}, not {precision!r}")
        return getattr(torch, _PRECISIONS[precision])
    path = Path(path)
    if path.is_file() or (path / adapters.CONFIG).is_file():
        return torch.float32
    with closing(HFCheckpoint(hf_directory(path))) as model:
        kinds = {spec.dtype for spec in model.specs().values() if len(spec.shape) > 1}
    return {frozenset(("BF16",)): torch.bfloat16, frozenset(("F16",)): torch.float16}.get(
        frozenset(kinds), torch.float32
    )


def load_model(path: Path, dtype: Any, attention: str | None = None, packed: Any = None) -> PreTrainedModel:
    """A causal language model from an HF directory, GGUF or adapter (merged in float32), then in `dtype`.

    `packed` is transformers' configuration for a model directory whose linear layers are to be held in fewer bits.
    """
    import torch

    path = Path(path)
    try:
        if (path / adapters.CONFIG).is_file():
            return cast(merged(load_model(adapters.base_of(path).path, torch.float32, attention), path), dtype)
        how = dict(dtype=dtype, attn_implementation=attention, use_safetensors=True, local_files_only=True)
        if packed is not None:
            how |= dict(
                quantization_config=packed,
                device_map={"": torch.cuda.current_device()} if torch.cuda.is_available() else "cpu",
            )
        return whole(hf_directory(path), **how)
    except (OSError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        raise MismatchError(f"{path} cannot be loaded: {first_line(error)}", "is the directory complete?") from error
    except Exception as error:  # safetensors has an error type of its own
        if type(error).__name__ != "SafetensorError":
            raise
        raise MismatchError(f"{path} holds a broken safetensors file: {first_line(error)}") from error


def cast(model: Any, dtype: Any) -> Any:
    """The model with its weights in `dtype`. What follows from the config stays as transformers made it: the frequencies of rotary
    embeddings are float32 in every type, and would turn otherwise in 16 bits; some are complex."""
    for value in model.state_dict(keep_vars=True).values():
        if value.is_floating_point():
            value.data = value.data.to(dtype)
    return model


def load_tensors(kind: Any, config: Any, tensors: Mapping[str, np.ndarray], path: Path) -> Any:
    """A model of the class `kind` in float32, of `tensors` under the names that a checkpoint at `path` has here; what its files hold
    beside weights, such as tables of integers, is taken from there."""
    import torch
    from safetensors import safe_open

    from .choosing import settle

    folder = base_directory(path)
    state = {}
    with closing(HFCheckpoint(folder)) as files:
        for name, value in tensors.items():
            state[files.stored_name(name)] = torch.from_numpy(np.ascontiguousarray(value))
        for name in files.carried:
            with safe_open(folder / files.shard_of(name), "pt") as shard:
                state[files.stored_name(name)] = shard.get_tensor(files.stored_name(name))
    model, found = kind.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
    )
    refuse_made_up(model, found, path)
    return settle(model)


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of an HF directory, GGUF or adapter (of its base); a missing pad token becomes the end token."""
    return tokenizer_in(base_directory(Path(path)))


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a directory, which need not hold weights."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each kind of tokenizer has errors of its own
        read_config(folder)  # which it reads as well: that may be what is wrong
        if "custom code" in str(error):
            raise MismatchError(
                f"the tokenizer in {folder} comes with code of its own, which past does not run",
                "take the tokenizer.json of a copy of the model that transformers has a class for",
            ) from error
        if needs_sentencepiece(folder):
            raise MismatchError(
                f"{folder} has its tokenizer as SentencePiece's model alone, which is read by the package sentencepiece",
                "pip install sentencepiece, or copy the tokenizer.json of a copy of the model that has one",
            ) from error
        raise MismatchError(
            f"{folder} has no usable tokenizer: {first_line(error).removesuffix(' from one of:')}",
            "copy tokenizer.json and tokenizer_config.json into it from the model it was made of",
        ) from error
    if tokenizer.eos_token_id is None:
        raise MismatchError(f"the tokenizer in {folder} names no end token", "set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    beside = folder / "chat_template.json"  # where older processors keep it (Mistral Small 3.1, LLaVA)
    if not tokenizer.chat_template and beside.is_file():
        tokenizer.chat_template = read_json(beside).get("chat_template")
    return tokenizer


def templated(tokenizer: Any, turns: Sequence[Mapping[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> str:
    """A conversation in the tokenizer's chat template, ending where the assistant is to speak."""
    from jinja2 import TemplateError

    how = dict(tools=list(tools) or None, tokenize=False, add_generation_prompt=True)
    try:
        return rendered(lambda given: str(tokenizer.apply_chat_template(given, **how)), turns)
    except TemplateError as error:
        raise UsageError(f"the model's chat template refuses this conversation: {first_line(error)}") from error


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids with the beginning token, if the tokenizer has one, and without an end token."""
    ids = tokenizer(text)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token) else ids


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
