"""From whatever names a model to files that llama.cpp loads: GGUF as it is, HF directories and adapters converted once.

Conversions are kept by the content of what they were made from, under `models.home()/gguf`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pastcli import adapters, models, output
from pastcli import config as configs
from pastcli.hashing import hash_path
from pastcli.vectors.files import stream
from pastcli.vectors.files.opening import format_of

from .format import GGUFFormat
from .lora import export_lora

VERSION = 2
"""Raise when a conversion changes, so that kept files of the old kind are not used."""


def runnable(path: Path, types: str, cache: Path | None = None) -> tuple[Path, list[tuple[Path, float]]]:
    """(GGUF file, adapters to apply to it) for a GGUF, HF directory, LoRA adapter directory or run."""
    ref = models.resolve(path)
    if ref.kind == "gguf":
        return ref.path, []
    if ref.kind == "adapter":
        base, below = runnable(adapters.base_of(ref.path).path, types, cache)
        return base, [*below, (ref.path, 1.0)]
    template = models.gguf_template(ref.path)
    made_from = [ref.path, *([template] if template else [])]
    return _kept(made_from, types, cache, lambda out: convert(ref.path, out, types)), []


def runnable_adapter(path: Path, base: Path, cache: Path | None = None) -> Path:
    """A LoRA-GGUF for the model `base`: the file itself, or one made of a PEFT directory or low-rank skill file."""
    if GGUFFormat().accepts(path):
        return path.resolve()
    return _kept([path, base], "lora", cache, lambda out: export_lora(path, base, out))


def convert(source: Path, out: Path, dtype: str = "f16") -> None:
    """Write the model in `source` (any checkpoint format but GGUF) as a GGUF whose matrices are stored as `dtype`.

    `auto` keeps the types of the base model's own GGUF, from which tokenizer and metadata come.
    """
    checkpoint = format_of(source).open(source)
    try:
        writer = GGUFFormat().writer(checkpoint, out, dtype=dtype)
        try:

            def work(span: stream.Span) -> None:
                for start, stop in span.blocks():
                    writer.write(span.spec.name, start, checkpoint.read(span.spec.name, start, stop))

            with output.progress(f"converting {source.name} to GGUF", "weight") as update:
                for _ in stream.run(stream.spans(checkpoint.specs().values()), work, update):
                    pass
            writer.finish()
        finally:
            writer.close()
    finally:
        checkpoint.close()


def _kept(made_from: list[Path], kind: str, cache: Path | None, make: Callable[[Path], None]) -> Path:
    """The kept conversion of these files, made now if there is none."""
    folder = cache or models.home() / "gguf"
    kept = folder / f"{configs.digest([VERSION, kind, *map(hash_path, made_from)])[:40]}.gguf"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_name(f"{kept.stem}.{os.getpid()}.gguf")
        make(fresh)
        os.replace(fresh, kept)
    return kept
