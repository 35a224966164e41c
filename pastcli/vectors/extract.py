"""v = theta_rl - theta_sft (METHOD 1): the skill vector, lifted out of two checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..api import Adapter, Checkpoint, LowRank, TensorSpec
from ..errors import MismatchError, PastError
from . import compat, gridnoise
from .arithmetic import squared_norm
from .compress import Form, compress
from .delta import Delta, blocks
from .lowrank import concatenated, product_norm
from .models import base_of, format_of, open_model
from .skillfile import About, Part, SkillWriter
from .stream import Span, run, spans

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extracted:
    """What `extract_skill` made. `norm` is |v| as stored, `energy` the share of the true |v|^2 that it holds."""

    path: Path
    form: str
    norm: float
    tensors: int
    parameters: int
    energy: float
    parts: dict[str, Part]
    warnings: list[str] = field(default_factory=list)


def extract_skill(
    sft: Path,
    rl: Path,
    out: Path,
    *,
    rank: int = 0,
    energy: float = 0.0,
    density: float = 0.0,
    allow_lossy: bool = False,
    seed: int = 0,
    parents: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Write the skill vector of `rl` over `sft` to the new file `out`.

    `sft` and `rl` are model or adapter directories or GGUFs. If `rl` is a LoRA adapter trained on `sft`, the
    skill is its factors exactly; if both are adapters of one base, it is the two joined, exactly; otherwise it
    is the float32 difference, tensor by tensor. `rank`, `energy` or `density` then compress it (`compress.Form`).
    Raises `MismatchError` when the two do not fit together, when a tensor holds NaN or infinity, or when 16-bit
    grid noise dominates (unless `allow_lossy`); nothing is left at `out` then.
    """
    form = Form(rank, energy, density, seed)
    with difference(Path(sft), Path(rl)) as delta:
        about = About(delta.layout.identity(), _shapes(delta.layout), compat.sketch(delta.layout))
        about.parents, about.training = dict(parents or {}), dict(training or {})
        if not delta.exact:
            about.warnings = gridnoise.check(delta.sft, delta.rl, allow_lossy)
        writer = SkillWriter(Path(out), about)
        try:
            if form:
                _write_compressed(delta, form, writer, progress)
            elif delta.exact:
                _write_factors(delta, writer)
            else:
                _write_dense(delta, writer, progress)
            return _result(Path(out), writer.finish(), about.warnings)
        except BaseException:
            writer.close()
            Path(out).unlink(missing_ok=True)
            raise


class Difference:
    """theta_rl - theta_sft as a `Delta`: both sides read block by block, subtracted in float32."""

    exact = False

    def __init__(self, sft: Checkpoint, rl: Checkpoint):
        compat.same_layout(sft, rl)
        self.sft, self.rl, self.layout = sft, rl, sft

    def specs(self) -> Mapping[str, TensorSpec]:
        return self.sft.specs()

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        block = self.rl.read(name, start, stop)
        block -= self.sft.read(name, start, stop)
        return block

    def __enter__(self) -> Difference:
        return self

    def __exit__(self, *_: object) -> None:
        self.sft.close()
        self.rl.close()


class AdapterDifference:
    """B_rl A_rl - B_sft A_sft as a `Delta` that knows its factors: nothing is multiplied out, nothing rounded."""

    exact = True

    def __init__(self, layout: Checkpoint, rl: Adapter, sft: Adapter | None):
        self.layout, self._adapters = layout, [(rl, 1.0)] + ([(sft, -1.0)] if sft else [])
        whole = layout.specs()
        self._specs: dict[str, TensorSpec] = {}
        for adapter, _ in self._adapters:
            for name, change in adapter.specs().items():
                if name not in whole or whole[name].shape != change.shape:
                    found = f"has shape {list(whole[name].shape)}" if name in whole else "does not exist"
                    raise MismatchError(
                        f"{adapter.path} changes {name} {list(change.shape)}, which {found} in {layout.path}"
                    )
                self._specs[name] = whole[name]

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def factors(self, name: str) -> LowRank:
        return concatenated(
            [(adapter.factors(name), sign) for adapter, sign in self._adapters if name in adapter.specs()]
        )

    def block(self, name: str, start: int, stop: int) -> np.ndarray:
        total = np.zeros(stop - start, np.float32)
        for adapter, sign in self._adapters:
            if name in adapter.specs():
                total += np.float32(sign) * adapter.read(name, start, stop)
        return total

    def __enter__(self) -> AdapterDifference:
        return self

    def __exit__(self, *_: object) -> None:
        self.layout.close()
        for adapter, _ in self._adapters:
            adapter.close()


