"""Continual adaptation: a tiny model learns one domain after the other, and every figure of the table is checked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load_file
from study_tools import STUDY, records

SEQUENCES = """
[targets.A]
documents = "a.json"
[targets.B]
documents = "b.json"
[arms.none]
sft = { mix = ["none"] }
sequence = ["A", "B"]
[arms.kept]
sft = { mix = ["none"] }
sequence = ["A", "B"]
add = ["rl"]
when = "kept"
against = "none"
[arms.each]
sft = { mix = ["none"] }
sequence = ["A", "B"]
add = ["rl"]
when = "each"
against = "none"
[arms.rl]
model = "rl"
sft = { mix = ["none"] }
sequence = ["A", "B"]
against = "none"
"""


def flat(path):
    weights = load_file(path)
    return np.concatenate([weights[name].double().numpy().ravel() for name in sorted(weights)])


@pytest.mark.slow  # thirty stages, each a process of its own
@pytest.mark.timeout(1500)
def test_a_sequence_from_the_command_line_to_its_table(past, workspace, warmed):
    for name, place in (("source", "Velmora"), ("target", "Harsk"), ("a", "Orr"), ("b", "Tund")):
        (workspace / f"{name}.json").write_text(json.dumps(records(place, 3)))
    text = STUDY.format(base=warmed).split("[arms.SFT]")[0] + '[arms.SFT]\nsft = { mix = ["none"] }\n' + SEQUENCES
    (workspace / "study.toml").write_text(text)
    shown = past("study", "run", "study.toml", timeout=1400).stdout
    found = json.loads((workspace / "studies" / "study" / "results.json").read_text())
    runs = {path.parent.name: json.loads(path.read_text()) for path in (workspace / "runs").glob("*/manifest.json")}

    def model(run):
        return workspace / "runs" / run / "model" / "model.safetensors"

    chains = {run["inputs"]["after"]["run"]: name for name, run in runs.items() if "after" in run["inputs"]}
    skill = next(name for name, run in runs.items() if run["stage"] == "extract")
    source, skilled = (runs[skill]["inputs"][role]["run"] for role in ("sft", "rl"))
    v = flat(model(skilled)) - flat(model(source))
    base = flat(warmed / "model.safetensors")
    plain = next(first for first in chains if runs.get(first, {}).get("stage") == "sft")
    steps = [flat(model(plain)) - base, flat(model(chains[plain])) - base]
    assert all(run["inputs"]["base"]["path"] == str(warmed) for run in runs.values() if "after" in run["inputs"])

    drift = found["continual"]["kept"]["drift"]["rl"]["0"]
    for step, change, own in zip(drift, steps, (steps[0], steps[1] - steps[0]), strict=True):
        assert step["norm"] == pytest.approx(np.linalg.norm(change), rel=1e-4)
        for figure, other in (("cosine", change), ("step_cosine", own)):
            wanted = v @ other / np.linalg.norm(v) / np.linalg.norm(other)
            assert step[figure] == pytest.approx(wanted, abs=1e-4)
    taken_in = found["continual"]["each"]["drift"]["rl"]["0"]
    assert taken_in[0] == drift[0] and taken_in[1]["cosine"] > drift[1]["cosine"], "the second step began with v inside"

    assert abs(taken_in[1]["step_cosine"]) < taken_in[1]["cosine"], "what was put in between is no part of the step"

    rows = {(row["after"], row["about"]): row for row in found["summary"]["continual"]["none"]}
    assert list(rows) == [("A", "A"), ("B", "A"), ("B", "B")]
    forgot = found["summary"]["effects"]["none: A after B"]["metrics"]["f1"]
    columns = [found["arms"][f"none: A after {step}"]["0"]["1"]["answers"]["f1"] for step in "BA"]
    assert forgot["against"] == "none: A after A" and forgot["mean"] == pytest.approx(
        np.mean(columns[0]) - np.mean(columns[1])
    )
    assert found["summary"]["effects"]["kept: B after B"]["metrics"]["f1"]["against"] == "none: B after B"

    first, second = found["continual"]["none"]["seconds"]["0"]
    assert first["sft"] == pytest.approx(runs[plain]["seconds"]) and second["sft"] == pytest.approx(
        runs[chains[plain]]["seconds"]
    )
    with_rl = found["continual"]["rl"]["seconds"]["0"]
    assert all(set(step) == {"sft", "rl"} for step in with_rl) and with_rl[0]["sft"] == first["sft"]
    assert all(set(step) == {"sft", "inject"} for step in found["continual"]["kept"]["seconds"]["0"])
    assert "Continual adaptation" in shown and "one RL run took" in shown
    line = next(line for line in shown.splitlines() if line.startswith("| kept | B | B |"))
    assert f"{drift[1]['cosine']:+.4f} ± {drift[1]['chance']:.4f}" in line and f"{drift[1]['step_cosine']:+.4f}" in line
    kept = found["arms"]["none: A after B"]["0"]["1"]["retained"]
    assert kept["perplexity"] > 0 and f"{kept['perplexity'] / kept['base_perplexity'] - 1:+.1%}" in shown
