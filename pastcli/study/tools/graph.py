"""The graph of stages behind a study of tools: which trainings make which model, named by all that decides them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import config as configs
from ... import models
from ...config.study_tools import Arm, Vector
from ..graph import tokens_in
from ..node import Node, Nodes, once
from ..spec import added
from .data import Material, materials
from .spec import ToolsStudy

TURN = 60.0
"""Tokens of a turn, for the estimate of time."""


@dataclass(frozen=True)
class Asked:
    """One arm at one seed, and the node that holds what it did."""

    arm: str
    seed: int
    node: Node


class Graph(Nodes):
    """Builds the nodes of a study of tools; the same recipe gives the same object."""

    def __init__(self, study: ToolsStudy, folder: Path):
        super().__init__()
        self.study, self.folder = study, folder
        self.base = models.resolve(study.base_model).path
        self.data = materials(study, folder)
        self.asked = [Asked(name, s, self._arm(name, arm, s)) for s in study.seeds for name, arm in study.arms.items()]

    def nodes(self, seeds: Collection[int] = ()) -> list[Node]:
        """Every node once, of some seeds or all, parents first: seed by seed, arm by arm."""
        return once(one.node for one in self.asked if not seeds or one.seed in seeds)

    # ---------------------------------------------------------------- models

    def sft(
        self, start: Node | Path, files: Sequence[Path], what: str, seed: int, table: str = "sft", changes: Any = None
    ) -> Node:
        """Rows of files into a model, by the settings of [sft], [imitation] or [format]."""
        config = self.study.stage(table, changes, seed=seed)
        inputs = [("base", start), *(("documents", file) for file in files)]
        work = config.epochs * sum(map(tokens_in, files))
        return self._node("sft", config, inputs, work, f"{table} {what}, seed {seed}")

    def lessons(self, side: Material, what: str, seed: int, changes: Any = None) -> Node:
        """The lessons of a side into the base, with the runs on unrelated tools where [tools] wants the `form` learnt so."""
        return self.sft(self.base, [side.corpus, *self._form()], what, seed, changes=changes)

    def _form(self) -> list[Path]:
        return [self.data.format] if self.study.tools.form and self.data.format is not None else []

    def rl(self, start: Node, side: Material, what: str, seed: int, changes: Mapping[str, Any] | None = None) -> Node:
        """GRPO on the queries of a side."""
        config = self.study.stage("rl", changes, seed=seed)
        work = 1.0 * config.steps * config.prompts_per_step * config.num_generations * 2 * TURN
        inputs = [("sft", start), ("tools", side.queries)]
        return self._node("rl", config, inputs, work, f"rl {what}, seed {seed}")

    def vector(self, name: str, seed: int) -> Node | Path:
        """The skill file of [vectors.NAME] at one seed."""
        vector = self.study.vectors[name]
        if vector.kind == "file":
            return self.study.path(vector.file)
        if vector.kind == "distill":
            return self._distilled(vector, seed)
        if vector.kind == "format":
            assert self.data.format is not None
            before: Node | Path = self.base
            after = self.sft(self.base, [self.data.format], "unrelated runs", seed, "format", vector.imitation)
        elif vector.kind == "qa":
            before, after = self._qa(vector, seed)
        else:
            before = self.lessons(self.data.source, "source", seed, vector.sft)
            if vector.kind == "imitation":
                solved = self.data.source.solved
                after = self.sft(before, [solved], "source", seed, "imitation", vector.imitation)
            else:
                after = self.rl(before, self.data.source, "source", seed, vector.rl)
        config = configs.STAGES["extract"]()
        return self._node("extract", config, [("sft", before), ("rl", after)], 0.0, f"extract {name}, seed {seed}")

    def _qa(self, vector: Vector, seed: int) -> tuple[Node, Node]:
        """SFT and RL on documents: the skill of answering questions, for whether it crosses over to calling tools."""
        documents = self.study.path(vector.documents)
        questions = self.study.path(vector.questions) if vector.questions else documents
        ingest = self.study.stage("ingest")
        sft = self.study.stage("sft", {"mix": ["qa"]}, vector.sft, seed=seed)
        inputs = [("base", self.base), ("documents", documents)]
        before = self._node(
            "sft", sft, inputs, sft.epochs * tokens_in(documents), f"sft qa, seed {seed}", ingest=ingest
        )
        rl = self.study.stage("rl", vector.rl, seed=seed)
        work = 1.0 * rl.steps * rl.prompts_per_step * rl.num_generations * (20 + rl.max_new_tokens)
        after = self._node("rl", rl, [("sft", before), ("questions", questions)], work, f"rl qa, seed {seed}")
        return before, after

    def _distilled(self, vector: Vector, seed: int) -> Node:
        """The skill of K rounds on disjoint APIs, one run of `past distill`."""
        config = self.study.stage("distill", vector.distill, seed=seed)
        sft, rl = self.study.stage("sft", vector.sft, seed=seed), self.study.stage("rl", vector.rl, seed=seed)
        one = self.rl(self.lessons(self.data.source, "source", seed), self.data.source, "source", seed)
        inputs = [
            ("base", self.base),
            ("tools", self.data.source.queries),
            *(("documents", path) for path in self._form()),
        ]
        extra = {"sft": sft, "rl": rl, "lessons": self.study.stage("lessons")}
        work = config.rounds * one.work + sft.epochs * tokens_in(self.data.source.corpus)
        return self._node("distill", config, inputs, work, f"distill, seed {seed}", **extra)

    def model(self, arm: Arm, seed: int) -> Node | Path:
        """What an arm's vectors are added to."""
        if arm.model == "base":
            return self.base
        target = self.lessons(self.data.target, "target", seed)
        return self.rl(target, self.data.target, "target", seed) if arm.model == "rl" else target

    # ---------------------------------------------------------------- arms

    def _arm(self, name: str, arm: Arm, seed: int) -> Node:
        target = self.data.target
        if arm.model == "know-nothing":
            config = self.study.stage("agent")
            return self._node("answers", config, [("tests", target.tests)], 0.0, "ask the know-nothing program")
        model = self._injected(self.model(arm, seed), name, arm, seed)
        config = self.study.stage("agent")
        evaluated = self.study.stage("eval", {"retained": str(self.base)})
        inputs = [("model", model), ("tests", target.tests), ("recall", target.recall)]
        work = len(target.items) * config.max_turns * TURN + len(target.asked) * 40.0
        return self._node("answers", config, inputs, work, f"ask {name}, seed {seed}", eval=evaluated)

    def _injected(self, model: Node | Path, name: str, arm: Arm, seed: int) -> Node | Path:
        if not arm.add:
            return model
        vectors = [("vector", self.vector(vector, seed)) for vector, _ in added(arm)]
        config = self.study.stage("inject", {"scale": arm.scale, "control": arm.control, "seed": seed})
        factors = [factor for _, factor in added(arm)]
        return self._node(
            "inject", config, [("target", model), *vectors], 0.0, f"inject {name}, seed {seed}", factors=factors
        )