def difference(sft: Path, rl: Path) -> Difference | AdapterDifference:
    """The two checkpoints as one delta, in factors if both sides allow it."""
    after = format_of(rl).open(rl)
    if hasattr(after, "factors"):
        before = format_of(sft).open(sft)
        if hasattr(before, "factors"):
            shared = base_of(after)
            if shared is not None and shared == base_of(before):
                return AdapterDifference(open_model(shared), after, before)
        elif base_of(after) in (None, sft.resolve()):
            return AdapterDifference(before, after, None)
        before.close()
    after.close()
    return Difference(open_model(sft), open_model(rl))


def _shapes(model: Checkpoint) -> dict[str, list[int]]:
    return {name: list(spec.shape) for name, spec in model.specs().items()}


def _write_factors(difference: AdapterDifference, writer: SkillWriter) -> None:
    for name, spec in difference.specs().items():
        factors = difference.factors(name)
        writer.low_rank(spec, factors, product_norm(factors))


def _write_dense(difference: Difference, writer: SkillWriter, progress: Progress | None) -> None:
    """Every tensor, block by block; the file's size is claimed first."""
    specs = difference.specs()
    for spec in specs.values():
        writer.dense(spec)
    writer.reserve()

    def subtract(span: Span) -> float:
        square = 0.0
        for start, stop in span.blocks():
            block = difference.block(span.spec.name, start, stop)
            square += squared_norm(block)
            writer.write(span.spec.name, start, block)
        if not math.isfinite(square):
            raise _not_finite(difference, span)
        return square

    squares: dict[str, list[float]] = {name: [] for name in specs}
    for span, square in run(spans(specs.values()), subtract, progress):
        squares[span.spec.name].append(square)
    for name, spec in specs.items():
        writer.done(spec, math.sqrt(math.fsum(squares[name])))


def _write_compressed(delta: Delta, form: Form, writer: SkillWriter, progress: Progress | None) -> None:
    for spec, made in compress(delta, form, progress):
        if made.factors is not None:
            writer.low_rank(spec, made.factors, made.norm, made.energy)
        elif made.rows is not None:
            writer.sparse(spec, *made.rows, made.norm, made.energy)
        else:
            _write_whole(delta, spec, writer)


def _write_whole(delta: Delta, spec: TensorSpec, writer: SkillWriter) -> None:
    """A tensor that compression leaves alone (norms, biases, matrices too small to gain)."""
    writer.dense(spec)
    square = 0.0
    for start, stop in blocks(spec):
        block = delta.block(spec.name, start, stop)
        square += squared_norm(block)
        writer.write(spec.name, start, block)
    writer.done(spec, math.sqrt(square))


def _not_finite(difference: Difference, span: Span) -> MismatchError:
    for model in (difference.sft, difference.rl):
        for block in span.blocks():
            if not np.isfinite(model.read(span.spec.name, *block)).all():
                return MismatchError(f"{model.path}: tensor {span.spec.name} holds NaN or infinity")
    return MismatchError(f"tensor {span.spec.name}: the difference overflows float32")


def _result(out: Path, parts: dict[str, Part], warnings: list[str]) -> Extracted:
    square = math.fsum(part.norm**2 for part in parts.values())
    if square == 0.0:
        raise PastError(
            "the two checkpoints are identical: there is no skill to extract", "was the RL run trained at all?"
        )
    forms = {part.form for part in parts.values()}
    true = math.fsum(part.norm**2 / part.energy for part in parts.values() if part.energy)
    form = next(iter(forms)) if len(forms) == 1 else "mixed"
    parameters = sum(part.spec.numel for part in parts.values())
    return Extracted(out, form, math.sqrt(square), len(parts), parameters, square / true, parts, warnings)
