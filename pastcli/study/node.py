"""One result of a study, named by everything that decides it, and the answers that a table is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from .. import config as configs
from ..config import EvalConfig
from ..config.training import RlConfig, ToolRlConfig
from ..hashing import hash_path

NO_PART = ("base", "retained")
"""Settings that decide no result: the base is an input, and by its content; what is retained is measured beside."""


IDLE = {RlConfig: {one.name for one in dataclasses.fields(ToolRlConfig)}, EvalConfig: {"passages"}}
"""Settings that a stage without tools, and without a baseline, never asks for."""


@dataclass(frozen=True, eq=False)
class Node:
    """One run of a stage. `inputs` are (role, node or file); `work` is in tokens, to tell the time it will take."""

    stage: str
    config: Any
    inputs: tuple[tuple[str, Any], ...]
    work: float
    label: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What decides beside: settings of other stages that the run takes, by stage; the factors of an injection."""

    @cached_property
    def key(self) -> str:
        tools = any(role == "tools" for role, _ in self.inputs)
        extra = {name: _settings(it, tools) if dataclasses.is_dataclass(it) else it for name, it in self.extra.items()}
        inputs = [(role, it.key if isinstance(it, Node) else hash_path(it)) for role, it in self.inputs]
        return configs.digest([self.stage, _settings(self.config, tools), inputs, extra, __version__])

    @property
    def name(self) -> str:
        """The id of its run in the workspace."""
        return f"{self.stage}-{self.key[:16]}"

    @property
    def parents(self) -> list[Node]:
        return [it for _, it in self.inputs if isinstance(it, Node)]

    def all(self) -> Iterator[Node]:
        """What it grows from, parents first, then itself."""
        for parent in self.parents:
            yield from parent.all()
        yield self


class Nodes:
    """Makes nodes; the same recipe gives the same object."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def _node(
        self, stage: str, config: Any, inputs: list[tuple[str, Any]], work: float, label: str, **extra: Any
    ) -> Node:
        node = Node(stage, config, tuple(inputs), work, label, extra)
        return self._nodes.setdefault(node.key, node)


def once(nodes: Iterable[Node]) -> list[Node]:
    """These and all they grow from, each once, parents first."""
    return list({node.key: node for one in nodes for node in one.all()}.values())


@dataclass(frozen=True)
class Given:
    """Models that were there before, those of them that skills are added to or whose descendants they are, and skill files."""

    models: list[Path]
    bases: list[Path]
    skills: list[Path]


def given(nodes: Iterable[Node]) -> Given:
    """What some nodes read that no study makes."""
    read = dict.fromkeys((role, it) for node in nodes for role, it in node.inputs if isinstance(it, Path))

    def of(*roles: str) -> list[Path]:
        return list(dict.fromkeys(it for role, it in read if role in roles))

    return Given(of("base", "target", "model"), of("base", "target"), of("vector"))


Check = Callable[[Given], None]
"""Raises `MismatchError` where a stage would of what is given to it, however late it comes."""


def unchecked(given: Given) -> None:
    """Whoever makes the stages finds out."""


class One(Protocol):
    """An arm at one seed, as the graphs of both kinds of study have it."""

    @property
    def arm(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def node(self) -> Node: ...


@dataclass(frozen=True)
class Asked:
    """One arm at one seed and one scale, and the node that holds its answers, or those on one document of many."""

    arm: str
    seed: int
    scale: float
    node: Node
    about: str = "target"


def _settings(config: Any, tools: bool) -> dict[str, Any]:
    """What of a config decides a result."""
    idle = IDLE.get(type(config), ()) if not tools else ()
    return {name: value for name, value in configs.decisive(config).items() if name not in NO_PART and name not in idle}
