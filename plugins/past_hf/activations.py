"""What happens inside a model on given texts: the inputs of its linear layers, and its next-token distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from pastcli import environment
from pastcli.errors import UsageError

from .checkpoint import HFCheckpoint
from .composite import full_name
from .compute import whole_pass
from .materialize import hf_directory, load_model, load_tokenizer, working_dtype
from .quiet import quiet

MAX_TOKENS = 1024
"""Tokens read in all: each linear layer gets that many input vectors."""


def layer_inputs(
    path: Path, texts: Sequence[str], visit: Callable[[str, np.ndarray, bool], None], max_tokens: int = MAX_TOKENS
) -> int:
    """Run the model at `path` over `texts` and call `visit(weight name, inputs (n, in), transposed)` for every linear layer;
    `transposed` if its weight is (in, out), as GPT-2's are.

    One forward pass over one batch, so each layer is visited once; padding is left out. Layers that get some of the tokens
    only (routed experts), or a token in several pieces (DeepSeek V4's groups), are not visited. Returns the number of tokens.
    The pass runs in float32 on a processor with room for it; on a card, or where there is no room, in the type that the
    model is stored in, which is what its layers get when it is used.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    card = torch.cuda.is_available()
    precision = precision_for(path, card, environment.memory()[1])
    model, batch = _loaded(path, texts, max_tokens, precision, "cuda" if card else "cpu")
    mask = batch["attention_mask"]

    def hook(name: str) -> Callable[..., None]:
        def seen(module: Any, arguments: tuple, output: Any) -> None:
            inputs, kept = arguments[0], mask.bool()
            if inputs.shape[:-1] == (mask.numel(),):  # all tokens in one row, as some experts and OPT have them
                kept = kept.reshape(-1)
            elif inputs.ndim != 3 or inputs.shape[:2] != mask.shape:
                return
            visit(f"{name}.weight", inputs[kept].float().cpu().numpy(), isinstance(module, Conv1D))

        return seen

    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not model.get_output_embeddings():
            module.register_forward_hook(hook(full_name(name)))
    with torch.inference_mode():
        model(**batch, **whole_pass(model))
    return int(mask.sum())


def precision_for(path: Path, card: bool, memory: float) -> str:
    """The precision to look into a model in, with `memory` bytes at hand: a float32 copy may take four fifths of it."""
    if card:
        return "stored"
    with closing(HFCheckpoint(hf_directory(path))) as model:
        wide = 4 * sum(math.prod(spec.shape) for spec in model.specs().values())
    return "fp32" if wide <= 0.8 * memory else "stored"


class Divergence:
    """Mean KL(reference || other) per token in nats, over the next-token distributions on some texts.

    It prices a skill by how far it moves the model where the skill is not meant to act. The reference runs once.
    """

    def __init__(self, reference: Path, texts: Sequence[str], precision: str = "fp32", max_tokens: int = MAX_TOKENS):
        self._texts, self._precision, self._max_tokens = texts, precision, max_tokens
        self._reference = self._log_probabilities(reference)

    def _log_probabilities(self, path: Path) -> Any:
        """(tokens, vocabulary), padding left out."""
        import torch

        model, batch = _loaded(path, self._texts, self._max_tokens, self._precision)
        with torch.inference_mode():
            logits = model(**batch, **whole_pass(model)).logits[batch["attention_mask"].bool()]
            return torch.log_softmax(logits.float(), dim=-1)

    def __call__(self, other: Path) -> float:
        found = self._log_probabilities(other)
        terms = (self._reference.exp() * (self._reference - found)).sum(dim=-1)
        return float(terms.double().mean())


def _loaded(
    path: Path, texts: Sequence[str], max_tokens: int, precision: str, device: str = "cpu"
) -> tuple[Any, dict[str, Any]]:
    """The model in `precision` on `device`, and one batch of about `max_tokens` tokens padded on the right."""
    import torch

    quiet()
    rows = _rows(load_tokenizer(path), texts, max_tokens)
    if not rows:
        raise UsageError("the texts hold no token", "give some text to run the model on")
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    model: Any = load_model(path, working_dtype(path, precision)).eval().to(device)
    return model, {"input_ids": ids, "attention_mask": mask}


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
