"""The study file: a mistake in it is one line, and the help says what it may hold."""

from __future__ import annotations

import pytest


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
