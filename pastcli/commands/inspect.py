"""`past inspect`: what a skill file holds, and where it belongs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import lookups, output, runs, verdict
from . import _lineage, _skill_list
from ._options import Json, close, told

if TYPE_CHECKING:
    from ..vectors.files.skill import Skill

EXAMPLE = "Example: `past inspect skill.safetensors`"


def command(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="A skill file; without it, every skill of the workspace.", show_default=False
        ),
    ] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor with its form and norm.")] = False,
    as_json: Json = False,
) -> None:
    """Show a skill file: its size, the model it belongs to, where it comes from, how it was trained.

    Without a file: the skills of the workspace, what each fits, and what it was measured to do.
    """
    if file is None:
        found = _skill_list.listed()
        output.emit(found, as_json, lambda: _skill_list.show(found))
        close(
            lookups.skills(found, any(record.stage == "rl" for record in runs.records()), str(runs.runs_dir())), as_json
        )
        return
    path: Path = _lineage.skill(file)
    from ..vectors.files.skill import open_skill

    skill = open_skill(path)
    skill.close()
    document = _document(skill)
    listed = [
        {
            "name": name,
            "shape": list(part.spec.shape),
            "form": part.form,
            "norm": part.norm,
            "rank": part.rank,
            "nonzero": part.nnz,
            "energy": part.energy,
        }
        for name, part in skill.parts.items()
    ]
    end = verdict.inspected(document)
    whole = {**document, "tensors": listed, **told(end)}
    output.emit(whole, as_json, lambda: _show(document, listed if tensors else []))
    close(end, as_json)


def _document(skill: Skill) -> dict[str, Any]:
    about = skill.about
    parts = skill.parts.values()
    forms = {form: sum(part.form == form for part in parts) for form in sorted({part.form for part in parts})}
    return {
        "path": str(skill.path),
        "norm": skill.norm,
        "forms": forms,
        "bytes": skill.path.stat().st_size,
        "parameters": sum(part.spec.numel for part in parts),
        "model": vars(about.identity),
        "parents": about.parents,
        "training": about.training,
        "warnings": about.warnings,
        "licence": about.licence,
    }


def _show(document: dict[str, Any], tensors: list[dict[str, Any]]) -> None:
    model = document["model"]
    tying = "tied" if model["tied"] else "untied"
    lines = {
        "skill": document["path"],
        "|v|": document["norm"],
        "size": f"{document['bytes'] / 1e6:.1f} MB, {document['parameters']:,} weights changed",
        "forms": ", ".join(f"{count} {form}" for form, count in document["forms"].items()),
        "for": f"{model['architecture']}, {model['vocab_size']} tokens, {tying} embeddings",
        "tokenizer": model["tokenizer_sha256"][:16] or "unknown",
        "shapes": model["shapes_sha256"][:16],
    }
    lines |= {
        name: f"{entry.get('run') or entry.get('path')} {entry.get('hash', '')[:24]}"
        for name, entry in document["parents"].items()
    }
    training = document["training"]
    if training:
        lines["trained by"] = f"{training.get('stage')} {training.get('id')}"
        lines |= {
            f"  {key}": value
            for key, value in training.get("metrics", {}).items()
            if not isinstance(value, (dict, list))
        }
    lines["licence"] = document["licence"]
    output.pairs(lines)
    for warning in document["warnings"]:
        output.warn(warning)
    if tensors:
        output.table("tensors", list(tensors[0]), [list(tensor.values()) for tensor in tensors])
