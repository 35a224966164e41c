"""HF model directories written by blocks: shards named and filled as in a template, everything beside them carried along."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.api import TensorSpec
from pastcli.errors import UsageError
from pastcli.files import copy_beside, write_json
from pastcli.vectors.checks import finite
from pastcli.vectors.files.safetensors import SafeWriter, header_text
from pastcli.vectors.files.stream import BLOCK, cut
from pastcli.vectors.numbers import arithmetic

from .checkpoint import HFCheckpoint
from .folder import INDEX, SINGLE, companions
from .portable import make_portable

DTYPES = {"f32": "F32", "bf16": "BF16", "f16": "F16"}
TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class HFWriter:
    """Shards named and filled as in the template; config.json comes last, so that half a model is none."""

    def __init__(self, template: HFCheckpoint, out: Path, dtype: str, types: dict[str, str], rounding: str, seed: int):
        if dtype != "auto" and dtype not in DTYPES:
            raise UsageError(f"an HF directory cannot store {dtype!r}", f"one of: auto, {', '.join(DTYPES)}")
        self.template, self.out, self.rounding, self.seed = template, out, rounding, seed
        self._specs = template.specs()
        self._types = {name: self._stored_type(spec, dtype, types) for name, spec in self._specs.items()}
        self._dtype = DTYPES.get(dtype)
        self._writers: dict[str, SafeWriter] = {}
        out.mkdir(parents=True, exist_ok=True)
        alone = len(template.shards) == 1 and not (template.path / INDEX).exists()
        for file in template.shards:
            mine = [spec for spec in self._specs.values() if template.shard_of(spec.name) == file]
            layout = {template.stored_name(spec.name): (self._types[spec.name], spec.shape) for spec in mine}
            for name in template.carried:
                if template.shard_of(name) == file:
                    entry = template.shards[file].entries[template.stored_name(name)]
                    layout[template.stored_name(name)] = (entry.dtype, entry.shape)
            # A lone file of another name (`model.fp16.safetensors`) is found by us and not by transformers.
            self._writers[file] = SafeWriter(
                out / (SINGLE if alone else file), len(header_text(layout, {"format": "pt"}))
            )
            for name, (kind, shape) in layout.items():
                self._writers[file].add(name, kind, shape)
            self._writers[file].reserve()

    @staticmethod
    def _stored_type(spec: TensorSpec, dtype: str, types: dict[str, str]) -> str:
        wanted = types.get(spec.name) or DTYPES.get(dtype) or ("F32" if spec.dtype == "F64" else spec.dtype)
        return wanted if spec.dtype in arithmetic.STORAGE else spec.dtype

    def write(self, name: str, start: int, value: np.ndarray) -> np.ndarray:
        kind = self._types[name]
        if self.rounding == "stochastic":
            raw = arithmetic.narrow_stochastic(value, kind, arithmetic.seeded(self.seed, name, start))
        else:
            raw = arithmetic.narrow(value, kind)
        self._writers[self.template.shard_of(name)].write(self.template.stored_name(name), start, raw)
        return arithmetic.widen(raw, kind)

    def add(self, name: str, start: int, change: np.ndarray) -> tuple[float, float, float] | None:
        """See `api.AddingWriter`: from the template's bytes, where they lie in the page cache, to ours in one pass."""
        source, target = self._specs[name].dtype, self._types[name]
        if self.rounding != "nearest" or not arithmetic.compiled() or not {source, target} <= arithmetic.KINDS.keys():
            return None
        raw = self.template.stored_floats(name, start, start + change.size)
        writer = self._writers[self.template.shard_of(name)]
        sums = writer.write_sum(self.template.stored_name(name), start, source, raw, change)
        return sums.aa, sums.ab, sums.bb

    def copy(self, name: str) -> None:
        spec, kind = self._specs[name], self._types[name]
        writer = self._writers[self.template.shard_of(name)]
        for start, stop in cut(0, spec.numel, BLOCK, BLOCK):
            raw = self.template.raw(name, start, stop)
            made = arithmetic.recast(raw, spec.dtype, kind)
            if made is None:
                sound = np.isfinite(arithmetic.widen(raw, spec.dtype)).all()
                raise arithmetic.overflow(name) if sound else finite.broken(self.template.path, name)
            writer.write(self.template.stored_name(name), start, made)

    def _carry(self) -> None:
        """The buffers that no arithmetic is done on, byte for byte."""
        for name in self.template.carried:
            file, key = self.template.shard_of(name), self.template.stored_name(name)
            self._writers[file].write(key, 0, self.template.shards[file].read(key, np.dtype("u1")))

    def finish(self) -> None:
        self._carry()
        for writer in self._writers.values():
            writer.finish({"format": "pt"})
        copy_beside(companions(self.template.path), self.template.path, self.out)
        if INDEX in {path.name for path in self.template.path.iterdir()} and SINGLE not in self._writers:
            self._index()
        config = dict(self.template.config)
        if kind := self._dtype or self._unlike_said(config):
            config = _of_type(config, TORCH_NAMES[kind])
        make_portable(self.out, config)

    def _unlike_said(self, config: Mapping[str, Any]) -> str:
        """The type of all matrices where the template's config says another one of 16 bits: transformers 5 would load the skill in that."""
        said = config.get("dtype") or config.get("torch_dtype")
        kinds = {self._types[name] for name, spec in self._specs.items() if len(spec.shape) > 1}
        kind = kinds.pop() if len(kinds) == 1 else ""
        return kind if said in ("bfloat16", "float16") and TORCH_NAMES.get(kind, said) != said else ""

    def _index(self) -> None:
        sizes = [
            spec.numel * arithmetic.STORAGE[self._types[spec.name]].itemsize
            for spec in self._specs.values()
            if self._types[spec.name] in arithmetic.STORAGE
        ]
        weight_map = {
            self.template.stored_name(name): self.template.shard_of(name)
            for name in (*self._specs, *self.template.carried)
        }
        write_json(self.out / INDEX, {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map})

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


def _of_type(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """config.json of a model in another type, which the part for text may state as well."""
    stated = [key for key in ("dtype", "torch_dtype") if key in config]
    made = {**config, **dict.fromkeys(stated or ["dtype"], name)}
    text = config.get("text_config")
    if isinstance(text, dict):
        made["text_config"] = {**text, **{key: name for key in ("dtype", "torch_dtype") if key in text}}
    return made
