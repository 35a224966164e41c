"""Who is asked by `past eval`: models by label, and the baseline that reads instead of remembering."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models, output, runs
from ..errors import UsageError
from . import _lineage
from ._skills import Skills, named

if TYPE_CHECKING:
    from ..api import ChatModel, Completes, Question
    from ..evals.retrieval import Retrieved

    Load = Callable[[str], ChatModel]

BASELINES = ("retrieval",)


@dataclass(frozen=True)
class Candidate:
    """A model to be asked: its label, the name the user typed, and what the backend is given. With `retrieved` it has
    passages before each question; `role` is what was injected into it, if anything (`_lineage.role`)."""

    label: str
    name: str
    path: str
    retrieved: Retrieved | None = field(default=None, compare=False)
    role: str = field(default="", compare=False)

    def key(self) -> dict[str, str]:
        return {"label": self.label, "name": self.name, "path": self.path}

    def load(self, load: Load) -> Completes:
        """The model, loaded; the baseline's loads the bare base (a skill is no part of it)."""
        from ..evals.retrieval import Reading

        chat = load(self.path)
        return chat if self.retrieved is None else Reading(chat, self.retrieved)


def candidates(typed: Sequence[str], local: bool, added: Skills) -> list[Candidate]:
    """`[LABEL=]PATH` words, or the newest run that made a model; all with the skills `added`. Raises `UsageError` if two labels are the same, or one is
    empty."""
    from ..evals import label_for

    found: list[Candidate] = []
    for word in typed or [_lineage.newest_model().name]:
        label, equals, name = word.partition("=")
        if not equals or os.sep in label or Path(word).exists():
            label, name = "", word
        elif not label.strip():
            raise UsageError(f"--model {word!r} has no label before the =", "write LABEL=MODEL, or the model alone")
        path = str(models.resolve(name).path) if local else name
        owner = runs.owner_of(Path(path)) if local else None
        stage, control = (owner.stage, owner.manifest["config"].get("control", "none")) if owner else ("", "none")
        label = label or named(label_for(name, stage, control), added)
        if any(candidate.label == label for candidate in found):
            raise UsageError(f"two models are labelled {label!r}", "name them apart: --model LABEL=PATH")
        role = _lineage.role(Path(path)) if local else ""
        found.append(Candidate(label, name, path, role=role or ("skill" if added else "")))
    return found


@dataclass(frozen=True)
class Baseline:
    """`--baseline`, `--corpus` and `--baseline-model` as typed."""

    kind: str | None
    corpus: Sequence[Path]
    model: str | None

    def __post_init__(self) -> None:
        if self.kind is None and (self.corpus or self.model):
            raise UsageError("--corpus and --baseline-model are for --baseline", "add --baseline retrieval")
        if self.kind is not None and self.kind not in BASELINES:
            raise UsageError(f"no baseline is called {self.kind!r}", f"known: {', '.join(BASELINES)}")

    def documents(self) -> list[Path]:
        """What it looks things up in: as named, else the newest corpus of the workspace."""
        if self.corpus:
            return list(self.corpus)
        record = runs.newest("ingest", output_name="corpus")
        made = record.output("corpus") if record else None
        if record is None or made is None:
            raise UsageError("--baseline retrieval needs documents to look things up in", "name them: --corpus DOCS")
        output.note(f"corpus: {made} (run {record.id})")
        return [made]

    def candidate(
        self,
        asked: Sequence[Question],
        others: Sequence[Candidate],
        documents: Sequence[Path],
        config: Any,
        local: bool,
    ) -> Candidate:
        """The base model with passages before each question; raises `UsageError` if its label is taken, or if none of
        the models tells of its base."""
        from ..evals.retrieval import LABEL, retrieve
        from ..ingest import read_documents

        if any(candidate.label == LABEL for candidate in others):
            raise UsageError(f"a model is labelled {LABEL!r}, as the baseline is", "call it otherwise: LABEL=PATH")
        name, path = self._base(others, local)
        found = retrieve([q for q in asked if q.answers], read_documents(documents), config.passages)
        output.note(f"retrieval: for {found.found:.0%} of the questions the answer stands in the passages BM25 found")
        return Candidate(LABEL, name, path, found)

    def _base(self, others: Sequence[Candidate], local: bool) -> tuple[str, str]:
        if self.model is not None:
            return self.model, str(models.resolve(self.model).path) if local else self.model
        if not local:
            raise UsageError("which model reads the passages?", "name it: --baseline-model NAME")
        for candidate in others:
            base = _lineage.origin(models.resolve(candidate.path))
            if base is not None:
                output.note(f"retrieval reads with {base.name}, the base of {candidate.label}")
                return base.name, str(base.path)
        raise UsageError("the base of these models is not known", "name what reads the passages: --baseline-model PATH")
