"""What files call a model's tensors, and the one name that each has here: the name in the whole model.

A file that was saved of the inner model alone (GPT-2, Bloom and OPT as they are published, embedding models) leaves its prefix out, and
those of BERT's time call a norm's weight and bias gamma and beta; one that was saved of a wrapper has its prefix twice. transformers
reads all of them without a word, and writes the newer names. Some types of models have other names in files than in memory (`renaming`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .composite import full_names as of_composite
from .composite import is_composite
from .renaming import in_memory

_TYPES = {
    "transformer": "bloom codegen ctrl dbrx falcon gpt-sw3 gpt2 gpt_bigcode gpt_neo gptj mpt openai-gpt xlm xlnet",
    "backbone": "falcon_mamba mamba mamba2 xlstm",
    "bert": "bert bert-generation big_bird megatron-bert",
    "roberta": "camembert roberta xlm-roberta xlm-roberta-xl xmod",
    "data2vec_text": "data2vec-text",
    "roberta_prelayernorm": "roberta-prelayernorm",
    **{name: name for name in "biogpt cpmant electra ernie gpt_neox gpt_neox_japanese prophetnet reformer".split()},
    **{name: name for name in "rembert roc_bert roformer rwkv".split()},
    "model": "opt",
}
INNER = {kind: prefix for prefix, kinds in _TYPES.items() for kind in kinds.split()}
"""What the inner model is called within the whole, by `model_type`; of all others it is `model`."""

_OF_INNER = ("layers.", "embed_tokens.")
"""How the tensors of an inner model begin that is called `model`; with others, an unknown architecture is left as it is."""
_OUTPUT = re.compile(r"(lm_head|embed_out|cls|lm_loss|pred_layer)\.")
_OLD_NORM = re.compile(r"(?<=LayerNorm\.)(gamma|beta)$")


def full_names(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """{stored name: name in the whole model} of the tensors of the model that `config` (config.json) describes."""
    keys = list(keys)
    if is_composite(config):
        return of_composite(keys)
    kind = str(config.get("model_type"))
    called = _once(kind, in_memory(kind, keys))
    prefix = _left_out(kind, called.values())
    made = {key: _norm(name if _OUTPUT.match(name) else prefix + name) for key, name in called.items()}
    return made if len(set(made.values())) == len(keys) else {key: key for key in keys}


def _once(kind: str, called: dict[str, str]) -> dict[str, str]:
    """The names without the first prefix where the inner model's has it twice: `model.model.layers.0` beside `model.lm_head`."""
    prefix = f"{INNER.get(kind, 'model')}."
    if not any(name.startswith(prefix * 2) for name in called.values()):
        return called
    return {key: name.removeprefix(prefix) for key, name in called.items()}


def _left_out(kind: str, names: Collection[str]) -> str:
    prefix = f"{INNER.get(kind, 'model')}."
    if any(name.startswith(prefix) for name in names):
        return ""
    return prefix if kind in INNER or any(name.startswith(_OF_INNER) for name in names) else ""


def _norm(key: str) -> str:
    return _OLD_NORM.sub(lambda found: {"gamma": "weight", "beta": "bias"}[found[1]], key)
