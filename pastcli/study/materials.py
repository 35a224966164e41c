"""Which documents and questions the arms and vectors of a study use, each version of a part read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.study import Arm, Part
from ..errors import UsageError
from . import data
from .spec import FROM_SOURCE, Study, added, build


class Materials:
    """The parts of a study on disk; `folder` takes the files."""

    def __init__(self, study: Study, folder: Path):
        self.study, self.folder = study, folder
        self.target = data.target(study, study.target, folder)
        self.domains = {name: data.target(study, part, folder) for name, part in study.targets.items()}
        self._sources: dict[str, data.Material] = {}
        self._targets: dict[str, data.Material] = {}
        self._singles: dict[tuple[Path, ...], list[data.Material]] = {}

    def source(self, changes: Mapping[str, Any] | None = None) -> data.Material:
        """The source with a vector's changes."""
        part = build(Part, {**dataclasses.asdict(self.study.source), **(changes or {})}, "[source]")
        key = repr(part)
        if key not in self._sources:
            self._sources[key] = data.source(self.study, part, self.folder) if part.documents else data.NOTHING
        return self._sources[key]

    @property
    def practised(self) -> list[data.Material]:
        """The source as each vector of an arm was made on it; as it stands where there is no such vector."""
        used = {name: self.study.vectors[name] for arm in self.study.arms.values() for name, _ in added(arm)}
        found = [self.source(vector.source) for vector in used.values() if vector.kind in FROM_SOURCE]
        return list({material.practice: material for material in found or [self.source()]}.values())

    def read(self, name: str, arm: Arm) -> data.Material:
        """The target with an arm's changes. Raises `UsageError` where they change what is asked: arms are compared question
        by question."""
        if not arm.target:
            return self.target
        part = build(Part, {**dataclasses.asdict(self.study.target), **arm.target}, f"target of [arms.{name}]")
        key = repr(part)
        if key not in self._targets:
            self._targets[key] = data.target(self.study, part, self.folder)
        found = self._targets[key]
        if found.asked != self.target.asked or found.where != self.target.where:
            raise UsageError(
                f"`target` of [arms.{name}] changes which questions are asked",
                "change what is read of the same documents, such as kinds; other questions need a study of their own",
            )
        return found

    @property
    def read_by_arms(self) -> list[data.Material]:
        """The target as each arm learns it; as it stands where none does."""
        learning = {
            name: arm for name, arm in self.study.arms.items() if arm.model in ("sft", "rl") and not arm.sequence
        }
        found = [self.read(name, arm) for name, arm in learning.items()]
        return list({material.documents: material for material in found or [self.target]}.values())

    def singles(self, whole: data.Material) -> list[data.Material]:
        """A target document by document."""
        if whole.documents not in self._singles:
            self._singles[whole.documents] = data.singles(self.study, whole, self.folder)
        return self._singles[whole.documents]

    def asked(self, about: str) -> data.Material:
        """What an arm is asked about: `target`, `source` or a domain."""
        return {"target": self.target, **self.domains}.get(about) or self.source()
