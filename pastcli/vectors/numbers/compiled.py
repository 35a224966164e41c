"""The compiled inner loops (`kernels.c` and its neighbours), where the package was built with a C compiler."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from .sources import digest

if TYPE_CHECKING:
    import numpy as np

Codec = tuple[int, int, int, int, int]
"""A stored type as compiled code sees it: (address of `void widen(const void *, float *, int64_t)`, or 0 for float32;
address of `void narrow(const float *, void *, int64_t)`, or of a function like `ggml_quantize_chunk`; the type's number
for the latter, -1 for the former; values and bytes of a block)."""

Arrays = tuple["np.ndarray", ...]
Edges = tuple[tuple[int, int], ...]


class Kernels(Protocol):
    """What the extension module offers. Arrays are contiguous; results go into the array named `out`."""

    def widen(self, raw: np.ndarray, out: np.ndarray, /) -> None:
        """bfloat16 bit patterns into float32."""

    def narrow(self, value: np.ndarray, out: np.ndarray, /) -> None:
        """float32 into bfloat16, to nearest, ties to even."""

    def gram(self, arrays: Arrays, edges: Edges, /) -> tuple[float, ...]:
        """See `arithmetic.gram`."""

    def moments(self, arrays: Arrays, edges: Edges, columns: int, seed: int, out: np.ndarray, /) -> None:
        """See `moments.moments`."""

    def add(
        self, source: int, target: int, raw: np.ndarray, change: np.ndarray | None, out: np.ndarray, /
    ) -> tuple[float, float, float]:
        """See `arithmetic.add_stored`; a.a, a.b and b.b."""

    def add_to_file(
        self, source: int, target: int, raw: np.ndarray, change: np.ndarray, fd: int, offset: int, /
    ) -> tuple[float, float, float]:
        """See `arithmetic.add_to_file`; a.a, a.b and b.b."""

    def subtract_to_file(
        self,
        after: int,
        raw_after: np.ndarray,
        before: int,
        raw_before: np.ndarray,
        ends: np.ndarray,
        fd: int,
        offset: int,
        /,
    ) -> float:
        """See `arithmetic.subtract_to_file`"""

    def requantize(
        self, source: Codec, target: Codec, raw: np.ndarray, change: np.ndarray, out: np.ndarray, /
    ) -> tuple[float, float, float]:
        """See `arithmetic.requantize`; a.a, a.b and b.b."""


TO_COMPILE = "apt install build-essential, then `pip install --force-reinstall --no-deps -e .` where past's sources lie"


def load() -> tuple[Kernels | None, str]:
    """(the extension module, ""), or (None, why not): it was never built, or of other sources than lie beside it. What is
    compiled of yesterday's sources may add wrongly today, so it is not used."""
    try:
        module = import_module("._kernels", __package__)
    except ImportError:
        return None, "they were not compiled when past was installed"
    here = digest(Path(__file__).parent)
    if here and here != getattr(module, "sources", ""):
        return None, "the C sources have changed since they were compiled"
    return cast(Kernels, module), ""
