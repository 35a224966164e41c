"""How far from the labelled choice does the scale land that `past sweep --unlabelled` chooses?

    python tests/bench/bench_unlabelled.py --vector SKILL --target MODEL [--questions FILE] [--limit N] [--json FILE]

Needs a skill and a target as the quickstart makes them (`examples/quickstart/seeds.py --work DIR` leaves both under
DIR/seed-0); the questions default to the quickstart's. One `past sweep` measures every scale with and without answers;
the answers are used for nothing but the comparison. Half of the questions choose, the other half judge the two choices,
so that the labelled choice gets no credit for having seen the answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRID = "0.5,1,1.5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vector", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--questions", type=Path, default=ROOT / "examples/quickstart/target_questions.jsonl")
    parser.add_argument("--grid", default=GRID)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0, help="use only so many of the questions, evenly spaced")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-unlabelled-") as folder:
        report = bench(options, Path(folder))
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def bench(options: argparse.Namespace, folder: Path) -> dict:
    """Two sweeps, on the questions that choose and on those that judge."""
    lines = [line for line in options.questions.read_text(encoding="utf-8").splitlines() if line.strip()]
    if options.limit:
        lines = lines[:: max(1, len(lines) // options.limit)][: options.limit]
    halves = {"choose": lines[::2], "judge": lines[1::2]}
    for name, rows in halves.items():
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    chosen = sweep(options, folder, "--questions", "choose.jsonl", "--unlabelled", "choose.jsonl")
    judged = sweep(options, folder, "--questions", "judge.jsonl")
    scores = {point["label"]: point["scores"]["f1"] for point in judged["points"]}
    return {
        "questions": {name: len(rows) for name, rows in halves.items()},
        "labelled": {"choice": chosen["best"], "f1": scores[chosen["best"]]},
        "unlabelled": {"choice": chosen["chosen_without_labels"], "f1": scores[chosen["chosen_without_labels"]]},
        "best_possible": max(scores.values()),
        "lambda_1": scores.get("all:1"),
        "target": scores["all:0"],
        "points": chosen["points"],
        "judged": scores,
    }


def sweep(options: argparse.Namespace, folder: Path, *questions: str) -> dict:
    """One `past sweep`; its JSON document."""
    words = [
        "sweep",
        "--vector",
        options.vector.resolve(),
        "--target",
        options.target.resolve(),
        "--grid",
        options.grid,
    ]
    words += [*questions, "--samples", options.samples, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pastcli", *map(str, words)], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
