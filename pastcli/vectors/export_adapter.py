"""A low-rank skill as a LoRA adapter: the same v at run time, on the unchanged model, with a scale of its own.

The directory is what PEFT and vLLM load as it is: one rank, one alpha, no patterns. Factors are stored untouched
where all parts share rank and scale, as an RL adapter's do; else the scale goes into B, and shorter ranks are
filled with zeros. `.gguf` asks the GGUF format for the same as a LoRA-GGUF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..api import LowRank, SingleFileFormat, TensorSpec
from ..errors import GateError, UsageError
from .checks import compatibility
from .files.destination import form_of_suffix
from .files.opening import open_model
from .files.safetensors import SafeWriter, header_text
from .files.skill import Skill, open_skill
from .files.skill_writer import SkillWriter
from .numbers.lowrank import concatenated, product_norm


@dataclass(frozen=True)
class Exported:
    """`kept` is the cosine between the skill and what an adapter can express of it (1 unless parts were left out)."""

    path: Path
    rank: int
    tensors: int
    kept: float
    warnings: list[str]


def export_adapter(
    vectors: Sequence[tuple[Path, float]],
    target: Path,
    out: Path,
    *,
    scale: float = 1.0,
    min_survival: float = 0.0,
    template: Path | None = None,
) -> Exported:
    """Write scale * sum_i lambda_i v_i as an adapter of `target`: a PEFT directory, or a LoRA-GGUF for `out` *.gguf.

    Parts that are not low-rank (norms, biases) cannot be expressed: they are left out with a warning, and count
    against `min_survival`. Raises `UsageError` if nothing is low-rank, `MismatchError` if a skill does not fit.
    """
    with ExitStack() as stack:
        skills = [stack.enter_context(closing(open_skill(path))) for path, _ in vectors]
        model = stack.enter_context(closing(open_model(target)))
        for skill in skills:
            compatibility.skill_fits(skill, model)
        factors, kept, left_out = _factors(skills, [scale * weight for _, weight in vectors])
        if kept < min_survival:
            raise GateError(
                f"an adapter can express only cosine {kept:.4f} of the skill (asked: {min_survival})",
                "inject it into the weights",
            )
        specs = {name: spec for name, spec in model.specs().items() if name in factors}
        form = form_of_suffix(out)
        if form is not None:
            _as_file(form, skills[0], specs, factors, target if target.is_file() else template, out)
        else:
            _as_directory(specs, factors, target, out)
    rank = max(low.a.shape[0] for low in factors.values())
    warnings = (
        [
            f"an adapter cannot express {len(left_out)} tensors, such as {left_out[0]}: "
            f"cosine {kept:.4f} of the skill is kept"
        ]
        if left_out
        else []
    )
    return Exported(out, rank, len(factors), kept, warnings)


def _factors(skills: Sequence[Skill], weights: Sequence[float]) -> tuple[dict[str, LowRank], float, list[str]]:
    """Joined factors by tensor; the cosine they keep of the skill; the names that had to be left out."""
    terms: dict[str, list[tuple[LowRank, float]]] = {}
    other: dict[str, float] = {}
    for skill, weight in zip(skills, weights, strict=True):
        for name, part in skill.parts.items():
            if part.form == "low_rank":
                terms.setdefault(name, []).append((skill.factors(name), weight))
            elif part.norm:
                other[name] = math.hypot(other.get(name, 0.0), weight * part.norm)
    if not terms:
        raise UsageError(
            "a dense skill cannot be an adapter", "make a low-rank one: past extract --rank 32 (or --energy 0.99)"
        )
    joined = {name: concatenated(several) for name, several in terms.items()}
    expressed = math.fsum(product_norm(low) ** 2 for low in joined.values())
    lost = math.fsum(norm**2 for norm in other.values())
    return joined, math.sqrt(expressed / (expressed + lost)) if expressed else 1.0, list(other)


def _uniform(factors: Mapping[str, LowRank]) -> tuple[dict[str, LowRank], int, float]:
    """Factors of one rank and one scale."""
    rank = max(low.a.shape[0] for low in factors.values())
    shared = {low.scale for low in factors.values()}
    common = shared.pop() if len(shared) == 1 else 1.0
    made = {}
    for name, low in factors.items():
        short = rank - low.a.shape[0]
        a, b = low.a, low.b if low.scale == common else low.b * np.float32(low.scale)
        if short:
            a, b = np.pad(a, ((0, short), (0, 0))), np.pad(b, ((0, 0), (0, short)))
        made[name] = LowRank(b, a, common)
    return made, rank, common


def _as_directory(specs: Mapping[str, TensorSpec], factors: Mapping[str, LowRank], target: Path, out: Path) -> None:
    """adapter_model.safetensors and, last, adapter_config.json."""
    uniform, rank, scale = _uniform(factors)
    tensors: dict[str, np.ndarray] = {}
    for name, low in uniform.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if "embed" in name.rsplit(".", 2)[-2]:  # PEFT adapts an embedding by factors of its transpose
            tensors |= {f"{module}.lora_embedding_A": low.b.T, f"{module}.lora_embedding_B": low.a.T}
        else:
            tensors |= {f"{module}.lora_A.weight": low.a, f"{module}.lora_B.weight": low.b}
    out.mkdir(parents=True, exist_ok=True)
    layout = {key: ("F32", matrix.shape) for key, matrix in tensors.items()}
    writer = SafeWriter(out / "adapter_model.safetensors", len(header_text(layout, {"format": "pt"})))
    try:
        for key, matrix in tensors.items():
            writer.add(key, "F32", matrix.shape)
            writer.write(key, 0, np.ascontiguousarray(matrix, np.float32).reshape(-1))
        writer.finish({"format": "pt"})
    finally:
        writer.close()
    alpha = scale * rank
    runs.write_json(
        out / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(target.resolve()),
            "r": rank,
            "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "fan_in_fan_out": False,
            "inference_mode": True,
            "init_lora_weights": True,
            "target_modules": _target_modules(specs),
        },
    )


def _target_modules(specs: Mapping[str, TensorSpec]) -> list[str]:
    """Last parts of the module names (`q_proj`), as PEFT and vLLM expect them."""
    return sorted({name.removesuffix(".weight").rsplit(".", 1)[-1] for name in specs})


def _as_file(
    form: SingleFileFormat,
    skill: Skill,
    specs: Mapping[str, TensorSpec],
    factors: Mapping[str, LowRank],
    template: Path | None,
    out: Path,
) -> None:
    """A LoRA-GGUF, made by the GGUF format out of a skill file with the scales applied."""
    if template is None:
        raise UsageError(
            "no GGUF of the target's base model is known, to take the tensor layout from", "name one with --template"
        )
    joined = out.with_name(f".{out.name}.skill")
    writer = SkillWriter(joined, skill.about)
    try:
        for name, low in factors.items():
            writer.low_rank(specs[name], low, product_norm(low))
        writer.finish()
        form.export_lora(joined, template, out)
    finally:
        writer.close()
        joined.unlink(missing_ok=True)
