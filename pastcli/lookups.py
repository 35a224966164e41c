"""What a command comes to that looks at runs, compares them or tidies up: one plain sentence, and the command to type next.

Pure functions of what is shown, as those of `narration` and `verdict`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .environment import resumed
from .narration import Closing
from .verdict import SHOWN
from .words import counted

BEGIN = "past study init FOLDER"

COMPARABLE = ("agent", "eval")
"""Stages whose runs `past runs compare` takes."""

MOST_TOLD = 2
"""Differences that the words after a comparison name one by one."""

_PRIMARY = ("f1", "sopr", "solved")
"""Metrics a comparison is told by, the first that is there."""


def _typed(*words: str) -> str:
    return shlex.join(["past", *words])


def dry(command: str) -> Closing:
    """The words after a dry run; `command` is the same without --dry-run."""
    return Closing("a dry run: nothing was made, and nothing changed", command)


def listed(rows: Sequence[Mapping[str, Any]], place: str, every: int, stage: str = "") -> Closing:
    """The words after `past runs list`; `rows` as it shows them, the newest last, of `every` run of `stage` ('': of any)."""
    if not rows:
        if stage:
            return Closing(f"no runs of the stage {stage} in {place}", _typed("runs", "list"))
        return Closing(f"no runs in {place}", BEGIN)
    left = [row for row in rows if row["status"] not in ("complete", "running")]
    going = sum(row["status"] == "running" for row in rows)
    said = counted(len(rows), "runs")
    said += f", the newest of {every}" if len(rows) < every else ""
    said += f", {going} of them going on" if going else ""
    if left:
        said += f", {len(left)} of them unfinished: the command that began one goes on with it if --resume is added"
    return Closing(said, _typed("runs", "show", rows[-1]["id"]))


def shown(status: str, command: Sequence[str], name: str, end: Closing | None, failure: str = "") -> Closing:
    """The words after `past runs show` and a finished `past runs watch`: those of the run itself, `end`, or why an unfinished
    one (`status`, begun by the words `command`) broke off and how it goes on."""
    if status == "running":
        return Closing("it is going on", _typed("runs", "watch", name))
    if status != "complete":
        why = f"it broke off: {failure}; " if failure else f"it was left unfinished ({status}): "
        said = f"{why}the same command with --resume goes on with it"
        return Closing(said, _typed(*resumed(command)))
    return end or Closing("it is finished", _typed("runs", "lineage", name))


def traced(tree: Mapping[str, Any]) -> Closing:
    """The words after `past runs lineage`; `tree` as it shows it."""
    seen: dict[str, str] = {}
    files: set[str] = set()
    _walk(tree, seen, files)
    above = {name: status for name, status in seen.items() if name != tree["id"]}
    gone = [name for name, status in above.items() if status == "missing"]
    made = f"made from {counted(len(files), 'files')}"
    said = f"{made}, by way of {counted(len(above), 'runs')}" if above else f"{made} that no run made"
    said += f"; {gone[0]} is no longer there, so what it came of cannot be told" if gone else ""
    return Closing(said, _typed("runs", "show", tree["id"]))


def _walk(node: Mapping[str, Any], seen: dict[str, str], files: set[str]) -> None:
    seen[node["id"]] = node["status"]
    files |= set(node["inputs"].values())
    for parent in node["parents"]:
        _walk(parent, seen, files)


def differing(found: Sequence[Mapping[str, Any]], a: str, b: str, stages: Sequence[str]) -> Closing:
    """The words after `past runs diff A B`: in how many things of each kind they differ."""
    if not found:
        return Closing(
            "no difference: the same settings, data and versions came to the same figures", _typed("runs", "show", b)
        )
    kinds = Counter(str(row["in"]) for row in found if row["in"] != "run")
    said = ", ".join(counted(count, kind) for kind, count in kinds.items())
    said = f"they differ in {said}" if said else "they are runs of two stages"
    decides = [kind for kind in kinds if kind != "metrics"]
    if "metrics" in kinds and not decides:
        said += ", though nothing that decides them does: chance, or another machine"
    both = len(stages) == 2 and all(stage in COMPARABLE for stage in stages)
    return Closing(said, _typed("runs", "compare", a, b) if both else _typed("runs", "show", b))


def removed(rows: Sequence[Mapping[str, Any]], dry_run: bool, again: str) -> Closing:
    """The words after `past runs rm` and `clean`; `again` is the command without --dry-run."""
    if not rows:
        return Closing("nothing to clean", _typed("runs", "list"))
    size = f"{counted(len(rows), 'runs')} with {sum(row['bytes'] for row in rows) / 1e6:.1f} MB"
    if dry_run:
        return Closing(f"{size} would be removed; nothing was touched", again)
    return Closing(f"{size} removed", _typed("runs", "list"))


def compared(document: Mapping[str, Any], names: Sequence[str]) -> Closing:
    """The words after `past runs compare`; `document` as it shows it, `names` the runs as they were named."""
    told, reference = [], document["reference"]
    for name, metrics in document["differences"].items():
        metric = next((one for one in _PRIMARY if one in metrics), next(iter(metrics)))
        told.append(_difference(name, reference, metric, metrics[metric]))
    said = ". ".join(told[:MOST_TOLD])
    said += f". {len(told) - MOST_TOLD} more in the table" if len(told) > MOST_TOLD else ""
    if not document["comparable"]:
        said += ". Something other than the models differs too, so it need not be theirs"
    return Closing(said, _typed("runs", "report", *dict.fromkeys(names)))


def _difference(name: str, reference: str, metric: str, pair: Mapping[str, Any]) -> str:
    n = counted(pair["n"], "queries")
    interval = f" [{pair['low']:+.3f}, {pair['high']:+.3f}]" if pair["low"] is not None else ""
    ungraded = f"; {pair['ungraded']} more could not be graded" if pair.get("ungraded") else ""
    figures = f"{metric} {pair['difference']:+.3f}{interval}, p {pair['p_holm']:.2g} on {n}{ungraded}"
    if pair["p_holm"] >= SHOWN or pair["low"] is None or pair["low"] <= 0 <= pair["high"]:
        return f"{name} is not shown to differ from {reference} ({figures})"
    return f"{name} is {'better' if pair['difference'] > 0 else 'worse'} than {reference} ({figures})"


def page(name: str, runs: Sequence[tuple[str, str]]) -> Closing:
    """The words after `past runs report`: `runs` are (id, stage) of those on the page `name`."""
    pairs = [run for run, stage in runs if stage in COMPARABLE]
    after = _typed("runs", "compare", *pairs) if len(pairs) > 1 else _typed("runs", "list")
    return Closing(f"{name} is one page by itself, for any browser, without a network", after)


def tables(count: int, results: Sequence[str]) -> Closing:
    """The words after `past study report` of the files `results`."""
    return Closing(
        f"the tables of {counted(count, 'studies')}, made anew from every answer", _typed("runs", "report", *results)
    )


def plugins(rows: Sequence[Mapping[str, Any]], checked: bool) -> Closing:
    """The words after `past plugins`; `rows` as it shows them."""
    packages = counted(len({row["package"] for row in rows}), "packages")
    said = f"{counted(len(rows), 'plugins')} of {packages}"
    if checked:
        return Closing(f"{said}, and each of them can be loaded", _typed("doctor"))
    return Closing(f"{said}; whether they can be loaded was not tried", _typed("plugins", "--check"))


def skills(found: Sequence[Mapping[str, Any]], trained: bool, place: str) -> Closing:
    """The words after `past inspect` without a file; `trained`: there is an RL run to take a skill from."""
    if not found:
        return Closing(f"no skills in {place}", _typed("extract", "-o", "skill.safetensors") if trained else BEGIN)
    untried = [skill for skill in found if not skill["measured"]]
    said = counted(len(found), "vectors")
    said += f", {len(untried)} of them never measured" if untried else ", each of them measured"
    after = ("inject", "--vector", untried[-1]["path"]) if untried else ("inspect", found[-1]["path"])
    return Closing(said, _typed(*after))
