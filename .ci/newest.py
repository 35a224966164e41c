"""Which libraries a plain `pip install` takes today in other versions than .ci/constraints.txt, on which the tests run.

    python .ci/newest.py     ask pip, change nothing; exit 1 if there are some, but for those whose line says why it stays behind

Such a version breaks users first. To go over to it: raise the line, and pastcli/tested.py with it, and run all tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASKED = ".[serve,mcp,readers,track,bits]"


def taken(report: Mapping) -> dict[str, str]:
    """{package: version} of pip's report of an installation."""
    told = (one["metadata"] for one in report["install"])
    return {_plain(one["name"]): one["version"] for one in told}


def behind(constraints: str, installed: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """(package, version of the constraints, version taken, why it stays behind) where the two differ."""
    found = []
    for line in constraints.splitlines():
        pin, _, why = line.partition("#")
        name, _, version = pin.strip().partition("==")
        newest = installed.get(_plain(name), version).partition("+")[0]
        if version and newest != version:
            found.append((name, version, newest, why.strip()))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", ASKED]
    done = subprocess.run(pip, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    found = behind((ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8"), taken(json.loads(done.stdout)))
    for name, version, newest, why in found:
        print(f"{name} {version} -> {newest}{f' (stays behind: {why})' if why else ''}")
    return int(any(not why for *_, why in found))


if __name__ == "__main__":
    sys.exit(main())
