"""The versions of other people's libraries that past was tested with, and which of them are newer here.

A plain `pip install` takes the newest. A library may change what past rests on and say nothing of it, so `past doctor` tries what
past takes from each, and where something unexpected happens the ones that are newer are the likeliest cause.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence

from .installed import versions_of

TESTED = {
    "typer": "0.28.0",
    "rich": "15.0.0",
    "tomli": "2.5.0",
    "tomli-w": "1.2.0",
    "numpy": "2.4.6",
    "safetensors": "0.8.0",
    "babel": "2.19.0",
    "blake3": "1.0.11",
    "bm25s": "0.3.16",
    "torch": "2.13.0",
    "transformers": "5.24.0",
    "trl": "1.16.0",
    "accelerate": "1.15.0",
    "psutil": "7.2.2",
    "peft": "0.21.2",
    "gguf": "0.19.0",
    "llama-cpp-python": "0.3.36",
    "openai": "3.57.0",
    "jmespath": "1.1.0",
    "pypdf": "7.1.1",
    "python-docx": "1.2.0",
    "beautifulsoup4": "4.15.0",
    "markdown-it-py": "4.3.0",
    "charset-normalizer": "3.5.3",
    "matplotlib": "3.11.2",
    "jsonschema": "4.26.0",
    "regex": "2026.11.19",
    "pyyaml": "6.0.4",
    "pydantic": "2.14.4",
    "docstring-parser": "0.18.0",
    "starlette": "1.10.0",
    "uvicorn": "0.54.0",
    "httptools": "0.9.0",
    "uvloop": "0.23.0",
    "bitsandbytes": "0.50.2",
    "mcp": "2.3.0",
    "tensorboard": "2.21.0",
    "docutils": "0.23",
    "pylatexenc": "2.11",
    "pyarrow": "26.0.1",
}
"""Of all that past and its extras ask for: those of .ci/constraints.txt, which every test runs on."""


def newer(packages: Sequence[str] = tuple(TESTED)) -> dict[str, str]:
    """{package: installed version} of those that are installed in a newer version than was tested."""
    return {
        name: have
        for name, have in versions_of(packages).items()
        if name in TESTED and _place(have) > _place(TESTED[name])
    }


def said(name: str, have: str) -> str:
    """`5.30.0 (past was tested with 5.24.0)`."""
    return f"{have} (past was tested with {TESTED[name]})"


def install(packages: Sequence[str]) -> str:
    """The command that installs what was tested."""
    return f"pip install {' '.join(f'{name!r}' for name in (f'{one}=={TESTED[one]}' for one in packages))}"


def suspected(error: BaseException | None = None) -> list[str]:
    """The newer libraries that this process has loaded, or tried to when `error` came up."""
    from importlib.metadata import packages_distributions

    found = newer()
    if not found:
        return []
    owners = packages_distributions()
    modules = {name.partition(".")[0] for name in (*sys.modules, *_met(error))}
    loaded = {owner.lower().replace("_", "-") for one in modules for owner in (one, *owners.get(one, ()))}
    return [name for name in found if name in loaded]


def _met(error: BaseException | None) -> Iterator[str]:
    """The modules that an error went through: one whose import failed is not loaded."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            yield frame.f_globals.get("__name__") or ""
        error = error.__cause__ or error.__context__


def suspects(error: BaseException | None = None) -> str:
    """Which these are, and the command that takes them back; "" if none."""
    names = suspected(error)
    if not names:
        return ""
    have = newer(names)
    told = ", ".join(f"{name} {said(name, have[name])}" for name in names)
    return f"newer than what was tested: {told}; past doctor tries them, and {install(names)} takes them back"


def _place(version: str) -> tuple[int, ...]:
    """A version as numbers to compare: 2.13.0+cpu is 2.13."""
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
