"""What an injection would add a second time: it is done as it was asked for, and said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ..hashing import hash_path
from ..lineage import read_by


def told_twice(vectors: Sequence[tuple[Path, float]], target: Path) -> list[str]:
    """A sentence for every skill in `vectors` ((file, factor) each) that is named again or that `target` holds already: by the
    records of the runs it comes from, or because the skill was taken from it."""
    from ..vectors.files.skill import open_skill

    said, held = [], {hash_path(target), *read_by(target)}
    named: dict[str, list[tuple[Path, float]]] = {}
    for vector in vectors:
        named.setdefault(hash_path(vector[0]), []).append(vector)
    for digest, same in named.items():
        path = same[0][0]
        if len(same) > 1:
            factor = sum(factor for _, factor in same)
            said.append(f"{path.name} is named {len(same)} times: it is added with their sum, {factor:g}")
        with closing(open_skill(path)) as skill:
            rl = str(skill.about.parents.get("rl", {}).get("hash") or "none")
        if digest in held:
            said.append(f"the target was made with {path.name} already: the skill is in it once more now")
        elif rl in held:
            said.append(
                f"{path.name} was taken from the target, or from what that was made of: the skill is in it twice now"
            )
    return said
