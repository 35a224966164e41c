"""A low-rank skill as a LoRA adapter: the same v at run time, on the unchanged model, with a scale of its own.

The directory is what PEFT and vLLM load as it is: one rank, one alpha, no patterns. Factors are stored untouched
where all parts share rank and scale, as an RL adapter's do; else the scale goes into B, and shorter ranks are
filled with zeros. A target that is an adapter itself is joined with the skill, exactly, into one adapter of the true
base: PEFT would load an adapter of an adapter as base + skill. `.gguf` asks the GGUF format for the same as a LoRA-GGUF.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import adapters, runs
from ..api import Adapter, Checkpoint, HasCompanions, LowRank, NamesModules, SingleFileFormat, TensorSpec
from ..errors import GateError, UsageError
from ..files import copy_beside
from ..words import counted
from .checks import compatibility
from .deltas.scales import multipliers, parse_depth, parse_rules
from .files.destination import form_of_suffix
from .files.opening import Overlay, is_embedding, layers, may_be_tied, open_model
from .files.safetensors import SafeWriter, header_text
from .files.skill import Skill, open_skill
from .files.skill_writer import SkillWriter
from .numbers.lowrank import concatenated, product_norm

Terms = dict[str, list[tuple[LowRank, float]]]
"""By tensor: factors and what to multiply them with."""


@dataclass(frozen=True)
class Exported:
    """`kept` is the cosine between the skill and what an adapter can express of it (1 unless parts were left out)."""

    path: Path
    rank: int
    tensors: int
    kept: float
    base: Path
    warnings: list[str]


def export_adapter(
    vectors: Sequence[tuple[Path, float]],
    target: Path,
    out: Path,
    *,
    scale: float = 1.0,
    scales: Sequence[str] = (),
    depth_scale: str = "",
    min_survival: float = 0.0,
    template: Path | None = None,
    base: Path | None = None,
    final: Path | None = None,
) -> Exported:
    """Write scale * sum_i lambda_i v_i as an adapter of `target`: a PEFT directory, or a LoRA-GGUF for `out` *.gguf.

    A target that is an adapter goes in whole: the result is one adapter of its base (`base`, where the user names it)
    that holds the target's own change and the skill. Parts that are not low-rank (norms, biases) cannot be expressed: they
    are left out with a warning, and count against `min_survival`. `scales` and `depth_scale` are those of `inject`; `final`
    is the folder where `out` will lie. Raises `UsageError` if nothing is low-rank, or if a skill changes tied
    embeddings, `MismatchError` if a skill does not fit.
    """
    with ExitStack() as stack:
        skills = [stack.enter_context(closing(open_skill(path))) for path, _ in vectors]
        model = stack.enter_context(closing(open_model(target, base)))
        notes = [text for skill in skills for text in compatibility.skill_fits(skill, model)]
        names = list(dict.fromkeys(name for skill in skills for name in skill.specs()))
        factors = multipliers(names, parse_rules(scales), parse_depth(depth_scale))
        weights = [{name: scale * weight * factors[name] for name in names} for _, weight in vectors]
        inner = model.bottom if isinstance(model, Overlay) else model
        form = form_of_suffix(out)
        able = inner.adaptable(names) if form is None and isinstance(inner, NamesModules) else set(names)
        terms, kept, left_out = _terms(skills, weights, able)
        _refuse_tied(model, terms)
        if kept < min_survival:
            raise GateError(
                f"an adapter can express only cosine {kept:.4f} of the skill (asked: {min_survival})",
                "inject it into the weights",
            )
        changed = len(terms)
        bottom, below = layers(target, base)
        for adapter in below:
            stack.enter_context(closing(adapter))
        joined = _joined(below, terms, model.specs())
        specs = {name: spec for name, spec in model.specs().items() if name in joined}
        if form is not None:
            _as_file(form, skills[0], specs, joined, bottom if bottom.is_file() else template, out)
        else:
            called = {name: name for name in model.specs()}
            called |= inner.modules() if isinstance(inner, NamesModules) else {}
            modules = _target_modules([called[name] for name in joined], called.values())
            _as_directory(joined, called, out, modules, getattr(inner, "transposed", False))
            adapters.name_base(out, bottom, final or out)
            _tokenizer(model, out)
    rank = max(low.a.shape[0] for low in joined.values())
    said = [f"{skill.path.name}: {text}" for skill in skills for text in skill.about.warnings]
    return Exported(out, rank, changed, kept, bottom, said + notes + _warnings(left_out, kept, below))


def _warnings(left_out: Sequence[str], kept: float, below: Sequence[Adapter]) -> list[str]:
    found = []
    if left_out:
        found.append(
            f"an adapter cannot express {counted(len(left_out), 'tensors')}, such as {left_out[0]}: "
            f"cosine {kept:.4f} of the skill is kept"
        )
    if below:
        found.append(
            "the target is an adapter: the result holds its change and the skill in one, and a scale at run time moves both"
        )
    return found


def _terms(
    skills: Sequence[Skill], weights: Sequence[Mapping[str, float]], able: Collection[str]
) -> tuple[Terms, float, list[str]]:
    """Factors by tensor, of those that an adapter is `able` to change; the cosine they keep of the skill; the names that had to be
    left out."""
    terms: Terms = {}
    other: dict[str, float] = {}
    for skill, by_name in zip(skills, weights, strict=True):
        for name, part in skill.parts.items():
            if by_name[name] == 0.0:
                continue
            if part.form == "low_rank" and name in able:
                terms.setdefault(name, []).append((skill.factors(name), by_name[name]))
            elif part.norm:
                other[name] = math.hypot(other.get(name, 0.0), by_name[name] * part.norm)
    if not terms and any(part.form == "low_rank" for skill in skills for part in skill.parts.values()):
        raise UsageError("no layer that this skill changes can carry a LoRA", "inject it into the weights")
    if not terms:
        raise UsageError(
            "a dense skill cannot be an adapter", "make a low-rank one: past extract --rank 32 (or --energy 0.99)"
        )
    expressed = math.fsum(product_norm(concatenated(several)) ** 2 for several in terms.values())
    lost = math.fsum(norm**2 for norm in other.values())
    return terms, math.sqrt(expressed / (expressed + lost)) if expressed else 1.0, list(other)


def _refuse_tied(model: Checkpoint, terms: Terms) -> None:
    """No LoRA says "both sides of tied embeddings" to everybody: PEFT changes the input side alone at run time, and an
    adapter on both sides, right at run time, counts twice when it is merged (measured with peft 0.21).
    """
    tied = [name for name in terms if may_be_tied(name)] if model.identity().tied else []
    if tied:
        share = math.fsum(product_norm(concatenated(terms[name])) ** 2 for name in tied)
        whole = math.fsum(product_norm(concatenated(several)) ** 2 for several in terms.values())
        rule = f"--scales {tied[0].removesuffix('.weight').rsplit('.', 1)[-1]}=0"
        raise UsageError(
            f"the skill changes {tied[0]}, which this model ties to its output layer: no adapter does that alike at run time "
            "and merged",
            f"inject it into the weights (leave out --as adapter); or leave the embeddings out with {rule}, which keeps "
            f"cosine {math.sqrt(max(1 - share / whole, 0.0)):.3f} of the skill",
        )


def _joined(below: Sequence[Adapter], terms: Terms, specs: Mapping[str, TensorSpec]) -> dict[str, LowRank]:
    """The target's own adapters and the skill as one pair of factors a tensor."""
    together: Terms = {}
    for adapter in below:
        for name in adapter.specs():
            together.setdefault(name, []).append((adapter.factors(name), 1.0))
    for name, several in terms.items():
        together.setdefault(name, []).extend((_with_rows(low, specs[name].shape[0]), factor) for low, factor in several)
    return {name: concatenated(several) for name, several in together.items()}


