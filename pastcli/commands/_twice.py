"""What an injection would add a second time: it is done as it was asked for, and said."""

from __future__ import annotations

from collections import Counter
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
    for digest, count in Counter(hash_path(path) for path, _ in vectors).items():
        same = [(path, factor) for path, factor in vectors if hash_path(path) == digest]
        path, factor = same[0][0], sum(factor for _, factor in same)
        if count > 1:
            said.append(f"{path.name} is named {count} times: it is added with their sum, {factor:g}")
        with closing(open_skill(path)) as skill:
            rl = str(skill.about.parents.get("rl", {}).get("hash") or "none")
        if digest in held:
            said.append(f"the target was made with {path.name} already: the skill is in it once more now")
        elif rl in held:
            said.append(
                f"{path.name} was taken from the target, or from what that was made of: the skill is in it twice now"
            )
    return said
