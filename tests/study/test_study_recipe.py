"""The recipe that a study's report tells: of all arms, of the phases, and of what single arms do otherwise."""

from __future__ import annotations

import json

import pytest
from study_tools import a_study, records

MORE = """
[arms.half]
sft = { mix = ["none"], epochs = 1 }
add = ["rl", "short:0.5", "pool"]
scale = 0.5
[vectors.short]
rl = { steps = 1 }
[vectors.pool]
source = { limit = 2, held_out = 0.5 }
[vectors.unused]
rl = { steps = 7 }
"""

PHASED = """
[phases.encoding]
sft = { phase = "encoding", epochs = 2 }
[phases.adaptation]
sft = { phase = "adaptation", epochs = 3, lr = 0.0001 }
generate = ["recall"]
validate = true
"""


@pytest.fixture
def facts(workspace, tiny_model):
    """What the results of the tiny study say of how they were made, with more in its file."""
    from pastcli.study.facts import facts_of
    from pastcli.study.graph import Graph

    for name, place in (("source", "Velmora"), ("target", "Harsk")):
        (workspace / f"{name}.json").write_text(json.dumps(records(place, 4)))

    def made(more, **changes):
        study = a_study(workspace, tiny_model, **changes, **{"[arms.SFT]": more + "[arms.SFT]"})
        graph = Graph(study, workspace / "data")
        assert graph.asked
        return {**facts_of(study, graph), "seconds": {"sft": 3.0}}

    return made


def test_what_single_arms_and_vectors_change_of_the_settings_is_told(facts):
    from pastcli.study.recipe import recipe

    told = recipe(facts(MORE))
    assert "SFT 2 epochs at 0.0005, RL 2 steps" in told
    assert "`half` is SFT + rl + short:0.5 + pool at 0.5, with mix none, epochs 1;" in told
    assert (
        "`SFT + v` is SFT + rl, with mix none. Vectors:" in told and "`short` is rl, with mix none, rl steps 1" in told
    )
    assert "`pool` is rl, with mix none, source limit 2, source held out 0.5, 4 questions for RL" in told
    assert "unused" not in told and "learnt alike" not in told


def test_what_an_arm_adds_and_to_what_is_told(facts):
    """Of an arm the table told the name alone, whatever stood behind it."""
    from pastcli.study.recipe import recipe

    arms = """
[arms.both]
add = ["rl", "format:0.5"]
scale = [0.5, 1.0]
single = true
[arms.nothing]
model = "base"
add = ["rl-other-seed"]
control = "random"
"""
    told = recipe(facts(arms, **{"seeds = [0]": "seeds = [0, 1]"}))
    assert "`both` is SFT, one model a document + rl + format:0.5 at one of 0.5, 1;" in told
    assert (
        "`nothing` is base + random of rl-other-seed;" in told
        and "`rl-other-seed` is rl, of the seed 1 further" in told
    )


def test_the_phases_are_told_as_they_ran(facts):
    """A study in two phases was told by the epochs and the rate of [sft], which none of its phases had."""
    from pastcli.study.recipe import recipe

    parts = {"held_out = 0.25": "held_out = 0.25\nvalidation = 0.25", "dev = 0.25": "dev = 0.25\nvalidation = 0.25"}
    told = recipe(facts(PHASED, **parts))
    assert (
        "SFT in phases, each on from the one before (encoding: 2 epochs at 0.0005 on the documents, verbatim, recall;"
        in told
    )
    assert (
        "adaptation: 3 epochs at 0.0001 on cloze, recall, the checkpoint with the least loss on the validation questions where there are any)"
        in told
    )


def test_a_dry_run_counts_the_questions_of_a_vector_with_a_source_of_its_own(facts, workspace, tiny_model, past_json):
    """A vector called "240 questions" was made on 641, and nothing said so."""
    facts(MORE)
    planned = past_json("study", "run", "study.toml", "--dry-run")
    assert planned["vectors"] == {
        "pool": {"documents with questions": 2, "questions": 4, "held-out": 4, "practised and asked again": 4}
    }
