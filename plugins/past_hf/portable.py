"""Model directories that transformers 4 and 5 both read as they were meant.

Version 5 writes `rope_parameters` and a tokenizer class of its own. Version 4 ignores the first without a word (rope_theta falls
back to the architecture's default: another model) and fails on the second. The keys of both stand side by side here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pastcli.files import read_json, write_json

_OF_ROPE_PARAMETERS = ("rope_theta", "partial_rotary_factor")
_KNOWN_TO_4 = ("linear", "dynamic", "yarn", "longrope", "llama3")
_UNSHARED = ("is_local", "local_files_only", "name_or_path", "_name_or_path", "_commit_hash")
"""Where a file once lay and how it was loaded: of no use to others."""


def make_portable(folder: Path, config: Mapping[str, Any] | None = None) -> None:
    """Complete tokenizer_config.json of a directory in place, then config.json; `config` is what is to become the latter."""
    file = folder / "config.json"
    if config is None and file.is_file():  # an adapter has none
        config = read_json(file)
    config = _portable(config or {})
    if (folder / "tokenizer_config.json").is_file():
        text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
        limit = text.get("max_position_embeddings") or text.get("n_positions")
        before = read_json(folder / "tokenizer_config.json")
        table = portable_tokenizer(before, limit)
        if table != before:
            write_json(folder / "tokenizer_config.json", table)
    if config:
        write_json(file, config)


def _portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """`portable_config`, with the old names of rotary settings only where this version's reading stays what it was.

    One set of settings reads the same under both names. A set for each type of layer does with the few architectures that
    version 4 knew so; others (Gemma 4) would take the old names for all they have.
    """
    made = portable_config(config)
    return made if not _by_layer_type(config) or _read(made) == _read(config) else portable_config(config, rope=False)


def _by_layer_type(config: Mapping[str, Any]) -> bool:
    rope, inner = config.get("rope_parameters"), config.get("text_config")
    return (isinstance(rope, dict) and any(isinstance(value, dict) for value in rope.values())) or (
        isinstance(inner, dict) and _by_layer_type(inner)
    )


def _read(config: Mapping[str, Any]) -> Any:
    """The rotary settings as the installed transformers reads them; a value of its own where it cannot."""
    from transformers import CONFIG_MAPPING

    try:
        read = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(dict(config))).get_text_config()
        read.standardize_rope_params()  # as a model does that is made of it: what stands beside the sets goes into each
        return read.rope_parameters
    except Exception:  # an unknown architecture, or one of many checks
        return object()


def portable_config(config: Mapping[str, Any], rope: bool = True) -> dict[str, Any]:
    """config.json with rotary settings (if `rope`) and expert counts under their names in transformers 4 as well; nested text
    models too."""
    made = {key: value for key, value in config.items() if key not in _UNSHARED}
    if isinstance(made.get("text_config"), dict):
        made["text_config"] = portable_config(made["text_config"], rope)
    if str(made.get("model_type", "")).startswith("qwen") and "num_local_experts" in made:
        made["num_experts"] = made["num_local_experts"]
    settings = made.get("rope_parameters")
    return made | _old_names(settings) if rope and isinstance(settings, dict) else made


def _old_names(rope: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings as transformers 4 calls them."""
    made: dict[str, Any] = {}
    if isinstance(rope.get("full_attention"), dict):  # one set a layer type, as in Gemma 3
        local = rope.get("sliding_attention")
        if isinstance(local, dict) and "rope_theta" in local:
            made["rope_local_base_freq"] = local["rope_theta"]
        rope = rope["full_attention"]
    made |= {key: rope[key] for key in _OF_ROPE_PARAMETERS if rope.get(key) is not None}
    kind = rope.get("rope_type", "default")
    if (
        kind in _KNOWN_TO_4 or "mrope_section" in rope
    ):  # of other kinds version 4 has no model, and version 5 misreads the key
        made["rope_scaling"] = {key: value for key, value in rope.items() if key not in _OF_ROPE_PARAMETERS}
    return made


def portable_tokenizer(table: Mapping[str, Any], limit: Any) -> dict[str, Any]:
    """tokenizer_config.json with a class both versions have, and the model's `limit` as its longest text."""
    made = {key: value for key, value in table.items() if key not in _UNSHARED}
    if made.get("tokenizer_class") == "TokenizersBackend":
        made["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(made.get("extra_special_tokens"), list):  # version 4 has a mapping under this name
        made["additional_special_tokens"] = made.pop("extra_special_tokens")
    longest = made.get("model_max_length")
    if isinstance(limit, int) and (not isinstance(longest, (int, float)) or longest > 1e9):
        made["model_max_length"] = limit
    return made
