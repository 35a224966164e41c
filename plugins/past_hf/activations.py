"""The inputs that the linear layers of a model really get, read by forward hooks of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_TOKENS = 1024
"""Tokens read in all: each linear layer gets that many input vectors."""


def layer_inputs(path: Path, texts: Sequence[str], visit: Callable[[str, np.ndarray], None], max_tokens: int = MAX_TOKENS) -> int:
    """Run the model at `path` over `texts` and call `visit(weight name, inputs (n, in))` for every linear layer.

    One forward pass over one batch, so each layer is visited once; padding is left out. Returns the number of tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    rows = _rows(tokenizer, texts, max_tokens)
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1

    def hook(name: str) -> Callable[..., None]:
        def seen(module: Any, arguments: tuple, output: Any) -> None:
            visit(f"{name}.weight", arguments[0][mask.bool()].numpy())

        return seen

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            module.register_forward_hook(hook(name))
    with torch.inference_mode():
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    return int(mask.sum())


def _rows(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of as many texts as fit, each at most a quarter of the budget."""
    rows, left = [], max_tokens
    for text in texts:
        tokens = tokenizer(text)["input_ids"][: min(left, max(max_tokens // 4, 1))]
        if tokens:
            rows.append(tokens)
            left -= len(tokens)
        if left <= 0:
            break
    return rows
