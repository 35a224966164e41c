"""HF model directories: safetensors shards with their index, config and tokenizer, read and written by blocks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pastcli.api import Checkpoint, Identity, TensorSpec
from pastcli.errors import MismatchError, UsageError
from pastcli.files import read_json
from pastcli.hashing import shapes_sha256
from pastcli.runs import write_json
from pastcli.vectors.files.safetensors import SafeReader, SafeWriter, header_text
from pastcli.vectors.files.stream import BLOCK, cut
from pastcli.vectors.numbers import arithmetic

from .folder import INDEX, SINGLE, companions, no_weights, tokenizer_sha256
from .portable import make_portable

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
DTYPES = {"f32": "F32", "bf16": "BF16", "f16": "F16"}
TORCH_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class HFFormat:
    """The `hf` checkpoint format."""

    name = "hf"

    def accepts(self, path: Path) -> bool:
        return (path / "config.json").is_file() and not (path / "adapter_config.json").is_file()

    def open(self, path: Path) -> HFCheckpoint:
        return HFCheckpoint(Path(path))

    def as_directory(self, path: Path) -> Path:
        """A directory of this format for a GGUF file, converted once (float32, tokenizer included)."""
        from .materialize import hf_directory

        return hf_directory(path)

    def writer(
        self,
        template: Checkpoint,
        out: Path,
        *,
        dtype: str = "auto",
        types: Mapping[str, str] | None = None,
        rounding: str = "nearest",
        seed: int = 0,
    ) -> HFWriter:
        if not isinstance(template, HFCheckpoint):
            raise UsageError(f"an HF directory can only be laid out like another one, not like {template.path}")
        return HFWriter(template, Path(out), dtype, dict(types or {}), rounding, seed)

    def cast(self, value: np.ndarray, dtype: str, columns: int) -> np.ndarray:
        return arithmetic.widen(arithmetic.narrow(value, dtype), dtype)

    def layer_inputs(self, path: Path, texts: Sequence[str], visit: Callable[[str, np.ndarray], None]) -> int:
        """What the linear layers get as input on `texts`; see `activations.layer_inputs`."""
        from .activations import layer_inputs

        return layer_inputs(path, texts, visit)

    def divergence(self, reference: Path, texts: Sequence[str], precision: str = "fp32") -> Callable[[Path], float]:
        """KL of other models from `reference` on `texts`; see `activations.Divergence`."""
        from .activations import Divergence

        return Divergence(reference, texts, precision)


class HFCheckpoint:
    """A model directory. Opening reads headers only; raises `MismatchError` naming what does not fit."""

    format = "hf"

    def __init__(self, path: Path):
        self.path = path
        self.config = read_json(path / "config.json")
        self.shards: dict[str, SafeReader] = {}
        try:
            self._where = self._locate()
        except BaseException:
            self.close()
            raise
        self._specs = {
            name: TensorSpec(name, entry.shape, entry.dtype)
            for name, file in self._where.items()
            for entry in (self.shards[file].entries[name],)
        }
        self.tied = HEAD not in self._where or self._head_is_copy()
        if self.tied:
            self._where.pop(HEAD, None)
            self._specs.pop(HEAD, None)

    def _locate(self) -> dict[str, str]:
        """Tensor name -> shard file name, in file order. A single file wins over an index, as in transformers."""
        try:
            if (self.path / SINGLE).exists():
                self.shards[SINGLE] = SafeReader(self.path / SINGLE)
                return dict.fromkeys(self.shards[SINGLE].entries, SINGLE)
            if (self.path / INDEX).exists():
                return self._from_index(read_json(self.path / INDEX).get("weight_map"))
            lone = sorted(self.path.glob("*.safetensors"))
            if len(lone) == 1:
                self.shards[lone[0].name] = SafeReader(lone[0])
                return dict.fromkeys(self.shards[lone[0].name].entries, lone[0].name)
        except OSError as error:
            raise MismatchError(f"{self.path}: cannot read the weights: {error}") from None
        raise no_weights(self.path)

    def _from_index(self, weight_map: Any) -> dict[str, str]:
        if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
            raise MismatchError(f"{self.path / INDEX} has no weight_map of names to files")
        where: dict[str, str] = {}
        for file in sorted(set(weight_map.values())):
            if Path(file).name != file:
                raise MismatchError(f"{self.path / INDEX} names a shard outside its directory: {file!r}")
            if not (self.path / file).is_file():
                raise MismatchError(f"{self.path / INDEX} names a missing shard: {file}", "copy or download it again")
            self.shards[file] = SafeReader(self.path / file)
            where |= {name: file for name in self.shards[file].entries if weight_map.get(name) == file}
        for name, file in weight_map.items():
            if name not in where:
                raise MismatchError(
                    f"{self.path}: the index puts tensor {name!r} into {file}, which has none of that name"
                )
        return where

    def _head_is_copy(self) -> bool:
        """Whether a stored output layer is the tied embedding once more (then it is one tensor, not two)."""
        if not self.config.get("tie_word_embeddings") or EMBEDDING not in self._where:
            return False
        head, embedding = self.specs()[HEAD], self.specs()[EMBEDDING]
        return (head.shape, head.dtype) == (embedding.shape, embedding.dtype) and all(
            np.array_equal(self.raw(HEAD, *block), self.raw(EMBEDDING, *block))
            for block in cut(0, head.numel, head.columns, BLOCK)
        )

    def specs(self) -> dict[str, TensorSpec]:
        return self._specs

    def shard_of(self, name: str) -> str:
        return self._where[name]

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Stored items, 16-bit floats other than IEEE's as bit patterns, types without arithmetic as bytes."""
        reader = self.shards[self._where[name]]
        return reader.read(name, arithmetic.STORAGE.get(reader.entries[name].dtype, np.dtype("u1")), start, stop)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name not in self._where:
            raise MismatchError(f"{self.path} has no tensor {name}")
        dtype = self.shards[self._where[name]].entries[name].dtype
        if dtype not in arithmetic.STORAGE:
            raise MismatchError(
                f"{self.path}: tensor {name} is stored as {dtype}, on which no weight arithmetic is done"
            )
        return arithmetic.widen(self.raw(name, start, stop), dtype)

    def stored(self, name: str, start: int, stop: int) -> np.ndarray:
        """As `raw`, of a tensor of floats, but read-only and where they lie in the page cache (`SafeReader.view`)."""
        reader = self.shards[self._where[name]]
        return reader.view(name, arithmetic.STORAGE[reader.entries[name].dtype], start, stop)

    def bits(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """As `read`, but as it is stored where `arithmetic.gram` takes that: float32, or bit patterns of bfloat16.

        The array is a read-only view of the file (`SafeReader.view`).
        """
        reader = self.shards[self._where[name]] if name in self._where else None
        if reader is None or reader.entries[name].dtype not in ("F32", "BF16"):
            return self.read(name, start, stop)
        kind = arithmetic.STORAGE[reader.entries[name].dtype]
        return reader.view(name, kind, start, reader.entries[name].nbytes // kind.itemsize if stop is None else stop)

    def identity(self) -> Identity:
        names = self.config.get("architectures") or [self.config.get("model_type", "")]
        vocab = self.config.get("vocab_size") or self.config.get("text_config", {}).get("vocab_size", 0)
        return Identity(
            str(names[0]), int(vocab), self.tied, shapes_sha256(self.specs().values()), tokenizer_sha256(self.path)
        )

    def companions(self) -> list[Path]:
        return companions(self.path)

    def close(self) -> None:
        for reader in self.shards.values():
            reader.close()


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
        for file in template.shards:
            mine = [spec for spec in self._specs.values() if template.shard_of(spec.name) == file]
            layout = {spec.name: (self._types[spec.name], spec.shape) for spec in mine}
            self._writers[file] = SafeWriter(out / file, len(header_text(layout, {"format": "pt"})))
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
        self._writers[self.template.shard_of(name)].write(name, start, raw)
        return arithmetic.widen(raw, kind)

    def add(self, name: str, start: int, change: np.ndarray) -> tuple[float, float, float] | None:
        """See `api.AddingWriter`: from the template's bytes, where they lie in the page cache, to ours in one pass."""
        source, target = self._specs[name].dtype, self._types[name]
        if self.rounding != "nearest" or not arithmetic.compiled() or not {source, target} <= arithmetic.KINDS.keys():
            return None
        raw = self.template.stored(name, start, start + change.size)
        made, sums = arithmetic.add_stored(source, target, raw, change)
        self._writers[self.template.shard_of(name)].write(name, start, made)
        return sums.aa, sums.ab, sums.bb

    def copy(self, name: str) -> None:
        spec, kind = self._specs[name], self._types[name]
        writer = self._writers[self.template.shard_of(name)]
        items = spec.numel
        if spec.dtype not in arithmetic.STORAGE:
            items = self.template.shards[self.template.shard_of(name)].entries[name].nbytes
        for start, stop in cut(0, items, BLOCK, BLOCK):
            raw = self.template.raw(name, start, stop)
            if spec.dtype in arithmetic.STORAGE:
                made = arithmetic.recast(raw, spec.dtype, kind)
                if made is None:
                    finite = np.isfinite(arithmetic.widen(raw, spec.dtype)).all()
                    broken = MismatchError(f"{self.template.path}: tensor {name} holds NaN or infinity")
                    raise arithmetic.overflow(name) if finite else broken
                raw = made
            writer.write(name, start, raw)

    def finish(self) -> None:
        for writer in self._writers.values():
            writer.finish({"format": "pt"})
        for file in companions(self.template.path):
            shutil.copyfile(file, self.out / file.name)
        if INDEX in {path.name for path in self.template.path.iterdir()} and SINGLE not in self._writers:
            self._index()
        config = dict(self.template.config)
        if self._dtype is not None:
            config["dtype" if "dtype" in config or "torch_dtype" not in config else "torch_dtype"] = TORCH_NAMES[
                self._dtype
            ]
        write_json(self.out / "config.json", config)
        make_portable(self.out)

    def _index(self) -> None:
        sizes = [
            spec.numel * arithmetic.STORAGE[self._types[spec.name]].itemsize
            for spec in self._specs.values()
            if self._types[spec.name] in arithmetic.STORAGE
        ]
        weight_map = {name: self.template.shard_of(name) for name in self._specs}
        write_json(self.out / INDEX, {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map})

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
