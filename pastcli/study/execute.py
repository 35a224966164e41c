"""Making the nodes: each is an ordinary `past` command in a process of its own, resumable, found again by its name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from .. import config as configs
from .. import output, runs
from ..errors import Interrupted, PastError
from ..files import read_lines, write_json
from ..words import counted, duration
from . import failures
from .children import AGAIN
from .claims import claimed, forget_dead, in_turn
from .command import passing, run_past
from .node import Node
from .store import ASKED, Store
from .times import remaining

PATIENCE = 3
"""Failures after which a study begins nothing more: by then it is the disk or the card, and not one training."""


def needed(nodes: Sequence[Node], store: Store) -> list[Node]:
    """The nodes still to be made: unfinished answers, and of what they grow from whatever is not there."""
    wanted: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.key in wanted or store.done(node):
            return
        for parent in node.parents:
            visit(parent)
        wanted[node.key] = node

    for node in nodes:
        if node.stage in ASKED:
            visit(node)
    return list(wanted.values())


def make(nodes: Sequence[Node], store: Store, jobs: int, after: Callable[[], object], lean: bool = False) -> None:
    """Make what is missing of these nodes, at most `jobs` at a time, parents first; `after` is called whenever answers are complete.

    Injected models are removed once they were asked: they are made again in seconds, and are the bulk of the disk. `lean`
    removes trained models and vectors as well, as soon as no node that is left grows from them. One that fails takes along what
    grows from it, and all others are made, and why it failed is kept; after `PATIENCE` failures nothing more is begun. Raises the first failure when the
    others have ended, and `Interrupted` on Ctrl-C.
    """
    try:
        _make(nodes, store, jobs, after, lean)
    except KeyboardInterrupt as stop:
        raise Interrupted("interrupted", AGAIN) from stop


def _make(nodes: Sequence[Node], store: Store, jobs: int, after: Callable[[], object], lean: bool) -> None:
    running: dict[Future[None], Node] = {}
    stopped: list[BaseException] = []
    failed: list[PastError] = []
    pool = ThreadPoolExecutor(max_workers=jobs)
    with claimed(needed(nodes, store), store) as claim, pool, _noted(stopped), store.children.interruptible():
        left = {node.key: node for node in needed(nodes, store)}  # another study made or removed some meanwhile
        claim.renew(left.values())
        if store.anew:
            claim.clear(list(left.values()), store)
        claim.spare(left_over(nodes, list(left.values()), store), list(left.values()), store)
        forget_dead(store)
        total = len(left)
        while left or running:
            for node in list(left.values()) if len(failed) < PATIENCE else []:
                if len(running) < jobs and not any(p.key in left or p in running.values() for p in node.parents):
                    _announce(node, list(left.values()), total, nodes, store, jobs)
                    running[pool.submit(_in_turn, node, store, stopped)] = left.pop(node.key)
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                node = running.pop(future)
                try:
                    future.result()
                except Interrupted:
                    raise
                except PastError as error:
                    failed.append(error)
                    failures.note(node, error, store)
                    left = {
                        key: other for key, other in left.items() if node.key not in {one.key for one in other.all()}
                    }
                    output.warn(f"{error.message}; {_goes_on(len(failed), len(left))}")
                    continue
                failures.forget(node, store)
                others = [*left.values(), *running.values()]
                claim.spare(spared(node, others, lean), others, store)
                if node.stage in ASKED:
                    after()
    if failed:
        raise failed[0]


def _goes_on(failed: int, left: int) -> str:
    if failed < PATIENCE or not left:
        return "what does not grow from it goes on"
    return f"nothing more is begun after {counted(failed, 'failures')}: {counted(left, 'results')} more could be made"


@contextlib.contextmanager
def _noted(stopped: list[BaseException]) -> Iterator[None]:
    """What ends the block is known to those who wait for another study."""
    try:
        yield
    except BaseException as error:
        stopped.append(error)
        raise


def _in_turn(node: Node, store: Store, stopped: list[BaseException]) -> None:
    with in_turn(node, store, stopped):
        _one(node, store)


def spared(node: Node, others: Sequence[Node], lean: bool) -> list[Node]:
    """The runs behind a node just made that nothing else to be made grows from: injected models, and if `lean` all."""
    needed = {parent.key for other in others for parent in other.parents}
    behind = {one.key: one for one in node.all() if one.key != node.key}
    return [one for one in behind.values() if one.key not in needed and (lean or one.stage == "inject")]


def left_over(nodes: Sequence[Node], left: Sequence[Node], store: Store) -> list[Node]:
    """What a study that was killed did not come to remove: the runs of answers that are kept, and injected models that were asked."""
    asked = [node for node in nodes if node.stage in ASKED and store.done(node)]
    return list({one.key: one for node in asked for one in (node, *spared(node, left, lean=False))}.values())


def _announce(node: Node, left: Sequence[Node], total: int, nodes: Sequence[Node], store: Store, jobs: int) -> None:
    about = duration(remaining(left, nodes, store, jobs))
    output.note(f"[{total - len(left) + 1}/{total}] {node.label} ({node.name}); about {about} left")


def _one(node: Node, store: Store) -> None:
    """Make one node, or wait while somebody makes the same one by a command of their own."""
    partial = store.workspace / "runs" / ".partial" / node.name
    while runs.is_locked(partial):
        time.sleep(2)
    if store.done(node):
        return
    if node.stage == "answers" and "tests" in dict(node.inputs):
        from .tools.ask import ask

        ask(node, store)
    elif node.stage == "answers":
        _ask(node, store)
    elif node.stage == "drift":
        _measure(node, store)
    else:
        run_past(node, store, *_words(node, store), "--name", node.name)


def _words(node: Node, store: Store) -> list[str]:
    """The command line of a training, extraction or injection."""
    by_role: dict[str, list[str]] = {}
    for role, it in node.inputs:
        by_role.setdefault(role, []).extend(map(str, store.files(it)))
    chosen = [word for path in by_role.get("dev", []) for word in ("--dev", path)]
    if node.stage == "generate":
        model = by_role.get("model") or [node.extra[name] for name in ("model",) if name in node.extra]
        return ["generate", *by_role["documents"], *(word for name in model for word in ("--model", name))]
    if node.stage == "sft":
        after = [word for path in by_role.get("after", []) for word in ("--after", path)]
        return ["sft", *by_role["documents"], "--base", by_role["base"][0], *after, *chosen]
    if node.stage == "rl":
        practice = "tools" if "tools" in by_role else "questions"
        return ["rl", "--sft", by_role["sft"][0], f"--{practice}", by_role[practice][0], *chosen]
    if node.stage == "distill" and "tools" in by_role:
        return ["distill", *by_role.get("documents", []), "--tools", by_role["tools"][0], "--base", by_role["base"][0]]
    if node.stage == "distill":
        return ["distill", *by_role["documents"], "--base", by_role["base"][0], "--questions", by_role["questions"][0]]
    if node.stage == "extract":
        return ["extract", "--sft", by_role["sft"][0], "--rl", by_role["rl"][0]]
    vectors = [f"{path}:{factor:g}" for path, factor in zip(by_role["vector"], node.extra["factors"], strict=True)]
    return ["inject", "--target", by_role["target"][0], *(word for text in vectors for word in ("--vector", text))]


def _ask(node: Node, store: Store) -> None:
    """Questions to a model: the transcript, kept by content; the model goes if it was injected for this alone."""
    inputs = dict(node.inputs)
    model = store.output(inputs["model"])
    began = time.monotonic()
    with passing(node, store, "eval", "--questions", str(inputs["questions"]), "--model", f"arm={model}") as result:
        rows = read_lines(Path(result["outputs"]["answers"]) / "1.jsonl")
    about = {
        "label": node.label,
        "seconds": round(time.monotonic() - began, 1),
        "injection": injection(inputs["model"], store),
        "retained": result["models"]["arm"].get("retained"),
    }
    store.answers.mkdir(parents=True, exist_ok=True)
    write_json(
        store.answers_of(node),
        {**about, "settings": configs.to_dict(node.config), "versions": runs.versions(), "answers": rows},
    )


def _measure(node: Node, store: Store) -> None:
    """How a vector lies to what the models of a sequence changed, step by step; read in one pass, so done here."""
    from ..vectors.probe.drift import drift

    began = time.monotonic()
    by_role: dict[str, list[Path]] = {}
    for role, it in node.inputs:
        by_role.setdefault(role, []).append(store.output(it))
    starts = by_role.get("start", [])
    steps = drift(by_role["base"][0], by_role["step"], by_role["vector"][0], starts, node.config.seed)
    store.answers.mkdir(parents=True, exist_ok=True)
    told = {"label": node.label, "seconds": round(time.monotonic() - began, 1), "versions": runs.versions()}
    write_json(store.answers_of(node), {**told, "steps": [vars(step) for step in steps]})


def injection(model: Node | Path, store: Store) -> dict[str, Any]:
    """What an injection measured of the vector it added, and took; None each for a model that got none."""
    record = store.record(model) if isinstance(model, Node) and model.stage == "inject" else None
    metrics = record.manifest["metrics"] if record else {}
    found = {name: metrics.get(name) for name in ("survival", "norm_ratio", "norm")}
    return {**found, "seconds": record.manifest["seconds"] if record else None}
