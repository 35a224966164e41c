"""What studies of this workspace measured of its runs, as `study.measured` left word of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import runs
from .errors import MismatchError
from .files import read_json

FOLDER = Path(".study") / "measured"
"""Below `runs/`: one file for each folder that a study wrote its results into."""


def read() -> list[dict[str, Any]]:
    """Every study with an effect, the one measured last at the end; a file that cannot be read tells nothing."""
    found = []
    for file in sorted((runs.runs_dir() / FOLDER).glob("*.json"), key=lambda file: file.stat().st_mtime):
        try:
            found.append(read_json(file))
        except MismatchError:
            continue
    return found


def of_vector(maker: runs.Record) -> Iterator[dict[str, Any]]:
    """Every arm that the vector of this run was part of, its control arms left out, with the `study`, where its `results` are, and
    what the study calls the vector: `vector` and `kind`."""
    file = maker.output("skill")
    for study in read():
        for arm in study["arms"]:
            made = [name for one in arm["runs"].values() for name in enumerate(one["vectors"])]
            places = [place for place, name in made if name == maker.id or (file and _place(name) == file.resolve())]
            if places and arm["control"] in ("none", ""):
                name = arm["add"][places[0]][0]
                about = {"study": study["study"], "results": study["results"], "kind": study["vectors"][name]}
                yield {**arm, **about, "vector": name}


def tested(results: Path | None = None, model: str = "") -> tuple[str, list[str], float] | None:
    """(model, vectors as `--vector` takes them, scale) of an arm that is a test, at its first seed: of the study with its results
    in this folder, or the last one that tested a `model`. None if there is none that can be asked: its runs are not
    there any more, or more was done with its vectors than adding them."""
    for study in reversed(read()):
        if results is not None and study["results"] != os.path.relpath(results, runs.workspace()):
            continue
        for arm in (arm for arm in study["arms"] if arm["test"] and arm["plain"]):
            for made in arm["runs"].values():
                if model in ("", *made["models"]) and _there(made):
                    factors = [factor for _, factor in arm["add"]]
                    vectors = [_typed(*pair) for pair in zip(made["vectors"], factors, strict=True)]
                    return made["models"][0], vectors, arm["scale"]
    return None


def _there(made: dict[str, list[str]]) -> bool:
    """Whether an arm is one model that can be asked: run and skills are where they were."""
    skills = all(_is_run(name) or _place(name).is_file() for name in made["vectors"])
    return len(made["models"]) == 1 and _is_run(made["models"][0]) and skills


def _is_run(name: str) -> bool:
    return (runs.runs_dir() / name / "manifest.json").is_file()


def _place(name: str) -> Path:
    """A file named by its path from the workspace."""
    return (runs.workspace() / name).resolve()


def _typed(name: str, factor: float) -> str:
    word = name if _is_run(name) else os.path.relpath(_place(name))
    return word if factor == 1.0 else f"{word}:{factor:g}"
