"""What a study's results say of how they were made: the recipe, the data and files by hash, machine and versions."""

from __future__ import annotations

from typing import Any

from .. import config as configs
from .. import environment
from ..config.study import STAGE_TABLES, Phase
from ..hashing import hash_path
from .data import places
from .graph import Graph
from .spec import DEFAULTS, Study, added
from .strata import overlap


def facts_of(study: Study, graph: Graph) -> dict[str, Any]:
    """What there is to know beside the answers: the whole recipe, the data by hash, machine and versions."""
    settings = {name: configs.to_dict(study.stage(name)) for name in (*STAGE_TABLES, *DEFAULTS)}
    return {
        "format": 1,
        "title": study.title,
        "study": {
            "base": study.base,
            "seeds": list(study.seeds),
            "reference": study.reference,
            "settings": settings,
            **({"phases": {name: _phase(study, one) for name, one in study.phases.items()}} if study.phases else {}),
            "arms": graph.arms,
            "vectors": {name: _vector(study, graph, name) for name in study.vectors},
            "source": {**vars(study.source), "counts": dict(graph.materials.source().counts)},
            "target": {**vars(study.target), "counts": dict(graph.materials.target.counts)},
            "overlap": overlap(study, graph.materials.practised, graph.materials.target, graph.materials.read_by_arms),
        },
        "machine": environment.machine(),
        "versions": environment.versions(),
    }


def _vector(study: Study, graph: Graph, name: str) -> dict[str, Any]:
    """A vector as the results name it; a skill file by its content too, and one with a source of its own by how much that is."""
    vector, found = study.vectors[name], dict[str, Any]()
    if vector.file:
        found["file_hash"] = hash_path(places(study, vector.file)[0])
    if vector.source and any(name == one for arm in study.arms.values() for one, _ in added(arm)):
        found["counts"] = dict(graph.materials.source(vector.source).counts)
    return {**vars(vector), **found}


def _phase(study: Study, phase: Phase) -> dict[str, Any]:
    """A phase of SFT as the results name it: with all its settings, not only those that the file changes."""
    return {**vars(phase), "sft": configs.to_dict(study.stage("sft", phase.sft))}
