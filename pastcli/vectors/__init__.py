"""The paper in code: lift a skill vector out of an RL run, add it to another model, measure both.

`arithmetic` is pure (arrays in, arrays out); `safefile` reads and writes safetensors by blocks; `skillfile`
is the format of a skill; `stream` drives blocks through threads with constant memory; `extract`, `inject`
and `probe` put these together. numpy does the arithmetic: it starts in 0.1 s where torch takes 1.5 s and
224 MiB, and at block sizes that fit the second-level cache it is limited by the page cache, not by itself.
"""

from __future__ import annotations

import os
from typing import Any

# Blocks are already spread over threads; OpenBLAS starting its own for every small product only slows them down.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_EXPORTS = {"extract_skill": "extract", "inject_skill": "inject", "open_skill": "skillfile", "open_model": "models"}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
