"""For `past doctor`: are the packages that are installed also able to be imported?

Each is imported in a process of its own kind, away from this one: a broken binary may kill whoever imports it, and the
next one is then asked in a fresh process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

_ASK = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps([name, None]), flush=True)
    try:
        importlib.import_module(name)
        print(json.dumps([name, ""]), flush=True)
    except BaseException as error:
        print(json.dumps([name, f"{type(error).__name__}: {error}"]), flush=True)
"""


def modules_of(distributions: Iterable[str]) -> dict[str, str]:
    """Each distribution with the module to import for it; those that bring none (or are not installed) are left out."""
    from importlib.metadata import packages_distributions

    wanted = {name.lower().replace("_", "-"): name for name in distributions}
    found: dict[str, str] = {}
    for module, owners in packages_distributions().items():
        for owner in owners:
            name = wanted.get(owner.lower().replace("_", "-"))
            if name is not None and not module.startswith("_") and module.isidentifier():
                # The module named like its distribution, where it has several: attrs brings attr and attrs.
                same = module.replace("_", "-").lower() in owner.lower().replace("_", "-")
                if name not in found or same:
                    found[name] = module
    return found


def failures(modules: Iterable[str], timeout: float = 120) -> Iterator[tuple[str, str]]:
    """(module, what went wrong) for each one that cannot be imported, in the words of the import itself."""
    left = list(modules)
    while left:
        try:
            done = subprocess.run([sys.executable, "-c", _ASK, *left], capture_output=True, text=True, timeout=timeout)
            told, died = done.stdout, _how_it_died(done.returncode)
        except subprocess.TimeoutExpired as late:
            told, died = (late.stdout or b"").decode("utf-8", "replace"), f"no end after {timeout:.0f} s"
        answers: dict[str, str | None] = {}
        for line in told.splitlines():
            if line.startswith('["'):
                name, problem = json.loads(line)
                answers[name] = problem
        for name, problem in answers.items():
            if problem is None or problem:
                yield name, problem if problem else died
        rest = [name for name in left if name not in answers]
        if len(rest) == len(left):  # not even the first was reached: Python itself does not start here
            yield left[0], died
            rest = left[1:]
        left = rest


def _how_it_died(code: int) -> str:
    return (
        f"killed the interpreter ({signal.Signals(-code).name})" if code < 0 else f"ended the interpreter (exit {code})"
    )
