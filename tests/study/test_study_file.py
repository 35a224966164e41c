"""The study file: a mistake in it is one line, and the help says what it may hold."""

from __future__ import annotations

import json

import pytest
from study_tools import a_study, records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sedes = [1]", "did you mean seeds?"),
        ("seeds = [1, 1]", "a seed is named twice"),
        ('reference = "SFT+"', "is no arm"),
        ('[arms.x]\nmodle = "base"', "did you mean model?"),
        ('[arms.x]\nmodel = "bas"', "model of [arms.x] must be one of"),
        ('[arms.x]\nadd = ["skill"]', "unknown a vector in `add` of [arms.x]: skill"),
        ('[arms.x]\nadd = ["rl:much"]', "is no number"),
        ('[arms.x]\nscale = [0.5, 1]\nadd = ["rl"]', "no dev questions"),
        ('[arms.x]\ncontrol = "random"', "a control and no vector"),
        ('[arms.x]\nwithin = "template: old"', "within of [arms.x] must be one of"),
        ('[arms.x]\nwithin = "part: held-out"', "which has no parts"),
        ('[arms.x]\nmodel = "source"\nwithin = "template: new"', "whose strata are `part: ...`"),
        ("[arms.x]\nsft = { epoch = 3 }", "did you mean epochs?"),
        ("[rl]\nlr = -1", "must be above 0"),
        ("[rl]\nsteps", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_and_exit_2(past, workspace, change, message):
    parts = '[source]\ndocuments = "s.json"\n[target]\ndocuments = "t.json"\n'
    arms = "" if "[arms" not in change and "[rl" not in change else "[arms.SFT]\n"
    top = change if not change.startswith("[") else ""
    (workspace / "bad.toml").write_text(f"{top}\n{parts}{arms}{'' if top else change}\n")
    done = past("study", "run", "bad.toml", code=2)
    assert message in done.stderr and "Traceback" not in done.stderr


def test_the_help_tells_all_that_is_needed_for_a_new_arm():
    from typer.testing import CliRunner

    from pastcli import cli

    shown = CliRunner().invoke(cli.app, ["study", "--help"], env={"COLUMNS": "200"}).output
    for key in ("[arms.NAME]", "[vectors.NAME]", "held_out", "against", "imitation", "control"):
        assert key in shown


def test_the_default_arms_are_a_valid_study(workspace):
    from pastcli.study import load

    (workspace / "d.toml").write_text('[source]\ndocuments = "a"\n[target]\ndocuments = "b"\n')
    study = load(workspace / "d.toml")
    assert study.seeds == (0, 1, 2, 3, 4) and {"base", "SFT", "SFT + v", "SFT + format", "mix: SFT"} <= set(study.arms)


@pytest.mark.parametrize(("mix", "reference"), [("qa", ""), ("none", ""), ("qa", "none"), ("none", "qa")])
def test_a_vector_that_says_nothing_of_sft_starts_as_the_reference_arm(workspace, mix, reference):
    """A study with arms of its own had the skill of documents alone added to models with the answer format."""
    from pastcli.study import load

    arm = f'[arms.SFT]\nsft = {{ mix = ["{reference}"] }}\n' if reference else "[arms.SFT]\n"
    (workspace / "d.toml").write_text(
        f'[source]\ndocuments = "a"\n[target]\ndocuments = "b"\n[sft]\nmix = ["{mix}"]\n{arm}'
        '[vectors.mine]\n[vectors.other]\nsft = { epochs = 9 }\n[arms."SFT + v"]\nadd = ["rl", "mine"]\n'
    )
    study = load(workspace / "d.toml")
    made = {name: study.stage("sft", study.vectors[name].sft) for name in ("rl", "imitation", "mine", "other")}
    assert [made[name].mix for name in ("rl", "imitation", "mine")] == [[reference or mix]] * 3
    assert made["other"].mix == [mix] and made["other"].epochs == 9, "what is said of it counts from [sft]"


def test_a_skill_that_has_learnt_otherwise_than_what_it_is_added_to_is_told_before_anything_runs(
    past, workspace, tiny_model
):
    for name, place in (("source", "Velmora"), ("target", "Harsk")):
        (workspace / f"{name}.json").write_text(json.dumps(records(place, 4)))
    a_study(workspace, tiny_model)
    alike = past("study", "run", "study.toml", "--dry-run").stderr
    text = (workspace / "study.toml").read_text()
    (workspace / "apart.toml").write_text(text + '[vectors.rl]\nsft = { mix = ["qa"] }\n')
    apart = past("study", "run", "apart.toml", "--dry-run").stderr
    assert "learnt alike" not in alike
    assert "vector `rl` was made from SFT with mix qa, where theirs has mix none (`SFT + v`)" in " ".join(apart.split())
