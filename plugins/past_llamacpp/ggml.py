"""ggml's own (de)quantisers through ctypes, from the library that llama-cpp-python ships.

Every type llama.cpp has, K-quants too. 16-bit floats go through the CPU backend's vectorised conversions, which
round to nearest even like the reference and are about twenty times faster. All calls release the GIL.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pastcli.environment import let_threads_sleep
from pastcli.errors import MismatchError, PastError, UsageError
from pastcli.vectors.numbers.compiled import Codec

from .gguffile import type_layout, type_name

if TYPE_CHECKING:
    from _ctypes import CFuncPtr

F32, F16, BF16 = 0, 1, 30
_CONVERT = {F16: ("fp16_to_fp32", "fp32_to_fp16"), BF16: ("bf16_to_fp32", "fp32_to_bf16")}


class _TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("block_interleaved", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    ]


@cache
def _library(name: str) -> ctypes.CDLL:
    spec = find_spec("llama_cpp")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise PastError("llama-cpp-python is not installed", "pip install llama-cpp-python")
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    prefix = "" if sys.platform == "win32" else "lib"
    let_threads_sleep()
    return ctypes.CDLL(str(Path(folders[0]) / "lib" / f"{prefix}{name}{suffix}"))


@cache
def _base() -> ctypes.CDLL:
    library = _library("ggml-base")
    library.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    library.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library


@cache
def _cpu() -> ctypes.CDLL:
    library = _library("ggml-cpu")
    library.ggml_cpu_init()  # fills the table that short float16 rows are looked up in; without it they read as zeros
    return library


@cache
def _convert(name: str) -> CFuncPtr:
    function = getattr(_cpu(), f"ggml_cpu_{name}")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    return function


@cache
def _to_float(kind: int) -> CFuncPtr:
    """`to_float` of the type traits, after making sure that this library's struct is the one described above."""
    traits = _base().ggml_get_type_traits(kind).contents
    if (traits.block, traits.block_bytes) != tuple(type_layout(kind, type_name(kind))):
        raise PastError("this llama-cpp-python lays out its types in a way this version of past does not know")
    if not traits.to_float:
        raise MismatchError(f"{type_name(kind)} holds no weights to do arithmetic on")
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(traits.to_float)


@cache
def codec(kind: int) -> Codec:
    """The (de)quantisers of a type by address, for `arithmetic.requantize`; no quantiser where there is none to use."""
    values, nbytes = type_layout(kind, type_name(kind))
    if kind == F32:
        return 0, 0, -1, values, nbytes
    if kind in _CONVERT:
        widen, narrow = (_address(_convert(name)) for name in _CONVERT[kind])
        return widen, narrow, -1, values, nbytes
    quantize = _address(_base().ggml_quantize_chunk) if writable(kind) else 0
    return _address(_to_float(kind)), quantize, kind, values, nbytes


def _address(function: CFuncPtr) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def parse_type(name: str) -> int:
    """The ggml type of `q4_k`, `F16`, ...; raises `UsageError` for what cannot be written."""
    from gguf.constants import GGMLQuantizationType

    kind = getattr(GGMLQuantizationType, name.upper(), None)
    if kind is None or not writable(kind):
        known = ", ".join(k.name.lower() for k in GGMLQuantizationType if writable(k))
        importance = kind is not None and needs_importance(kind)
        why = "needs an importance matrix" if importance else "is no type that can be written"
        raise UsageError(f"{name} {why}", f"types: {known}")
    return int(kind)


@cache
def writable(kind: int) -> bool:
    """True if ggml has a quantiser for the type that needs nothing but the weights."""
    if kind == F32:
        return True
    traits = _base().ggml_get_type_traits(kind).contents
    usable = traits.to_float and traits.from_float_ref and not type_name(kind).endswith(("Q8_1", "Q8_K"))
    return bool(usable) and not needs_importance(kind)


def refuse_unwritable(kind: int) -> None:
    if not writable(kind):
        raise UsageError(f"{type_name(kind)} needs an importance matrix to be written", "raise it to q4_k or more")


def needs_importance(kind: int) -> bool:
    return _base().ggml_quantize_requires_imatrix(kind)


def is_quantised(kind: int) -> bool:
    """True for the block types, whose values share a scale."""
    return type_layout(kind, type_name(kind))[0] > 1


def finite(value: np.ndarray) -> bool:
    return bool(np.isfinite(value).all())


def dequantize(raw: np.ndarray, kind: int, out: np.ndarray) -> np.ndarray:
    """Bytes of whole blocks -> float32, into `out` (1-D, contiguous)."""
    if kind == F32:
        out[:] = raw.view(np.float32)
        return out
    convert = _convert(_CONVERT[kind][0]) if kind in _CONVERT else _to_float(kind)
    convert(raw.ctypes.data, out.ctypes.data, out.size)
    return out


def quantize(value: np.ndarray, kind: int, columns: int) -> np.ndarray:
    """float32 (1-D, rows of `columns`) -> bytes. NaN and infinity are refused: some quantisers abort on them."""
    value = np.ascontiguousarray(value, dtype=np.float32)
    if not finite(value):
        raise MismatchError("NaN or infinity cannot be stored")
    if kind == F32:
        return value.view(np.uint8)
    block, block_bytes = type_layout(kind, type_name(kind))
    raw = np.empty(value.size // block * block_bytes, np.uint8)
    if kind in _CONVERT:
        _convert(_CONVERT[kind][1])(value.ctypes.data, raw.ctypes.data, value.size)
        return raw
    refuse_unwritable(kind)
    source, target, rows = value.ctypes.data, raw.ctypes.data, value.size // columns
    made = _base().ggml_quantize_chunk(kind, source, target, 0, rows, columns, None)
    if made != raw.size:
        raise PastError(f"ggml wrote {made} bytes of {type_name(kind)}, expected {raw.size}")
    return raw
