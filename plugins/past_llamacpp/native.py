"""The llama.cpp library itself: loaded once, kept quiet, asked what it said when something failed.

llama.cpp reports through a log callback, and its grammar parser straight to file descriptor 2. Both are
kept off the user's terminal unless PAST_DEBUG is set, and quoted in the error when a call fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from pastcli.environment import let_threads_sleep

ERROR = 4  # enum ggml_log_level: 1 debug, 2 info, 3 warn, 4 error, 5 continues the line before

_errors: deque[str] = deque(maxlen=8)
_kept: list[object] = []


@cache
def library() -> ModuleType:
    """`llama_cpp.llama_cpp`, the C API, with the backend initialised and our log callback in place."""
    let_threads_sleep()
    import llama_cpp  # sets a log callback of its own, which ours must replace
    from llama_cpp import llama_cpp as api

    callback = api.llama_log_callback(_on_log)
    api.llama_log_set(callback, ctypes.c_void_p(0))
    _kept.extend((llama_cpp, callback))  # ctypes does not own callbacks: drop this and C calls freed memory
    api.llama_backend_init()
    return api


def _on_log(level: int, text: bytes, _data: object) -> None:
    line = text.decode("utf-8", "replace")
    if os.environ.get("PAST_DEBUG") == "1":
        os.write(2, text)
    if level == ERROR and line.strip():
        _errors.append(line.strip())


def last_error() -> str:
    """What llama.cpp said last that was an error, the reason first, and forget it; '' if nothing."""
    text = "; ".join(dict.fromkeys(_errors))
    _errors.clear()
    return text[:400]


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Catch what C code writes to file descriptor 2: the list holds its non-empty lines after the block."""
    lines: list[str] = []
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            text = sink.read().decode("utf-8", "replace")
            lines.extend(line.strip() for line in text.splitlines() if line.strip())
