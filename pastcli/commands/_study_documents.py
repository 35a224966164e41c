"""What `past study init` is given to read: passages of several documents, or of the parts of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import output

if TYPE_CHECKING:
    from ..api import Passage
    from ..config import IngestConfig
    from ..ingest import Collection

MOST = 0.8
"""Share of all text from which one document among several is pointed at: source and target would not be what one thinks."""


def documents(folder: Sequence[Path], config: IngestConfig, strict: bool, has_skill: bool) -> tuple[list[Passage], str]:
    """The passages, and the name of their document if there is one alone: they are then named by its parts."""
    from ..ingest import collect, warn_skipped
    from ..study import sections
    from ..study.init import largest

    def read(config: IngestConfig) -> tuple[Collection, list[Passage]]:
        with output.progress("reading", "files") as progress:
            found = collect(folder, config, strict, progress)
        return found, [passage for passage in found.passages if passage.kind == "passage"]

    found, passages = read(config)
    alone = sections.alone(passages)
    name, share = largest(passages)
    if not alone and share > MOST:
        hint = "is it a log, or one of another kind? Name the documents that are to be known, and leave it out"
        output.warn(f"{name} alone is {int(100 * share)}% of the text of this folder", hint)
    if alone and (length := sections.length(passages, config.max_chars)) < config.max_chars:
        found, passages = read(dataclasses.replace(config, max_chars=length))
    warn_skipped(found)
    if not alone or (has_skill and len(passages) < sections.FEWEST):
        return passages, ""
    return sections.parted(passages), alone
