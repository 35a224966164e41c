"""What lies beside the weights in a model directory, what of it belongs to the model, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pastcli.cards import auto_class
from pastcli.errors import MismatchError, NoArithmeticError, PastError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

COMPANIONS = (
    *(
        "tokenizer*.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.*",
        "merges.txt",
        "*.model",
        "*.tiktoken",
        "tekken.json",
    ),
    *(
        "chat_template*",
        "additional_chat_templates/*.jinja",
        "generation_config.json",
        "*processor_config.json",
        "*.py",
        "LICENSE*",
        "NOTICE*",
        "past.json",
    ),
)
"""What belongs to a model beside weights and config.json: tokenizer, chat template, code, licence, note of origin. Nothing that
belonged to its training, and no model card: each result gets its own."""


def companions(folder: Path) -> list[Path]:
    """The companions of the model in `folder`, symlinks followed by whoever copies them (a hub snapshot is made of them)."""
    found = {file for pattern in COMPANIONS for file in folder.glob(pattern) if file.is_file()}
    return sorted(found)


def no_weights(path: Path) -> PastError:
    """The error for a directory without safetensors; pickles are never opened, the hint says how to convert."""
    pickles = (
        sorted(path.glob("*.bin"))
        + sorted(path.glob("*.pt"))
        + sorted(path.glob("*.pth"))
        + sorted(path.glob("*.ckpt"))
    )
    if not pickles:
        return MismatchError(f"{path} holds no safetensors weights", f"expected {SINGLE} or {INDEX}")
    adapter = (path / "adapter_config.json").is_file()
    return MismatchError(
        f"{path} holds its weights as a pickle ({pickles[0].name}), which can run code when opened: refused",
        f"if you trust it, convert it once: {_adapter_anew(path) if adapter else written_anew(path, 'safetensors')}",
    )


def _adapter_anew(path: Path) -> str:
    """The shell command that writes an adapter's factors beside its pickle, as PEFT does today."""
    folder = json.dumps(str(path), ensure_ascii=False)
    code = (
        f"import torch; from safetensors.torch import save_file; folder = {folder}; "
        'save_file(torch.load(folder + "/adapter_model.bin", map_location="cpu", weights_only=True), '
        'folder + "/adapter_model.safetensors")'
    )
    return f"python -c {shlex.quote(code)}"


_AS_STORED = ("", 'M.from_pretrained(old, dtype="auto")')
_BF16 = {
    "bitsandbytes": ("", 'M.from_pretrained(old, dtype="bfloat16").dequantize()'),
    "fp8": (
        "FineGrainedFP8Config as C",
        'M.from_pretrained(old, quantization_config=C(dequantize=True), dtype="bfloat16")',
    ),
    "mxfp4": ("Mxfp4Config as C", 'M.from_pretrained(old, quantization_config=C(dequantize=True), dtype="bfloat16")'),
    "compressed-tensors": (  # by its older name and by that of transformers 5.24
        "CompressedTensorsConfig as C",
        "M.from_pretrained(old, quantization_config=C(run_compressed=False, dequantize=True))",
    ),
}
"""What transformers needs beside the class of the model, and how it then loads floating-point weights."""


def written_anew(path: Path, suffix: str, load: tuple[str, str] = _AS_STORED) -> str:
    """The shell command that writes the model in `path` into a folder beside it, its tokenizer too: without that nothing here takes it."""
    model = auto_class(path)
    reader = "AutoTokenizer" if model == "AutoModelForCausalLM" else "AutoProcessor"
    names = ", ".join(filter(None, [f"{model} as M", f"{reader} as T", load[0]]))
    old, new = (json.dumps(str(one), ensure_ascii=False) for one in (path, f"{path}-{suffix}"))
    code = (
        f"from transformers import {names}; old, new = {old}, {new}; "
        f"{load[1]}.save_pretrained(new); T.from_pretrained(old).save_pretrained(new)"
    )
    return f"python -c {shlex.quote(code)}"


