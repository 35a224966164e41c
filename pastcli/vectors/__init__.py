"""The paper in code: lift a skill vector out of an RL run, add it to another model, measure both.

`extract` and `inject` are the two commands; beside them `export_adapter` (the same skill applied at run time),
`export_model` (a model in another form, nothing added) and `sweep` (the scale chosen). What they are made of lies in rooms, each of which uses only those above it:

===========  ==========================================================================================
`numbers`    arrays in, arrays out: rounding, inner products, low-rank algebra; C kernels
`files`      what is on disk, block by block: safetensors, the skill file, opening a model, where a result goes
`checks`     do the two fit together, is a difference rounding noise, did the skill survive being stored
`deltas`     what a change is: difference, sum, controls, scales, TIES, projection, smaller forms; adding one
`probe`      are two changes orthogonal, and how do they lie: cosines, subspaces, interference, geometry
===========  ==========================================================================================

numpy does the arithmetic that is not compiled: it starts in 0.1 s where torch takes 1.5 s and 224 MiB.
"""

from __future__ import annotations

import os
from typing import Any

# Blocks are already spread over threads; OpenBLAS starting its own for every small product only slows them down.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_EXPORTS = {
    "extract_skill": "extract",
    "inject_skill": "inject",
    "open_skill": "files.skill",
    "open_model": "files.opening",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
