"""The graph of stages behind a study's answers. A node is named by everything that decides its result: stage, settings,
contents of its files, and the nodes it grows from. So a result is found wherever a study has made it before.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from .. import config as configs
from .. import models, registry
from ..config.study import Arm, Phase, Vector
from . import data
from .materials import Materials
from .node import Asked, Node, Nodes, once
from .spec import Study, added

Model = TypeVar("Model", bound="Node | Path")


class Graph(Nodes):
    """Builds the nodes of a study; the same recipe gives the same object."""

    def __init__(self, study: Study, folder: Path):
        super().__init__()
        self.study, self.folder = study, folder
        self.base = models.resolve(study.base_model).path
        self.materials = Materials(study, folder)
        self.arms: dict[str, dict[str, Any]] = {}
        self.drifts: dict[tuple[str, int, str], Node] = {}
        self.asked = [
            one
            for seed in study.seeds
            for name, arm in study.arms.items()
            for one in (self._sequence(name, arm, seed) if arm.sequence else self._arm(name, arm, seed))
        ]

    def nodes(self, seeds: Collection[int] = ()) -> list[Node]:
        """Every node once (of some seeds, or all), in an order in which they can be made: seed by seed, arm by arm."""
        wanted = [one.node for one in self.asked if not seeds or one.seed in seeds]
        wanted += [node for (_, seed, _), node in self.drifts.items() if not seeds or seed in seeds]
        return once(wanted)

    # ---------------------------------------------------------------- models

    def sft(
        self,
        material: data.Material,
        changes: Mapping[str, Any] | None,
        seed: int,
        what: str,
        start: Node | None = None,
    ) -> Node:
        """Documents into the base, or into `start`; in the study's phases, each on from the one before."""
        if not self.study.phases:
            return self._sft(self.study.stage("sft", changes, seed=seed), material, start, what)
        for name, phase in self.study.phases.items():
            config = self.study.stage("sft", {**(phase.sft or {}), **(changes or {})}, seed=seed)
            more: list[tuple[str, Any]] = [("documents", self.generated(phase, material))] if phase.generate else []
            if phase.validate and material.validation:
                more.append(("dev", data.pairs(material.validation, self.folder)))
            start = self._sft(config, material, start, f"{what}, {name}", more)
        assert start is not None
        return start

    def _sft(
        self,
        config: Any,
        material: data.Material,
        start: Node | None,
        what: str,
        more: list[tuple[str, Any]] | None = None,
    ) -> Node:
        before: list[tuple[str, Any]] = [("base", self.base), ("after", start)] if start else [("base", self.base)]
        inputs = [*before, *(("documents", path) for path in material.documents), *(more or [])]
        ingest = self.study.stage("ingest", {"implication_sets": data.ALL_SETS})
        views = (
            {"sentences": 2, "none": 1, "off": 0}[config.augment]
            + len(config.task)
            + sum(r == "documents" for r, _ in more or [])
        )
        work = config.epochs * sum(tokens_in(path) for path in material.documents) * views
        return self._node("sft", config, inputs, work, f"sft {what}, seed {config.seed}", ingest=ingest)

    def generated(self, phase: Phase, material: data.Material) -> Node:
        """What `past generate` makes of a material's documents for a phase: the same at every seed, written once."""
        config = self.study.stage("generate", {"kind": phase.generate})
        inputs: list[tuple[str, Any]] = [("documents", path) for path in material.documents]
        load = registry.load("chat", config.backend) if phase.model else None
        remote = not getattr(load, "local", True)
        if phase.model and not remote:
            inputs.append(("model", models.resolve(phase.model).path))
        ingest = self.study.stage("ingest", {"implication_sets": data.ALL_SETS})
        asked = sum(tokens_in(path) for path in material.documents) * 4 / ingest.max_chars * config.samples
        work = asked * len(config.kind) * config.max_new_tokens / 2 if phase.model else 0.0
        label = f"generate {', '.join(config.kind)}"
        named: dict[str, Any] = {"ingest": ingest, **({"model": phase.model} if remote else {})}
        # where the name alone tells the model, what was generated before is found as it was
        if remote and (server := registry.served("", load, phase.model)) != f":{phase.model}":
            named["server"] = server
        return self._node("generate", config, inputs, work, label, **named)

    def rl(self, start: Node, material: data.Material, changes: Mapping[str, Any] | None, seed: int, what: str) -> Node:
        config = self.study.stage("rl", changes, seed=seed)
        work = 1.0 * config.steps * config.prompts_per_step * config.num_generations * (20 + config.max_new_tokens)
        inputs = [("sft", start), ("questions", material.practice)]
        inputs += [("dev", material.validation)] if material.validation else []
        return self._node("rl", config, inputs, work, f"rl {what}, seed {seed}")

    def pairs(self, table: str, start: Node | Path, file: Path, changes: Mapping[str, Any] | None, seed: int) -> Node:
        """SFT on prompt and completion: [imitation] or [format]."""
        config = self.study.stage(table, changes, seed=seed)
        inputs = [("base", start), ("documents", file)]
        return self._node("sft", config, inputs, config.epochs * tokens_in(file), f"{table}, seed {seed}")

    def vector(self, vector: Vector, seed: int, what: str) -> Node | Path:
        """The skill file of [vectors.NAME] at one seed; one made before is the same at all."""
        if vector.kind == "file":
            return data.places(self.study, vector.file)[0]
        seeds = self.study.seeds
        seed = seeds[(seeds.index(seed) + vector.seed_shift) % len(seeds)]
        config = configs.STAGES["extract"]()
        if vector.kind == "distill":
            return self.distilled(vector, seed)
        if vector.kind == "format":
            everyday = Path(str(resources.files("pastcli.ingest") / "qa_format.jsonl"))
            before: Node | Path = self.base
            after = self.pairs("format", self.base, everyday, vector.imitation, seed)
        else:
            material = self.materials.source(vector.source)
            before = self.sft(material, vector.sft, seed, "source")
            if vector.kind == "imitation":
                after = self.pairs(
                    "imitation", before, data.pairs(material.practice, self.folder), vector.imitation, seed
                )
            else:
                after = self.rl(before, material, vector.rl, seed, what)
        return self._node("extract", config, [("sft", before), ("rl", after)], 0.0, f"extract {what}, seed {seed}")

    def model(self, arm: Arm, seed: int, target: data.Material) -> Node | Path:
        """What an arm's vectors are added to; `target` is the whole target, or one document of it."""
        if arm.model == "base":
            return self.base
        if arm.model == "source":
            return self.sft(self.materials.source(), arm.sft, seed, "source")
        sft = self.sft(target, arm.sft, seed, "target")
        return self.rl(sft, target, None, seed, "target") if arm.model == "rl" else sft

    def distilled(self, vector: Vector, seed: int) -> Node:
        """The skill of K rounds (METHOD 2), one run of `past distill`."""
        config = self.study.stage("distill", vector.distill, seed=seed)
        material = self.materials.source(vector.source)
        sft = self.sft(material, vector.sft, seed, "source")
        rl = self.rl(sft, material, vector.rl, seed, "source")
        inputs = [*sft.inputs, ("questions", material.practice)]
        work = sft.work + config.rounds * rl.work
        return self._node(
            "distill", config, inputs, work, f"distill, seed {seed}", **sft.extra, sft=sft.config, rl=rl.config
        )

    # ---------------------------------------------------------------- arms

    def _arm(self, name: str, arm: Arm, seed: int) -> Iterator[Asked]:
        about = "source" if arm.model == "source" else "target"
        self.arms.setdefault(name, {**vars(arm), "about": about})
        single = self.study.target.single if arm.single is None else bool(arm.single)
        whole = self.materials.source() if about == "source" else self.materials.read(name, arm)
        parts = self.materials.singles(whole) if single and arm.model in ("sft", "rl") else [whole]
        for part in parts:
            model = self.model(arm, seed, part)
            for scale in arm.scale if isinstance(arm.scale, list) else [arm.scale]:
                injected = self._injected(model, name, arm, seed, float(scale))
                yield self._asked(name, injected, about, part, seed, float(scale))

    def _sequence(self, name: str, arm: Arm, seed: int) -> Iterator[Asked]:
        """SFT on one domain after the other; after each step everything learnt so far is asked. What is left of a domain
        is compared with the arm of `against` at the same step, or with what was there right after it was learnt."""
        model: Node | None = None
        learnt: list[tuple[Node | None, Node]] = []
        for step, domain in enumerate(arm.sequence):
            start = model
            model = self.sft(self.materials.domains[domain], arm.sft, seed, f"{name} {domain}", model)
            if arm.model == "rl":
                model = self.rl(model, self.materials.domains[domain], None, seed, f"{name} {domain}")
            learnt.append((start, model))
            last = step == len(arm.sequence) - 1
            shown = self._injected(model, name, arm, seed, float(arm.scale)) if last or arm.when != "end" else model
            if arm.when == "each":
                model = shown
            for about in arm.sequence[: step + 1]:
                label = f"{name}: {about} after {domain}"
                other = f"{arm.against}: {about} after {domain}" if arm.against else f"{name}: {about} after {about}"
                self.arms.setdefault(label, {**vars(arm), "about": about, "against": other})
                yield self._asked(label, shown, about, self.materials.domains[about], seed, float(arm.scale))
        for vector, _ in added(arm):
            self.drifts[name, seed, vector] = self._drift(name, vector, learnt, seed)

    def _drift(self, name: str, vector: str, learnt: list[tuple[Node | None, Node]], seed: int) -> Node:
        """The angle of a vector with what the models of a sequence have changed, before it is added to them."""
        inputs = [("base", self.base), ("vector", self.vector(self.study.vectors[vector], seed, vector))]
        steps = [("step", node) for _, node in learnt] + [("start", start) for start, _ in learnt if start is not None]
        label = f"drift of {name} against {vector}, seed {seed}"
        return self._node("drift", configs.STAGES["probe"](), [*inputs, *steps], 0.0, label)

    def _injected(self, model: Model, name: str, arm: Arm, seed: int, scale: float) -> Model | Node:
        """The arm's vectors added to a model; the model itself where there are none."""
        if not arm.add:
            return model
        vectors = [("vector", self.vector(self.study.vectors[v], seed, v)) for v, _ in added(arm)]
        config = self.study.stage("inject", arm.inject, {"scale": scale, "control": arm.control, "seed": seed})
        factors = [factor for _, factor in added(arm)]
        inputs = [("target", model), *vectors]
        return self._node("inject", config, inputs, 0.0, f"inject {name}, seed {seed}", factors=factors)

    def _asked(
        self, label: str, model: Node | Path, about: str, material: data.Material, seed: int, scale: float
    ) -> Asked:
        config = self.study.stage("eval", {"retained": str(self.base)})
        inputs = [("model", model), ("questions", material.asked)]
        work = len(material.questions) * (20.0 + config.max_new_tokens)
        return Asked(
            label, seed, scale, self._node("answers", config, inputs, work, f"ask {label}, seed {seed}"), about
        )


def tokens_in(path: Path) -> float:
    """About how many tokens a file or folder holds, at four characters each."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return math.ceil(sum(file.stat().st_size for file in files) / 4)
