"""Where the results of studies lie in a workspace, and whether they are there."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .. import output, runs, sources
from ..errors import PastError
from ..files import remove, size_of
from ..vectors.files.opening import as_directory
from ..words import counted
from .children import Children
from .node import Node

RATED_BYTES = 0.54e9
"""Size in float32 of the model that rates are assumed for; a larger one is assumed to be slower in proportion."""

ASKED = ("answers", "drift")
"""Stages that are what a study is made for: measured, kept by content beside the runs, and never grown from."""


def float32_bytes(base: Path) -> int:
    """The size of a float32 copy: a GGUF of four or five bits a weight grows about sixfold."""
    return size_of(base) * (6 if base.suffix == ".gguf" else 1)


class Store:
    """Where results lie in the workspace: runs by their node's name, the rest in `runs/.study/`."""

    def __init__(self, workspace: Path, base_bytes: float = RATED_BYTES, anew: bool = False):
        """With `anew` only what this state of the code made, from what it made, counts as done."""
        self.workspace, self.base_bytes, self.anew = workspace, base_bytes, anew
        self.children = Children()
        self._ours: set[str] = set()
        self.data, self.answers, self.logs = (
            workspace / "runs" / ".study" / name for name in ("data", "answers", "logs")
        )

    def done(self, node: Node) -> bool:
        return self._is_there(node) and (not self.anew or self._is_ours(node))

    def states(self, nodes: Sequence[Node]) -> dict[str, int]:
        """How many of the results that are there each state of past's code made ('' before that was noted)."""
        return dict(Counter(self._made_by(node) for node in nodes if self.done(node)))

    def warn_of_other_code(self, nodes: Sequence[Node]) -> None:
        states = self.states(nodes)
        if other := sum(states.values()) - states.get(sources.state(), 0):
            output.warn(
                f"{counted(other, 'results')} that {'is' if other == 1 else 'are'} here already, another state of past's code made: what it does may have changed since",
                "`--anew` makes these again",
            )

    def is_of_other_code(self, node: Node) -> bool:
        """Whether it is there, and not made by this state of the code from what it made."""
        return self._is_there(node) and not self._is_ours(node)

    def clear(self, node: Node) -> None:
        """Remove what other code made, or began to make, under the node's name."""
        begun = self.workspace / "runs" / ".partial" / node.name
        with contextlib.suppress(PastError):
            if begun.is_dir() and not sources.is_ours(runs.read(begun).manifest):
                remove(begun)
        if self.is_of_other_code(node):
            self.remove(node)
            remove(self.answers_of(node))

    def _made_by(self, node: Node) -> str:
        if node.stage in ASKED:
            return sources.made_by(json.loads(self.answers_of(node).read_text(encoding="utf-8")).get("versions"))
        record = self.record(node)
        return sources.made_by(record.manifest.get("versions")) if record else ""

    def _is_ours(self, node: Node) -> bool:
        """Whether this state of the code made it, and what of its parents is still there."""
        from_ours = (self._is_ours(parent) for parent in node.parents if self._is_there(parent))
        if node.key not in self._ours and self._made_by(node) == sources.state() and all(from_ours):
            self._ours.add(node.key)
        return node.key in self._ours

    def _is_there(self, node: Node) -> bool:
        if node.stage in ASKED:
            return self.answers_of(node).is_file()
        record = self.record(node)
        return record is not None and all(Path(path).exists() for path in record.outputs().values())

    def record(self, node: Node) -> runs.Record | None:
        folder = self.workspace / "runs" / node.name
        with contextlib.suppress(PastError):
            return runs.read(folder) if (folder / "manifest.json").is_file() else None
        return None

    def answers_of(self, node: Node) -> Path:
        return self.answers / f"{node.key[:24]}.json"

    def output(self, it: Node | Path) -> Path:
        """The file or folder an input stands for; a quantised file as the float32 model that every training starts from."""
        if isinstance(it, Path):
            return as_directory(it) if it.suffix == ".gguf" else it
        record = self.record(it)
        for name in ("model", "adapter", "skill"):
            made = record.output(name) if record else None
            if made is not None:
                return made
        raise PastError(f"{it.label} has no result in {self.workspace}", "run the study again")

    def files(self, it: Node | Path) -> list[Path]:
        """What an input stands for on a command line: of `generate` every file that holds something to learn."""
        if isinstance(it, Node) and it.stage == "generate":
            record = self.record(it)
            made = [record.output(name) for name in ("corpus", "pairs")] if record else []
            found = [path for path in made if path is not None and path.is_file() and path.stat().st_size]
            if not found:
                raise PastError(f"{it.label} kept nothing", "try another `model` or other kinds in [phases]")
            return found
        return [self.output(it)]

    def remove(self, node: Node) -> None:
        """Remove the run of a node, or those that its answers were read from; each leaves its place in one step."""
        runs_dir = self.workspace / "runs"
        for folder in (runs_dir / node.name, *runs_dir.glob(f"{node.name}.*")):
            if folder.is_dir():
                try:
                    runs.remove_finished(runs.read(folder))
                except PastError:
                    remove(folder)

    def seconds(self, node: Node) -> float | None:
        """What the node took when it was made."""
        if node.stage in ASKED:
            file = self.answers_of(node)
            return json.loads(file.read_text(encoding="utf-8"))["seconds"] if file.is_file() else None
        record = self.record(node)
        return record.manifest["seconds"] if record else None
