"""The compiled inner loops (`kernels.c` and its neighbours), where the package was built with a C compiler."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

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

    def requantize(
        self, source: Codec, target: Codec, raw: np.ndarray, change: np.ndarray, out: np.ndarray, /
    ) -> tuple[float, float, float]:
        """See `arithmetic.requantize`; a.a, a.b and b.b."""


def load() -> Kernels | None:
    """The extension module; None if the package was built without a compiler."""
    try:
        return cast(Kernels, import_module("._kernels", __package__))
    except ImportError:
        return None
