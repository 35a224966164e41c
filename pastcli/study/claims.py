"""Studies side by side in one workspace: nobody makes what another is making, or removes what another still needs.

Each study that is at work keeps a file in `runs/.study/claims/` with the names of the results that it needs, beside a lock that
the kernel lets go of however the process ends; a claim without its holder counts for nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from .. import output
from ..errors import PastError
from ..files import is_held, lock, lock_now, remove, write_json
from .node import Node, once
from .store import Store


class Claim:
    """What one study needs, as the others see it."""

    def __init__(self, folder: Path, file: Path):
        self.folder, self.file = folder, file

    def renew(self, nodes: Iterable[Node]) -> None:
        """Needed from now on: what these nodes grow from, and they themselves."""
        write_json(self.file, sorted({one.name for one in once(nodes)}))

    def spare(self, nodes: Collection[Node], left: Iterable[Node], store: Store) -> None:
        """Remove the runs of `nodes`, except those that another living study needs: it removes them itself."""
        with _alone(self.folder):
            self.renew(left)
            others = self._of_others()
            for node in nodes:
                if node.name not in others:
                    store.remove(node)

    def clear(self, nodes: Collection[Node], store: Store) -> None:
        """Remove what other code made under the names of `nodes`. Raises `PastError` if another living study needs any of it."""
        with _alone(self.folder):
            others = self._of_others()
            if needed := next((node for node in nodes if node.name in others and store.is_of_other_code(node)), None):
                raise PastError(
                    f"another study is at work here and needs {needed.label} ({needed.name}), which other code made",
                    "wait for it, or leave --anew out",
                )
            for node in nodes:
                store.clear(node)

    def _of_others(self) -> set[str]:
        """What living studies need; what killed ones left of their claims, be it half of one, is removed."""
        names: set[str] = set()
        for claim in {path.stem for path in self.folder.glob("[!.]*")} - {self.file.stem}:
            file = self.folder / f"{claim}.json"
            if is_held(_lock_of(file)):
                with contextlib.suppress(FileNotFoundError):  # done this very moment
                    names.update(json.loads(file.read_text(encoding="utf-8")))
            else:  # killed
                for left in (file, file.with_name(f".{file.name}.tmp"), _lock_of(file)):
                    remove(left)
        return names


@contextlib.contextmanager
def claimed(nodes: Sequence[Node], store: Store) -> Iterator[Claim]:
    """Hold a claim on everything that these nodes grow from; only after that it is safe to look what is there already."""
    folder = store.answers.parent / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    claim = Claim(folder, file)
    with _alone(folder):
        held = lock(_lock_of(file), "the claim of a study")
        claim.renew(nodes)
    with held:
        try:
            yield claim
        finally:
            remove(file)
            remove(_lock_of(file))


def forget_dead(store: Store) -> None:
    """Remove the locks on results that a killed process was making."""
    for path in (store.answers.parent / "making").glob("*.lock"):
        if (held := lock_now(path)) is not None:
            with held:
                remove(path)


@contextlib.contextmanager
def in_turn(node: Node, store: Store, stopped: Collection[object]) -> Iterator[None]:
    """Hold the right to make one node; while another study makes it, wait, or until there is something in `stopped`."""
    folder = store.answers.parent / "making"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{node.name}.lock"
    held, told = lock_now(path), False
    while held is None and not stopped:
        if not told:
            output.note(f"{node.label} is being made by another study: waiting for it")
        told = True
        time.sleep(0.5)
        held = lock_now(path)
    if held is None:
        raise KeyboardInterrupt
    with held:
        try:
            yield
        finally:
            remove(path)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """For the moment it takes to look at all claims and act on them."""
    path = folder / ".lock"
    while (held := lock_now(path)) is None:
        time.sleep(0.05)
    with held:
        yield


def _lock_of(file: Path) -> Path:
    return file.with_suffix(".lock")
