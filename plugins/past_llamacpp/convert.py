"""From whatever names a model to files that llama.cpp loads: GGUF as it is, HF directories and adapters converted once.

Conversions are kept by the content of what they were made from, under `models.home()/gguf`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pastcli import adapters, models, output
from pastcli import config as configs
from pastcli.conversions import kept
from pastcli.errors import UsageError
from pastcli.vectors.checks import finite
from pastcli.vectors.checks.towers import towers, without
from pastcli.vectors.files import stream
from pastcli.vectors.files.opening import format_of

from .format import GGUFFormat
from .gguffile import read_header, type_name
from .lora import export_lora

VERSION = 2
"""Raise when a conversion changes, so that kept files of the old kind are not used."""


TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def stored_type(path: Path) -> str:
    """The type of a model's largest tensor, in lower case."""
    if GGUFFormat().accepts(path):  # any architecture, also one whose HF names are not known
        return type_name(max(read_header(path).tensors.values(), key=lambda tensor: tensor.nbytes).type).lower()
    checkpoint = format_of(path).open(path)
    try:
        return max(checkpoint.specs().values(), key=lambda spec: spec.numel).dtype.lower()
    finally:
        checkpoint.close()


def runnable(
    path: Path, precision: str = "stored", cache: Path | None = None, template: Path | None = None
) -> tuple[Path, list[tuple[Path, float]]]:
    """(GGUF file, adapters to apply to it) for a GGUF, HF directory, LoRA adapter directory or run.

    A directory is converted with its matrices in `precision`, or in the type they are stored in; tokenizer and metadata
    come from `template`, a GGUF of the same base model (default: the one that is known to be).
    """
    ref = models.resolve(path)
    if ref.kind == "gguf":
        if precision != "stored":
            hint = "leave --precision at stored, or inject into a GGUF of the type you want"
            raise UsageError(f"llama.cpp computes with the types that {ref.path} stores, not with {precision}", hint)
        return ref.path, []
    if ref.kind == "adapter":
        base, below = runnable(adapters.base_of(ref.path).path, precision, cache, template)
        return base, [*below, (ref.path, 1.0)]
    types = stored_type(ref.path) if precision == "stored" else TYPES[precision]
    layout = template or models.gguf_template(ref.path)
    made_from = [ref.path, *([layout] if layout else [])]
    return _kept(made_from, types, cache, lambda out: convert(ref.path, out, types, layout)), []


def check(path: Path, template: Path | None = None) -> None:
    """Raise what `runnable` would before it converts anything: a model that is none, a base whose GGUF is not known."""
    ref = models.resolve(path)
    if ref.kind == "adapter":
        check(adapters.base_of(ref.path).path, template)
    elif ref.kind != "gguf":
        checkpoint = format_of(ref.path).open(ref.path)
        try:
            GGUFFormat().layout_for(checkpoint, template).close()
        finally:
            checkpoint.close()
    finite.model(ref.path)


def runnable_adapter(path: Path, base: Path, cache: Path | None = None) -> Path:
    """A LoRA-GGUF for the model `base`: the file itself, or one made of a PEFT directory or low-rank skill file."""
    if GGUFFormat().accepts(path):
        return path.resolve()
    return _kept([path, base], "lora", cache, lambda out: export_lora(path, base, out))


def convert(source: Path, out: Path, dtype: str = "f16", layout: Path | None = None) -> None:
    """Write the model in `source` (any checkpoint format but GGUF) as a GGUF whose matrices are stored as `dtype`.

    `auto` keeps the types of the base model's own GGUF, from which tokenizer and metadata come.
    """
    checkpoint = format_of(source).open(source)
    try:
        writer = GGUFFormat().writer(checkpoint, out, dtype=dtype, layout=layout)
        try:

            def work(span: stream.Span) -> None:
                for start, stop in span.blocks():
                    writer.write(span.spec.name, start, checkpoint.read(span.spec.name, start, stop))

            with output.progress(f"converting {source.name} to GGUF", "weight") as update:
                specs = without(towers(checkpoint.specs()), checkpoint.specs())
                for _ in stream.run(stream.spans(specs.values()), work, update):
                    pass
            writer.finish()
        finally:
            writer.close()
    finally:
        checkpoint.close()


def _kept(made_from: list[Path], kind: str, cache: Path | None, make: Callable[[Path], None]) -> Path:
    """The kept conversion of these files, made now if there is none."""
    folder = cache or models.home() / "gguf"
    return kept(made_from, lambda hashes: folder / f"{configs.digest([VERSION, kind, *hashes])[:40]}.gguf", make)
