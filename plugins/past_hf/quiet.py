"""Keep the libraries to themselves: their warnings, bars and adverts would drown the lines that matter."""

from __future__ import annotations

import logging
import os
import warnings

from .waiting import wait_politely


def quiet() -> None:
    """Silence transformers, TRL, datasets and tokenizers, and load them. Errors still raise; nothing here hides an exception."""
    wait_politely()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for name in ("trl", "accelerate", "datasets", "peft", "torch", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate|peft|datasets)\b")