def _with_rows(low: LowRank, rows: int) -> LowRank:
    """The change for a model whose embeddings have `rows` rows (`checks.vocabulary`): those that both have."""
    have = low.b.shape[0]
    if have == rows:
        return low
    return LowRank(np.pad(low.b[:rows], ((0, max(0, rows - have)), (0, 0))), low.a, low.scale)


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


def _as_directory(
    factors: Mapping[str, LowRank], called: Mapping[str, str], out: Path, modules: Sequence[str], transposed: bool
) -> None:
    """adapter_model.safetensors and, last, adapter_config.json (its base is named by `adapters.name_base`).

    `called` are the names that tensors have in memory. `transposed`: the model stores (in, out) matrices, as GPT-2 does, for which PEFT has `fan_in_fan_out`.
    """
    uniform, rank, scale = _uniform(factors)
    tensors: dict[str, np.ndarray] = {}
    for name, low in uniform.items():
        module = f"base_model.model.{called[name].removesuffix('.weight')}"
        if is_embedding(name):  # PEFT adapts an embedding by factors of its transpose
            tensors |= {f"{module}.lora_embedding_A": low.b.T, f"{module}.lora_embedding_B": low.a.T}
        elif transposed and name != "lm_head.weight":
            tensors |= {f"{module}.lora_A.weight": low.b.T, f"{module}.lora_B.weight": low.a.T}
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
            "base_model_name_or_path": "",
            "r": rank,
            "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "fan_in_fan_out": transposed,
            "inference_mode": True,
            "init_lora_weights": True,
            "target_modules": modules,
        },
    )


def _tokenizer(model: Checkpoint, out: Path) -> None:
    """The target's tokenizer and licence, for whoever loads the adapter alone."""
    inner = model.bottom if isinstance(model, Overlay) else model
    files = inner.companions() if isinstance(inner, HasCompanions) else []
    copy_beside(
        [file for file in files if file.suffix != ".py" and file.name != "generation_config.json"], inner.path, out
    )


def _target_modules(adapted: Iterable[str], model: Iterable[str]) -> list[str]:
    """Last parts of the module names (`q_proj`), as PEFT and vLLM expect them; whole names where the last part would name
    another module as well: one that does not change, or a folder of modules (`layers.0` beside `altup_projections.0`)."""
    modules = {name.removesuffix(".weight") for name in adapted}
    others: set[str] = set()
    for name in model:
        parts = name.split(".")
        others |= {".".join(parts[:depth]) for depth in range(1, len(parts))}
    taken = {module.rsplit(".", 1)[-1] for module in others - modules}
    return sorted({module if (last := module.rsplit(".", 1)[-1]) in taken else last for module in modules})


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
