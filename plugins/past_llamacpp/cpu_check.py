"""Does llama.cpp survive this model on this CPU? Found out in a process that may die.

With `use_extra_bufts` llama.cpp repacks weights for matrix units (AMX and the like). Some builds then crash
with SIGSEGV in the first decode of several tokens. A crash cannot be caught, so a child process decodes
first; the verdict is kept in the cache by library, CPU and the file's tensor types and shapes.

Run as `python -m past_llamacpp.cpu_check MODEL`: exit 0 if decoding works with the extra buffers.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pastcli import cache, output

from .gguffile import read_header

TIMEOUT = 300

KEPT, WORKS, CRASHES = "llamacpp-probe", "works", "crashes"


def extra_buffers_work(path: Path) -> bool:
    """True if the model decodes with repacked weights; tested once for each kind of model, then remembered."""
    key = _key(path)
    if known := cache.recall(KEPT, key):
        return known == WORKS
    verdict = _survives(path)
    if verdict is None:
        return True  # loading it here will say what is wrong with the file
    if not verdict:
        output.note("llama.cpp crashes here with repacked weights; running without them (slower on prompts)")
    cache.remember(KEPT, key, WORKS if verdict else CRASHES)
    return verdict


def _key(path: Path) -> str:
    header = read_header(path)
    kinds = sorted({(tensor.type, tensor.shape) for tensor in header.tensors.values()})
    described = hashlib.sha256(f"{header.architecture} {kinds}".encode()).hexdigest()[:16]
    return f"{version('llama-cpp-python')}/{_cpu()}/{described}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith("flags")), platform.processor())
    return hashlib.sha256(flags.encode()).hexdigest()[:8]


def command(path: Path) -> list[str]:
    """The process that may die in our place."""
    return [sys.executable, "-m", "past_llamacpp.cpu_check", str(path)]


def _survives(path: Path) -> bool | None:
    """False if the child was killed by a signal or hung; None if it failed in a way that can be caught."""
    try:
        done = subprocess.run(command(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    return None if done.returncode > 0 else done.returncode == 0


def main() -> None:
    """Decode 2 tokens, then 64: the sizes at which different kernels take over."""
    import resource

    from .engine import Engine

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    engine = Engine(Path(sys.argv[1]), n_ctx=128, threads=2, extra_buffers=True)
    engine.decode([0, 1])
    engine.decode([token % engine.vocab_size for token in range(64)])
    engine.close()


if __name__ == "__main__":
    main()
