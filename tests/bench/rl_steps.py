"""The steps of RL runs as one small JSON: `python tests/bench/rl_steps.py WHAT MACHINE VECTOR:[SEED]:ENDED=log.jsonl …`.

For runs on a machine that is given back: their `log.jsonl` is all that has to be brought home. Prints, for each vector, the
mean over runs of (mean reward of the last ten steps - of the first ten) with its 95 % t-interval.
`python tests/bench/rl_steps.py rise FILE.json [STEPS]` prints the same of such a file, or of its first STEPS steps: in a first pass
over the questions each is met for the first time, and nothing can be answered by heart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any, TextIO

from pastcli.stats import t_interval

COLUMNS = (
    "step reward reward_std dead_groups grad_norm entropy tokens seconds seconds_rollout seconds_train passes".split()
)
ENDS = 10
"""Steps at either end of a run that its rise is told by."""


def run(spec: str) -> dict[str, Any]:
    said, _, file = spec.partition("=")
    vector, seed, ended = said.split(":")
    steps = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    rows = [[round(step[name], 5) if step.get(name) is not None else None for name in COLUMNS] for step in steps]
    return {
        "vector": vector,
        "seed": int(seed) if seed else None,
        "ended": ended,
        "columns": list(COLUMNS),
        "steps": rows,
    }


def rise(steps: list[list[float]]) -> tuple[float, float]:
    at = COLUMNS.index("reward")
    return mean(row[at] for row in steps[:ENDS]), mean(row[at] for row in steps[-ENDS:])


def tell(runs: list[dict[str, Any]], steps: int | None, to: TextIO) -> None:
    for vector in dict.fromkeys(one["vector"] for one in runs):
        ends = [rise(one["steps"][:steps]) for one in runs if one["vector"] == vector]
        found = t_interval([last - first for first, last in ends]) if len(ends) > 1 else None
        print(vector, [tuple(round(x, 3) for x in end) for end in ends], found, file=to)


def main() -> None:
    what, machine, *specs = sys.argv[1:]
    if what == "rise":
        tell(
            json.loads(Path(machine).read_text(encoding="utf-8"))["runs"], int(specs[0]) if specs else None, sys.stdout
        )
        return
    runs = [run(spec) for spec in specs]
    print(json.dumps({"what": what, "machine": machine, "runs": runs}, separators=(",", ":")))
    tell(runs, None, sys.stderr)


if __name__ == "__main__":
    main()
