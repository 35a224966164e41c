"""PEFT LoRA adapter directories: the factors exactly as stored, under the names of the base model's tensors.

The change of a layer is scale * B @ A with scale = alpha / r, or alpha / sqrt(r) with rsLoRA
(Hu et al. 2021, 2106.09685; Kalajdzievski 2023, 2312.03732). Anything that is not such a product (DoRA,
biases, fully saved modules, other PEFT methods) is refused by name instead of being dropped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.adapters import named_base
from pastcli.api import Identity, LowRank, TensorSpec
from pastcli.errors import MismatchError, UsageError
from pastcli.files import read_json
from pastcli.hashing import shapes_sha256
from pastcli.vectors.files.recent import Recent
from pastcli.vectors.files.safetensors import SafeReader
from pastcli.vectors.numbers import arithmetic
from pastcli.vectors.numbers.lowrank import product_block

from .composite import full_name
from .folder import no_weights
from .vocabulary import tokenizer_sha256

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
FAR = 1e30
"""No alpha is that large; what is leaves float32 as soon as it is multiplied with anything."""
MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that take something out of the base weights: their factors alone are not the change."""
LEAVES_THE_BASE = ("gaussian", "eva", "orthogonal")
"""Those that do not."""
VARIANTS = ("use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config", "monteclora_config")
KNOWN = frozenset(
    """task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode r target_modules exclude_modules
    lora_alpha lora_dropout fan_in_fan_out bias use_rslora modules_to_save init_lora_weights layers_to_transform layers_pattern rank_pattern
    alpha_pattern megatron_config megatron_core trainable_token_indices loftq_config eva_config corda_config lora_ga_config use_dora
    velora_config alora_invocation_tokens use_qalora qalora_group_size monteclora_config layer_replication runtime_config lora_bias
    target_parameters use_bdlora arrow_config kasa_config ensure_weight_tying enable_lora merge_weights""".split()
)
"""The settings of PEFT up to 0.21: whether one of them makes more of a layer than B @ A, `_refuse` says."""
_KEY = re.compile(r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?$")


class LoraFormat:
    """The `lora` checkpoint format (read side; skills are exported as adapters by `pastcli.vectors.export_adapter`)."""

    name = "lora"

    def accepts(self, path: Path) -> bool:
        return (path / CONFIG).is_file()

    def open(self, path: Path) -> LoraAdapter:
        return LoraAdapter(Path(path))

    def writer(self, *_: Any, **__: Any) -> Any:
        raise UsageError(
            "an adapter directory cannot take a whole model", "write a model directory, or use `--as adapter`"
        )

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        return arithmetic.widen(arithmetic.narrow(value, dtype), dtype)


class LoraAdapter:
    """An adapter directory; see `pastcli.api.Adapter`. Raises `MismatchError` for what is not plain LoRA."""

    format = "lora"

    def __init__(self, path: Path):
        self.path = path
        self.config = read_json(path / CONFIG)
        self.base = named_base(path)
        _refuse(path, self.config)
        if not (path / WEIGHTS).is_file():
            raise no_weights(path)
        self._file = SafeReader(path / WEIGHTS)
        try:
            self._pairs = self._match()
            self._specs = {name: self._spec(name) for name in self._pairs}
            self._recent = Recent(self.factors)
        except BaseException:
            self._file.close()
            raise

    def _match(self) -> dict[str, dict[str, Any]]:
        """Base tensor name -> its two factor keys, rank and scale."""
        pairs: dict[str, dict[str, Any]] = {}
        for key, entry in self._file.entries.items():
            found = _KEY.match(key)
            if found is None:
                raise MismatchError(
                    f"{self.path}: tensor {key!r} is no LoRA factor", "only plain LoRA adapters can be read"
                )
            if entry.dtype not in arithmetic.STORAGE or len(entry.shape) != 2:
                raise MismatchError(
                    f"{self.path}: factor {key!r} is {entry.dtype} {list(entry.shape)}, not a float matrix"
                )
            module = found["module"].removeprefix(PREFIX)
            name = full_name(module) + ".weight"
            pair = pairs.setdefault(name, {"embedding": bool(found["embedding"]), "module": module})
            if found["side"] in pair:
                raise MismatchError(
                    f"{self.path} holds two factors {found['side']} of {name}: {pair[found['side']]} and {key}",
                    "PEFT takes one of them: write the adapter again",
                )
            pair[found["side"]] = key
        for name, pair in pairs.items():
            if "A" not in pair or "B" not in pair:
                raise MismatchError(f"{self.path}: {name} has factor {'A' if 'A' in pair else 'B'} only")
            rank = self._file.entries[pair["A"]].shape[0]
            if self._file.entries[pair["B"]].shape[1] != rank or rank == 0:
                raise MismatchError(f"{self.path}: the factors of {name} have different ranks")
            pair["scale"] = self._scale(pair["module"], rank)
        return pairs

    def _scale(self, module: str, rank: int) -> float:
        """alpha / r or alpha / sqrt(r), patterns respected as PEFT matches them (the key is a suffix of the module)."""
        alpha, expected = self._setting("lora_alpha", module), self._setting("r", module)
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not abs(alpha) < FAR:
            raise MismatchError(f"{self.path / CONFIG}: alpha of {module} is no finite number, but {str(alpha)[:40]!r}")
        if isinstance(expected, bool) or expected != rank:
            raise MismatchError(f"{self.path}: {module} has rank {rank}, its {CONFIG} says {str(expected)[:40]}")
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _setting(self, name: str, module: str) -> Any:
        """`lora_alpha` or `r` for a module: what the first pattern that matches says, else the adapter's own."""
        patterns = f"{'alpha' if name == 'lora_alpha' else 'rank'}_pattern"
        by_module = self.config.get(patterns) or {}
        try:
            found = (value for key, value in by_module.items() if re.match(rf"(.*\.)?({key})$", module))
            return next(found, self.config.get(name, 8))
        except (AttributeError, re.error) as error:
            raise MismatchError(f"{self.path / CONFIG}: {patterns} is no map of patterns: {error}") from None

    def _spec(self, name: str) -> TensorSpec:
        pair = self._pairs[name]
        rows, columns = self._file.entries[pair["B"]].shape[0], self._file.entries[pair["A"]].shape[1]
        shape = (columns, rows) if pair["embedding"] or self._turned(name) else (rows, columns)
        return TensorSpec(name, shape, self._file.entries[pair["A"]].dtype)

    def _turned(self, name: str) -> bool:
        """Whether the base stores this layer as (in, out), as GPT-2 does all but the output layer."""
        return bool(self.config.get("fan_in_fan_out")) and name != "lm_head.weight"

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def factors(self, name: str) -> LowRank:
        pair = self._pairs[name]
        a, b = self._matrix(pair["A"]), self._matrix(pair["B"])
        if pair["embedding"] or self._turned(
            name
        ):  # stored as (vocabulary, width), or (in, out): the change is (B A)^T
            a, b = b.T.copy(), a.T.copy()
        return LowRank(b, a, pair["scale"])

    def _matrix(self, key: str) -> np.ndarray:
        entry = self._file.entries[key]
        matrix = arithmetic.widen(self._file.read(key, arithmetic.STORAGE[entry.dtype]), entry.dtype).reshape(
            entry.shape
        )
        if not np.isfinite(matrix).all():
            raise MismatchError(f"{self.path}: factor {key} holds NaN or infinity")
        return matrix

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return product_block(self._recent(name), start, self._specs[name].numel if stop is None else stop)

    def identity(self) -> Identity:
        return Identity("", 0, False, shapes_sha256(self._specs.values()), tokenizer_sha256(self.path))

    def close(self) -> None:
        self._file.close()


def _refuse(path: Path, config: Mapping[str, Any]) -> None:
    """Name the first thing in an adapter's config that plain B @ A cannot express."""
    kind = config.get("peft_type")
    start = config.get("init_lora_weights")
    reasons = {
        f"is a {kind} adapter": kind not in (None, "LORA"),
        "uses DoRA (use_dora)": config.get("use_dora"),
        f"trains biases (bias={config.get('bias')!r})": config.get("bias", "none") != "none",
        "adds a bias to B (lora_bias)": config.get("lora_bias"),
        f"saves whole modules ({config.get('modules_to_save')})": config.get("modules_to_save"),
        "trains single tokens (trainable_token_indices)": config.get("trainable_token_indices"),
        "adapts bare parameters (target_parameters)": config.get("target_parameters"),
        "duplicates layers (layer_replication)": config.get("layer_replication"),
        "works only after certain tokens (alora_invocation_tokens)": config.get("alora_invocation_tokens"),
        f"changed its base when it began (init_lora_weights={start!r})": isinstance(start, str)
        and start.startswith(MOVES_THE_BASE),
        **{f"is a variant of LoRA ({key})": config.get(key) for key in VARIANTS},
    }
    for reason, present in (reasons | _later(config)).items():
        if present:
            raise MismatchError(
                f"{path} {reason}: not a plain LoRA", "merge it into its base with PEFT, and give the merged model"
            )


def _later(config: Mapping[str, Any]) -> dict[str, bool]:
    """{reason: True} of what a later PEFT has set and no one here knows. PEFT writes every setting that it has: one that is what the
    PEFT installed has by itself changes nothing."""
    start = config.get("init_lora_weights")
    strange = isinstance(start, str) and not start.startswith(MOVES_THE_BASE + LEAVES_THE_BASE)
    found = {f"began in a way that is not known here (init_lora_weights={start!r})": strange}
    later = {key: value for key, value in config.items() if key not in KNOWN and _sets(value)}
    if later:
        from peft import LoraConfig

        usual = json.loads(json.dumps(LoraConfig().to_dict(), default=str))
        later = {key: value for key, value in later.items() if key not in usual or usual[key] != value}
    return found | {f"has a setting that is not known here ({key}={value})": True for key, value in later.items()}


def _sets(value: Any) -> bool:
    """Whether a value turns something on, as all that PEFT has had until now do: true, or a group of settings."""
    return value is True or (isinstance(value, (dict, list)) and bool(value))
