"""Run the quickstart chain over several seeds and put the figures into one small JSON file and a table.

    python examples/quickstart/seeds.py --seeds 0 1 2 -o docs/results/quickstart.json

Each seed has a workspace of its own under --work; a run that was stopped continues. Data of the SQuAD kind can take the
place of the quickstart's documents: --source FILE --target FILE (questions and implications are read from the same files).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pastcli import runs, stats

HERE = Path(__file__).resolve().parent


INJECTIONS = (
    ("base+skill", "smol"),
    ("SFT+skill", "sft-target"),
    ("SFT+half", "sft-target", "--scale", "0.5"),
    ("SFT+1.5skill", "sft-target", "--scale", "1.5"),
    ("SFT+random", "sft-target", "--control", "random"),
    ("SFT+shuffled", "sft-target", "--control", "shuffled"),
)
"""label, target and further flags of each injected model that is evaluated."""


def past(workspace: Path, seed: int, *words: str) -> dict:
    """One command of the chain, resumable, its JSON document as result."""
    seeds = {f"PAST_{stage}_SEED": str(seed) for stage in ("SFT", "RL", "INJECT", "PROBE", "EVAL", "AGENT")}
    done = subprocess.run(
        [sys.executable, "-m", "pastcli", *words, "--json", "--resume"],
        cwd=workspace,
        env={**os.environ, **seeds},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def chain(workspace: Path, seed: int, options: argparse.Namespace) -> dict:
    """The demo's chain with the controls, for one seed."""
    workspace.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.config, workspace / "past.toml")
    call = lambda *words: past(workspace, seed, *words)  # noqa: E731 - one binding for every line below
    steps = {
        "sft_source": call("sft", options.source, "--base", "smol", "--name", "sft-source"),
        "rl": call("rl", "--sft", "sft-source", "--questions", options.source_questions, "--name", "rl-source"),
        "extract": call("extract", "--sft", "sft-source", "--rl", "rl-source", "-o", "skill.safetensors"),
        "sft_target": call("sft", options.target, "--base", "smol", "--name", "sft-target"),
    }
    models = {"base": "smol", "SFT": "sft-target"}
    for label, target, *more in INJECTIONS:
        call("inject", "--vector", "skill.safetensors", "--target", target, "--name", label, *more)
        models[label] = label
    probe = (
        "probe-orthogonality",
        "--base",
        "smol",
        "--sft",
        "sft-source",
        "--rl",
        "rl-source",
        "--target-sft",
        "sft-target",
    )
    steps["probe"] = call(*probe)
    flags = [word for label, path in models.items() for word in ("--model", f"{label}={path}")]
    steps["eval"] = call("eval", "--questions", options.target_questions, "--reference", "SFT", *flags)
    for step in steps.values():  # what is of use on this machine only, or bulky, stays in the runs
        for key in ("path", "outputs", "tensors", "layers"):
            step.pop(key, None)
    return {"seed": seed, **steps}


def summary(results: list[dict], confidence: float = 0.95) -> dict:
    """Per model and metric: the value at each seed, their mean and t-interval."""
    table: dict = {}
    for result in results:
        for label, scores in result["eval"]["models"].items():
            for metric in ("exact", "contains", "f1"):
                table.setdefault(label, {}).setdefault(metric, []).append(scores[metric]["mean"])
    return {
        label: {
            metric: {"seeds": values, **dict(zip(("mean", "low", "high"), stats.t_interval(values, confidence)))}
            for metric, values in metrics.items()
        }
        for label, metrics in table.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("demo-workspace/seeds"))
    parser.add_argument("--config", type=Path, default=HERE / "past.toml")
    parser.add_argument("--source", default=str(HERE / "docs/source"))
    parser.add_argument("--target", default=str(HERE / "docs/target"))
    parser.add_argument("--source-questions", default="")
    parser.add_argument("--target-questions", default="")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    for part in ("source", "target"):
        data = Path(getattr(options, part)).resolve()
        questions = getattr(options, f"{part}_questions") or (
            data if data.is_file() else HERE / f"{part}_questions.jsonl"
        )
        setattr(options, part, str(data))
        setattr(options, f"{part}_questions", str(Path(questions).resolve()))
    results = []
    for seed in options.seeds:
        results.append(chain(options.work.resolve() / f"seed-{seed}", seed, options))
        about = {"machine": f"{os.cpu_count()} cores", "versions": runs.versions()}
        document = {"summary": summary(results), **about, "seeds": results}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        runs.write_json(options.out, document)
    for label, metrics in document["summary"].items():
        print(f"{label:14}", *(f"{name} {m['mean']:.3f} {_interval(m)}" for name, m in metrics.items()))


def _interval(metric: dict) -> str:
    return "" if metric["low"] is None else f"[{metric['low']:.3f}, {metric['high']:.3f}]"


if __name__ == "__main__":
    main()