def refuse_quantised(path: Path, config: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Raise `NoArithmeticError` for a model ({name: stored type}) whose weights are no numbers to add to, with the command that helps;
    and for one that was dequantised and still says that it is not: transformers would quantise it again, or break down."""
    text = config.get("text_config")
    parts = (config, text if isinstance(text, dict) else {})
    key, settings = next(((key, part[key]) for key in _SAID for part in parts if part.get(key)), ("", None))
    if settings is None and (path / "hf_quant_config.json").is_file():
        settings = {"quant_method": "modelopt"}  # NVIDIA's, which says so nowhere else in older files
    if not isinstance(settings, dict):
        return
    method = str(
        settings.get("quant_method")
        or next((said for key, said in _METHODS.items() if settings.get(key)), "an unknown method")
    )
    if types and not any(_PACKED.search(name) or kind not in _PLAIN for name, kind in types.items()):
        if key == "compression_config":  # of weights that are sparse and no more
            return
        raise NoArithmeticError(
            f"{path}: config.json says that it is quantised ({method}), and its files hold plain weights",
            f'if it was dequantised, take "{key or "quantization_config"}" out of its config.json (and hf_quant_config.json away)',
        )
    hint = (
        f"write it out once in 16 bits: {written_anew(path, 'bf16', _BF16[method])}"
        if method in _BF16
        else "take the unquantised checkpoint that it was made from (its model card names it): hf download ORIGINAL"
    )
    raise NoArithmeticError(
        f"{path} is quantised ({method}): its stored weights are no numbers that a skill can be added to", hint
    )


_SAID = ("quantization_config", "quantization", "compression_config")
"""Where a config says that the weights are quantised: transformers' key, that of MLX, that of llm-compressor before it."""
_METHODS = {"load_in_4bit": "bitsandbytes", "bits": "MLX", "format": "compressed-tensors"}
"""Who wrote what names no method, by a key of its own."""
_PLAIN = ("F64", "F32", "BF16", "F16")
_PACKED = re.compile(r"(scales?|scale_inv|zeros|zero_point|absmax|quant_map|qweight|g_idx|blocks|SCB)$")
"""What lies beside or instead of weights that are quantised."""
_SCALES = ("_scale", "_scale_inv", "_scales")
_BESIDE = re.compile(
    r"\.(?:_?(?:w|q|weight|input|output))?_?(?:scales?|scale_inv|q?zeros?|codebooks?|SU|suh)$", re.IGNORECASE
)
"""What lies in a layer beside packed weights, whatever these are called: optimum-quanto's `weight._data`, GPTQ's and AWQ's `qweight`,
HQQ's `W_q`, AQLM's `codes`, EXL2's `q_weight`, EXL3's `trellis`, QuIP#'s `Qidxs`."""
INTEGERS = ("U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


def refuse_scaled(path: Path, types: Mapping[str, str]) -> None:
    """Raise `NoArithmeticError` where weights ({name: stored type}) are integers, or in 8 bits or less with scales beside them, whatever
    the config says: transformers would read them as if they were the weights themselves, and files alone as if they were buffers."""
    scaled = {name[: found.start()] for name in types if (found := _BESIDE.search(name))}
    for name, kind in types.items():
        if kind not in INTEGERS and not kind.startswith("F8"):
            continue
        stem, layer = name.removesuffix("_blocks"), name.rpartition(".")[0].removesuffix("._data")
        packed = layer in scaled and f"{layer}.weight" not in types
        beside = packed or any(stem + end in types for end in _SCALES)
        if beside or (kind in INTEGERS and name.endswith(".weight")):
            raise NoArithmeticError(
                f"{path} is quantised: {name} is stored as {kind}{' with scales beside it' * beside}, although its config names no "
                "quantisation",
                "take the unquantised checkpoint that it was made from (its model card names it): hf download ORIGINAL",
            )
