"""The names in memory of tensors whose files call them otherwise than transformers' modules do, by transformers' own table.

EXAONE's `transformer.h.0.attn.attention.out_proj.weight` is `model.layers.0.self_attn.o_proj.weight` there, which is the name that a LoRA
has for the layer. Experts that lie together in memory are apart in the files, and keep their own ends here.
"""

from __future__ import annotations

from collections.abc import Iterable

from pastcli import tested
from pastcli.errors import PastError

RENAMED = frozenset(
    """axk2 bailing_hybrid deepseek_v4 dory exaone hrm_text hy_v3 hy_v4 inkling2_loop_text inkling2_text kimi_linear laguna
    nemotron_h sarvam_moe""".split()
)
"""Types of models (`model_type`) whose files give linear layers other names, llama.cpp's architectures in docs/MODELS.md excepted."""


def in_memory(kind: str, keys: Iterable[str]) -> dict[str, str]:
    """{stored name: what transformers makes of it} for a model of the type `kind`; the same name for a type that is not renamed.

    Raises `PastError` where the installed transformers does not tell.
    """
    if kind not in RENAMED:
        return {key: key for key in keys}
    try:
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping as table
        from transformers.core_model_loading import WeightRenaming, apply_renamings
    except ImportError as error:
        raise PastError(
            f"this transformers does not say what it calls the tensors of {kind}: {error}",
            tested.install(["transformers"]),
        ) from error
    renamings = [step for step in table(kind) or () if isinstance(step, WeightRenaming)]
    return {key: apply_renamings(key, renamings) for key in keys}
