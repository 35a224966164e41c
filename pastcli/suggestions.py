"""Commands as a closing line suggests them: to be typed as they stand, so they name again what the run before them was given."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .environment import parted

_ONCE = ("--name", "--resume", "--force", "--dry-run", "--json")
"""Options of one run, not of what it does."""
_WITH_VALUE = ("--name",)


@dataclass(frozen=True)
class Behind:
    """What a run came of, as words to be typed: of a run on tools the lessons of its source (`corpus`) and files of queries to
    practise on and to be tested by, '' where there are none; `of_target`: it read the documentation of the target's tools; `sft`:
    the words of the nearest SFT run; `questions`: a study's on what the model has learnt, if a study made it."""

    corpus: str = ""
    practice: str = ""
    tests: str = ""
    of_target: bool = False
    sft: tuple[str, ...] = ()
    questions: str = ""


NOTHING = Behind()


def repeated(stage: str, argv: Sequence[str], **changed: Any) -> str:
    """The command line `argv` (program first) again with some settings changed, under a name of its own; just the stage with
    them where `argv` is not a command of that stage."""
    words = list(argv[1:])
    if stage not in words:
        words = [stage]
    options = {f"--{name.replace('_', '-')}": f"{value:g}" for name, value in changed.items()}
    words, others = parted(words)
    kept, skip = [], False
    for word in words:
        name = word.partition("=")[0]
        if skip or name in _ONCE or name in options:
            skip = not skip and "=" not in word and (name in _WITH_VALUE or name in options)
            continue
        kept.append(word)
    return shlex.join(["past", *kept, *(part for option in options.items() for part in option), *others])


def doubled(run: Mapping[str, Any], name: str) -> str:
    """The command of a run again with twice of a setting."""
    return repeated(run["stage"], run.get("argv", ()), **{name: 2 * run["config"].get(name, 1)})
