"""Trainings that go on from one another: phases of one SFT, and one domain after the other."""

from __future__ import annotations

import json

import pytest
from study_tools import a_study, another_study_that_needs_all, records

from pastcli.errors import UsageError

MORE = """
[targets.A]
documents = "a.json"
[targets.B]
documents = "b.json"
[vectors.two-rounds]
kind = "distill"
sft = { mix = ["none"] }
[arms."SFT + two rounds"]
add = ["two-rounds"]
[arms.none]
sequence = ["A", "B"]
[arms.end]
sequence = ["A", "B"]
add = ["rl"]
against = "none"
[arms.each]
sequence = ["A", "B"]
add = ["rl"]
when = "each"
[arms.kept]
sequence = ["A", "B"]
add = ["rl"]
when = "kept"
against = "none"
"""


def test_a_sequence_trains_one_domain_after_the_other(workspace, tiny_model):
    """`end` and `kept` train on the same chain of plain SFT; `each` trains on with the skill inside."""
    from pastcli.study.graph import Graph

    for name, place in (("source", "Velmora"), ("target", "Harsk"), ("a", "Orr"), ("b", "Tund")):
        (workspace / f"{name}.json").write_text(json.dumps(records(place, 4)))
    study = a_study(workspace, tiny_model, **{'add = ["rl"]\ntest = true\n': 'add = ["rl"]\ntest = true\n' + MORE})
    graph = Graph(study, workspace / "data")
    found = {one.arm: one for one in graph.asked}

    def model(label):
        return dict(found[label].node.inputs)["model"]

    def parent(node, role):
        return dict(node.inputs)[role]

    first, second = model("none: A after A"), model("none: B after B")
    assert (
        first.stage == second.stage == "sft" and parent(second, "after") is first and model("none: A after B") is second
    )
    assert model("end: A after A") is first and parent(model("end: A after B"), "target") is second
    assert parent(model("kept: A after A"), "target") is first and model("kept: A after B") is model("end: A after B")
    middle = model("each: A after A")
    assert middle.stage == "inject" and parent(parent(model("each: B after B"), "target"), "after") is middle
    assert graph.arms["end: A after B"]["against"] == "none: A after B"
    assert graph.arms["none: A after B"]["against"] == "none: A after A" and found["none: A after B"].about == "A"
    rounds = parent(model("SFT + two rounds"), "vector")
    assert rounds.stage == "distill" and rounds.config.rounds == 2 and rounds.extra["rl"].steps == 2


PHASED = """
[phases.encoding]
sft = { phase = "encoding", epochs = 2 }
[phases.adaptation]
sft = { phase = "adaptation", epochs = 3 }
generate = ["cloze", "recall"]
validate = true
[arms."one: SFT"]
single = true
[arms."one: SFT + v"]
single = true
add = ["rl"]
against = "one: SFT"
"""


def phased(folder, base):
    (folder / "source.json").write_text(json.dumps(records("Velmora", 4)))
    (folder / "target.json").write_text(json.dumps(records("Harsk", 4)))
    parts = {"held_out = 0.25": "held_out = 0.25\nvalidation = 0.25", "dev = 0.25": "dev = 0.25\nvalidation = 0.25"}
    return a_study(folder, base, **parts, **{'add = ["rl"]\ntest = true\n': 'add = ["rl"]\ntest = true\n' + PHASED})


def test_phases_go_on_from_one_another_and_validation_documents_choose_the_checkpoint(workspace, tiny_model):
    from pastcli.study.graph import Graph

    graph = Graph(phased(workspace, tiny_model), workspace / "data")
    by_arm = {}
    for one in graph.asked:
        by_arm.setdefault(one.arm, []).append(dict(one.node.inputs)["model"])
    (last,) = by_arm["SFT"]
    inputs = dict(last.inputs)
    first = inputs["after"]
    assert (first.config.phase, last.config.phase) == ("encoding", "adaptation") and first.config.epochs == 2
    assert inputs["base"] == dict(first.inputs)["base"] and last.config.augment == "off" and last.config.lr == 0.0005
    made = [it for role, it in last.inputs if role == "documents" and not hasattr(it, "read_text")]
    assert [node.config.kind for node in made] == [["cloze", "recall"]]
    chosen_by = inputs["dev"].read_text()
    asked = {question.question for question in graph.materials.target.questions}
    assert (
        chosen_by.count("\n") == 4
        and graph.materials.target.counts["validation"] == 4
        and len(graph.materials.target.questions) == 12
    )
    rl = next(node for node in graph.nodes() if node.stage == "rl")
    held = {json.loads(line)["id"] for line in dict(rl.inputs)["dev"].read_text().splitlines()}
    assert len(held) == 4 and not held & {
        json.loads(line)["id"] for line in dict(rl.inputs)["questions"].read_text().splitlines()
    }
    assert len(by_arm["one: SFT"]) == 3 == len({model.key for model in by_arm["one: SFT"]}), "a model a document"
    assert asked and all("dev" not in dict(model.inputs) for model in by_arm["one: SFT"])


@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_a_study_in_two_phases_runs_to_its_table(past, workspace, warmed):
    """From the command line: generated pairs, both phases, RL with its checkpoint chosen, and the table."""
    phased(workspace, warmed)
    text = (workspace / "study.toml").read_text().replace("[rl]", "[rl]\ndev_every = 1")
    (workspace / "study.toml").write_text(text.split('[arms."one: SFT"]')[0])
    with another_study_that_needs_all(workspace) as (claim, nodes, store):
        shown = past("study", "run", "study.toml", "--lean", timeout=1000).stdout
        kept = {path.name.split("-")[0] for path in (workspace / "runs").iterdir() if path.name[0] != "."}
        assert kept == {"generate", "sft", "rl", "extract", "inject"}, "what another study needs stays, --lean or not"
        claim.spare([node for node in nodes if node.stage == "inject"], [], store)
    assert not [path for path in (workspace / "runs" / ".study" / "claims").iterdir() if path.name != ".lock"]
    assert "SFT + v" in shown
    runs = [json.loads(path.read_text()) for path in (workspace / "runs").glob("*/manifest.json")]
    adapted = [run for run in runs if run["config"].get("phase") == "adaptation"]
    assert len(adapted) == 2 and all(run["inputs"]["base"]["path"] == str(warmed) for run in adapted)
    assert all(run["metrics"]["best_step"] >= 1 and run["metrics"]["dev_best"] < 0 for run in adapted)
    (rl,) = [run for run in runs if run["stage"] == "rl"]
    assert 1 <= rl["metrics"]["best_step"] <= 2 and "dev" in rl["inputs"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[phases.x]\nvalidate = true", "nothing to choose its checkpoint by"),
        ('[phases.x]\nsft = { phase = "adaption" }', "phase in [sft] must be one of"),
        ('[phases.x]\n[vectors.two]\nkind = "distill"\n[arms.y]\nadd = ["two"]', "leave [phases] out"),
        ('[arms.y]\nsingle = "yes"', "must be true or false"),
    ],
)
def test_a_mistake_in_phases_is_one_line(workspace, tiny_model, change, message):
    from pastcli.study import load

    (workspace / "s.toml").write_text(f'[source]\ndocuments = "s"\n[target]\ndocuments = "t"\n[arms.SFT]\n{change}\n')
    with pytest.raises(UsageError) as error:
        load(workspace / "s.toml")
    assert message in f"{error.value.message} {error.value.hint}"
