"""What lies on the disk at every step of publishing, taken by one run of a command.

A process that is killed leaves nothing behind but its files, so a copy of the workspace before each step that changes names
(made, renamed, removed, opened for writing) is what kill -9 there would leave; steps that change nothing (an fsync) give no
copy of their own. `STILLS=FOLDER` takes them from the moment at which a run is sealed, of a study from its beginning on: it
publishes all along, and what it starts takes them too. See `dying`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link")


def begin(folder: Path, workspace: Path) -> None:
    """Of the command that is about to run in `workspace`: keep a still of it before each step from the first seal on."""
    import pastcli.publish as publish

    real, seen = publish.seal, set()
    state = {"on": sys.argv[1:3] == ["study", "run"]}

    def seal(*words):
        state["on"] = True
        return real(*words)

    def step(event, arguments):
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if state["on"] and (writes or event in EVENTS):
            state["on"] = False  # the copying is no step
            try:
                keep(folder, workspace, seen)
            finally:
                state["on"] = True

    publish.seal = seal
    sys.addaudithook(step)


def keep(folder: Path, workspace: Path, seen: set[str]) -> None:
    now = state_of(workspace)
    if now not in seen:
        seen.add(now)
        shutil.copytree(workspace, folder / f"{len(list(folder.iterdir())):03}", symlinks=True)


def state_of(folder: Path) -> str:
    """Names and contents of all below a folder, as one text; locks are held by processes and are no state."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(f"{path.relative_to(folder)}\0{path.is_dir()}\0"))
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
