"""Whether what TRL trains on is what the model says: on cards, and in several processes, it forms the scores of words itself."""

from __future__ import annotations

from typing import Any

import torch

from pastcli.errors import PastError

from ..compute import plain, whole_pass
from ..habits import answering, same, samples


def refuse_other_scores(model: Any, temperature: float) -> None:
    """Raise `PastError` where TRL's scores of a few tokens, at the temperature of the training, are not the model's own.

    It multiplies the last hidden states by the output layer's weight, and knows of scales and caps by their names in configurations. A model
    that has more (BERT's relatives, ModernBERT's decoder, Dory), or calls them otherwise (RecurrentGemma), would be trained as another.
    """
    inner, row = plain(model), samples(model)[0]
    ids = torch.tensor([row], device=next(inner.parameters()).device)
    with answering(model):
        wanted = inner(input_ids=ids, **whole_pass(model)).logits[0, :-1].float()
        wanted = (wanted / temperature).log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        try:
            found = inner(input_ids=ids, labels=ids, fused_lm_head=True).log_probs[0].float()
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # architectures raise whatever their arithmetic does
            if type(error).__module__.startswith("triton"):  # a card's kernels say nothing of the model
                return
            found = None
    if found is None or not same(model, found, wanted):
        raise PastError(
            f"TRL scores words otherwise than {type(inner).__name__} does, and would train another model",
            "train it in one process without a card, where past scores them itself (CUDA_VISIBLE_DEVICES= past ...)",
        )
