"""Hashes that say whether a file is still the one a run used. They see every byte (BLAKE3, at the speed of the disk).

The digest of a large file is remembered with what the file system says of it, so that it is read once. A file that
was written a moment ago is not remembered: within one tick of the clock it could change without a trace.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .api import TensorSpec
from .cache import recall, remember
from .environment import cores
from .regular import oddity, regular

REMEMBERED = 1 << 20
"""Digests of files from this many bytes on are kept; smaller ones are read faster than looked up."""

SETTLED = 2.0
"""Seconds after its last change from which a file's digest is kept: the coarsest time stamps in use are that coarse."""

FINE = 0.1
"""The same for a file system whose stamps are finer than a second, and the stamp of a change that would come after."""

_PIECE = 1 << 20
"""Bytes hashed at once: enough to share among cores, and still in their caches."""

_ALONE = 1 << 19
"""The same where every core has a file of its own: nothing is shared, no core waits for another."""
_SPLIT = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf$")


def hash_path(path: Path) -> str:
    """`blake3:…` of a file's bytes; `blake3-tree:…` of a folder (names and hashes inside) or of all parts of a split GGUF."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _is_file(p) and p.name != ".lock")
        return _tree((os.fsencode(file.relative_to(path)), file) for file in files)
    parts = parts_of(path)
    if len(parts) > 1:
        return _tree((os.fsencode(part.name), part) for part in parts)
    return f"blake3:{_digest(path)}"


def is_hash_of(recorded: str, path: Path) -> bool:
    """True if a file is the one that was recorded, also by the SHA-256 that versions before BLAKE3 wrote."""
    if recorded.startswith("sha256:") and path.is_file():
        with open(path, "rb") as handle:
            return recorded == f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"
    return recorded == hash_path(path)


def hash_weights(path: Path) -> str:
    """Hash of what computes: a GGUF, or the tensors and configuration of a model folder; not its readme or tokenizer."""
    if not path.is_dir():
        return hash_path(path)
    files = [*sorted(path.glob("*.safetensors")), *(path / n for n in ("config.json", "adapter_config.json"))]
    return _tree((os.fsencode(file.name), file) for file in files if file.is_file())


def parts_of(path: Path) -> list[Path]:
    """The files of a GGUF in order: itself, or every part of `name-00001-of-00003.gguf`, present or not."""
    found = _SPLIT.match(path.name)
    if found is None:
        return [path]
    count = int(found["count"])
    return [path.with_name(f"{found['stem']}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]


def _tree(entries: Iterable[tuple[bytes, Path]]) -> str:
    from blake3 import blake3

    named, digest = list(entries), blake3()
    for (name, _), known in zip(named, _all_known([file for _, file in named]), strict=True):
        digest.update(name + b"\0" + known.encode() + b"\n")
    return f"blake3-tree:{digest.hexdigest()}"


def _all_known(files: list[Path]) -> list[str]:
    """What is known of each file. Where there is a large file for every core they are read side by side, each by one: a
    quarter less work than sharing each among all."""
    if not 1 < cores() <= sum(map(_is_large, files)):
        return [_known(file) for file in files]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(partial(_known, alone=True), files))


def _is_large(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return file.stat().st_size >= REMEMBERED
    return False


def _known(file: Path, alone: bool = False) -> str:
    """A file among others: one that is not there or may not be read is a difference, not an error."""
    try:
        return _digest(file, alone)
    except FileNotFoundError:
        return "missing"
    except PermissionError:
        return "unreadable"


def _is_file(path: Path) -> bool:
    with contextlib.suppress(PermissionError):  # in a folder that can be listed and not entered
        return path.is_file() and not oddity(path)
    return True


def _digest(file: Path, alone: bool = False) -> str:
    """BLAKE3 of one file, from memory if it is remembered; `alone`: by this thread only."""
    before = file.stat()
    if before.st_size < REMEMBERED:
        return _read(file, alone)
    key = _key(before)
    if re.fullmatch(r"[0-9a-f]{64}", known := recall("digests", key)):
        return known
    digest = _read(file, alone)
    after = file.stat()
    stamps = [(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for stat in (before, after)]
    if stamps[0] == stamps[1]:
        _read_here[_content(after)] = digest
        if time.time() - max(after.st_mtime, after.st_ctime) > SETTLED:
            remember("digests", key, digest)
    return digest


def _key(state: os.stat_result) -> str:
    """What a digest is remembered by: all that the file system says of the file."""
    said = f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return hashlib.sha256(said.encode()).hexdigest()[:40]


def _content(state: os.stat_result) -> tuple[int, int, int, int]:
    """What of it stays the same where a file is only given another name."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


_read_here: dict[tuple[int, int, int, int], str] = {}
"""Digests of large files that this process has read."""


def renamed(path: Path) -> None:
    """Remember the digests of the files at `path` that this process read before they got this name: the next command need not
    read them again. Only where the name came so long after the last byte that a change since would show by its time."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        state = file.stat()
        digest = _read_here.get(_content(state))
        if digest is not None and state.st_ctime - state.st_mtime > FINE and state.st_mtime_ns % 1_000_000_000:
            remember("digests", _key(state), digest)


def _read(file: Path, alone: bool) -> str:
    from blake3 import blake3

    digest = blake3(max_threads=1 if alone else blake3.AUTO)
    with open(regular(file), "rb", buffering=0) as handle:
        piece = memoryview(bytearray(min(_ALONE if alone else _PIECE, max(1, os.fstat(handle.fileno()).st_size))))
        while count := handle.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def shapes_sha256(specs: Iterable[TensorSpec]) -> str:
    """sha256 over the sorted names and shapes: equal for checkpoints of one layout, whatever their types."""
    lines = sorted(f"{spec.name}\0{'x'.join(map(str, spec.shape))}\n" for spec in specs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tokens_sha256(tokens: Iterable[str]) -> str:
    """sha256 over a vocabulary given in the order of its ids, so that formats which store it differently agree."""
    return hashlib.sha256("\0".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()
