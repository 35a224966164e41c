"""A result that could not be made: the study's document says so and why, until it is made."""

from __future__ import annotations

import json

from study_tools import STUDY, records

WILD = """
[arms.wild]
sft = { mix = ["none"], lr = 1e9 }
[arms."wild, twice the epochs"]
sft = { mix = ["none"], lr = 1e9, epochs = 4 }
"""


def test_a_training_that_failed_stands_in_the_results_with_its_reason_until_it_is_made(past, workspace, tiny_model):
    """A seed whose training diverged is not missing by chance: "declared and not run" would leave out what speaks against an arm."""
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    study = STUDY.format(base=tiny_model).partition('[arms."SFT + v"]')[0] + WILD
    (workspace / "study.toml").write_text(study)
    done = past("study", "run", "study.toml", "-o", "out", code=None)
    assert done.returncode == 1, done.stderr
    document = json.loads((workspace / "out" / "results.json").read_text())
    assert set(document["failed"]) == {"wild", "wild, twice the epochs"} and "SFT" not in document["failed"]
    one = document["failed"]["wild"]["0"]
    assert one["why"].startswith("stopped at step") and one["why"].endswith("the loss is nan"), one
    assert str(workspace) not in json.dumps(document["failed"])
    told = document["summary"]["sentences"][-1]
    assert told.startswith("Failed, and what failed is not missing by chance") and "no wild at seed 0" in told
    assert one["why"].rstrip(".") in told and not any("not run" in said for said in document["summary"]["sentences"])
    assert told in (workspace / "out" / "table.md").read_text()

    past("study", "run", "study.toml", "-o", "again", "--collect")
    assert json.loads((workspace / "again" / "results.json").read_text())["failed"] == document["failed"]
    (workspace / "study.toml").write_text(study.replace("lr = 1e9", "lr = 0.0005"))
    past("study", "run", "study.toml", "-o", "out")
    assert "failed" not in json.loads((workspace / "out" / "results.json").read_text())
