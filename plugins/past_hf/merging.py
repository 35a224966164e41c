"""An adapter merged into its model by PEFT, with every factor of its file where it belongs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pastcli.errors import MismatchError

from .adapter import PREFIX, WEIGHTS
from .composite import full_name, is_tied


def merged(model: Any, adapter: Path) -> Any:
    """PEFT's merge, after making sure that it does what the adapter does at run time, and leaves nothing of it out."""
    from peft import PeftModel

    factors = _factors(adapter)
    settings = _settings(model, adapter, factors)
    wrapped = PeftModel.from_pretrained(model, adapter, local_files_only=True, config=settings)
    if is_tied(model) and any("lora_embedding" in name for name in wrapped.state_dict()):
        raise MismatchError(
            f"{adapter} changes embeddings that its base ties to the output layer: PEFT changes the input side alone when it "
            "runs the adapter, and both sides when it merges it",
            "untie the base (tie_word_embeddings=False) and train on that, or leave the embeddings out",
        )
    _place(wrapped, adapter, factors)
    return wrapped.merge_and_unload()


def _settings(model: Any, adapter: Path, factors: Iterable[str]) -> Any:
    """The adapter's settings, for the layers that its file holds `factors` of, by the names that these have in memory.

    By its own PEFT passes over layers that `target_modules` does not name, and over names of another version of transformers: an
    adapter of Qwen2.5-VL that is older than 4.52 would not be applied at all, with a warning alone.
    """
    from peft import LoraConfig, PeftConfig

    settings = PeftConfig.from_pretrained(adapter, local_files_only=True)
    names = sorted({key.removeprefix(PREFIX).partition(".lora_")[0] for key in factors})
    if not names or not isinstance(settings, LoraConfig):
        return settings
    layers = {full_name(name): name for name, _ in model.named_modules()}
    lost = next((name for name in names if full_name(name) not in layers), None)
    if lost:
        raise MismatchError(
            f"{adapter} changes {lost}, and {type(model).__name__} has no such layer", "is it an adapter of this model?"
        )
    placed = {name: layers[full_name(name)] for name in names}
    settings.target_modules = set(placed.values())
    settings.exclude_modules = settings.layers_to_transform = settings.layers_pattern = None
    if any(name != here for name, here in placed.items()):
        settings.rank_pattern = _by_layer(settings.rank_pattern, placed)
        settings.alpha_pattern = _by_layer(settings.alpha_pattern, placed)
    return settings


def _by_layer(patterns: Mapping[str, Any] | None, placed: Mapping[str, str]) -> dict[str, Any]:
    """What patterns say of the names in the file, for each layer by its name in memory."""
    made: dict[str, Any] = {}
    for name, here in placed.items():
        said = [value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name)]
        made |= {here: said[0]} if said else {}
    return made


def _factors(adapter: Path) -> dict[str, Any]:
    """The factors in an adapter's file; not those of experts, which PEFT lays together in its own way."""
    from safetensors.torch import load_file

    if not (adapter / WEIGHTS).is_file():
        return {}
    return {
        key: value for key, value in load_file(adapter / WEIGHTS).items() if ".lora_" in key and ".experts." not in key
    }


def _place(wrapped: Any, adapter: Path, factors: Mapping[str, Any]) -> None:
    """Put each of the `factors` of the file into its layer."""
    held = {_factor(name): value for name, value in wrapped.named_parameters() if ".lora_" in name}
    for key, value in factors.items():
        if _factor(key) not in held or held[_factor(key)].shape != value.shape:
            raise MismatchError(f"{adapter} holds the factor {key}, for which PEFT makes no place in its model")
        held[_factor(key)].data.copy_(value)


def _factor(name: str) -> str:
    """One name for a factor, in a file or in memory, by the names that the layers have here."""
    module, _, rest = name.removeprefix(PREFIX).partition(".lora_")
    return f"{full_name(module)}.lora_{rest.replace('.default', '')}"
