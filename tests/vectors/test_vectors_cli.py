"""The commands as typed: defaults out of the workspace, exit codes, and a run behind every result."""

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT
from vectors_tools import factors_for, moved, read_model, weights, write_adapter, write_model

from pastcli import runs
from pastcli.config import RlConfig, SftConfig
from pastcli.vectors.numbers import arithmetic

UP = "model.layers.1.mlp.up_proj.weight"


def make_run(stage, config, tensors=None, model=None, **inputs):
    """A finished training run of the workspace, without the training."""
    with runs.start(stage, config) as run:
        for name, path in inputs.items():
            run.add_input(name, path)
        if tensors is not None:
            model = write_model(run.dir / "model", tensors)
            run.add_output("model", model)
    return runs.read(run.final)


@pytest.fixture
def trained(workspace):
    """base, two sft runs and an rl run grown from the first: what `sft` and `rl` leave behind."""
    base = weights()
    write_model(workspace / "base", base)
    source = moved(base, 1, 2e-3)
    config = SftConfig(base=str(workspace / "base"))
    sft = make_run("sft", config, source, base=workspace / "base")
    rl = make_run("rl", RlConfig(), moved(source, 2, 1e-3), sft=sft.output("model"))
    target = make_run("sft", config, moved(base, 3, 2e-3), base=workspace / "base")
    return {"sft": sft, "rl": rl, "target": target}


def test_in_a_workspace_the_users_own_lines_need_no_further_flag(trained, past, past_json, workspace):
    done = past("extract", "-o", "skill.safetensors")
    assert trained["rl"].id in done.stderr and trained["sft"].id in done.stderr
    injected = past_json("inject", "--vector", "skill.safetensors", "--scale", "1.0")
    assert injected["metrics"]["survival"] > 0.999 and injected["metrics"]["changed"] == len(weights())
    record = runs.find(injected["run"])
    assert trained["target"].id in record.parents, "the target is the newest sft run that is not the skill's own"
    got, target = read_model(record.output("model")), read_model(trained["target"].output("model"))
    wanted = target[UP] + (
        read_model(trained["rl"].output("model"))[UP] - read_model(trained["sft"].output("model"))[UP]
    )
    assert np.array_equal(got[UP], wanted)
    probed = past_json("probe-orthogonality", "--no-figures")
    assert past_json("probe-orthogonality", "--no-figures", "--resume") == probed
    assert set(probed["global"]) == {"sft_rl", "target_rl", "sft_target"} and "cosine" in probed["verdict"]
    shown = past("inspect", runs.newest("extract").id).stdout
    assert "LlamaForCausalLM" in shown and "rl" in shown and trained["rl"].id in shown


def test_a_skill_that_is_nowhere_here_is_found_in_the_newest_run_that_has_one(trained, past):
    past("extract")
    done = past("inject", "--vector", "skill.safetensors")
    assert "vector:" in done.stderr and "skill.safetensors (run extract-" in done.stderr


def test_the_skill_of_a_second_round_is_taken_against_sft_not_against_its_start(trained, past, workspace):
    """METHOD 2: rl grew from an injected model, that one from an sft run; v = rl - sft."""
    past("extract", "-o", "first.safetensors")
    past("inject", "--vector", "first.safetensors")
    injected = runs.newest("inject")
    second = make_run(
        "rl", RlConfig(), moved(read_model(injected.output("model")), 9, 1e-3), start=injected.output("model")
    )
    done = past("extract", "--dry-run")
    assert second.id in done.stderr and trained["target"].id in done.stderr and injected.id not in done.stderr


def test_exit_codes_and_nothing_left_behind(trained, past, workspace):
    past("extract", "-o", "skill.safetensors")
    before = {path.name for path in workspace.iterdir()}
    other = write_model(workspace / "other", weights(seed=50))
    done = past("inject", "--vector", "skill.safetensors", "--target", other, "-o", "out", code=3)
    assert "another base" in done.stderr and "Traceback" not in done.stderr
    done = past("inject", "--vector", "skill.safetensors:x", code=2)
    assert "not a number" in done.stderr
    done = past(
        "inject",
        "--vector",
        "skill.safetensors",
        "--dtype",
        "bf16",
        "--scale",
        "0.01",
        "--min-survival",
        "0.9",
        "-o",
        "out",
        code=4,
    )
    assert "survives" in done.stderr and "--dtype f32" in done.stderr
    past("inject", "--vector", "nowhere.safetensors", code=2)
    past("inject", "--vector", "skill.safetensors", "-o", "skill.safetensors", code=2)
    past("extract", "--sft", "base", "--rl", "base", "-o", "same.safetensors", code=1)
    assert {path.name for path in workspace.iterdir()} == before | {"other"}
    assert not list((workspace / "runs" / ".partial").iterdir())


def test_without_runs_the_commands_say_what_to_do_first(workspace, past):
    for command, word in ((["extract"], "past rl"), (["inject"], "past extract"), (["probe-orthogonality"], "past rl")):
        assert word in past(*command, code=2).stderr


def test_a_lora_skill_goes_out_as_an_adapter_with_its_scale(trained, past, past_json, workspace):
    sft = trained["sft"].output("model")
    write_adapter(workspace / "ad", factors_for([UP], rank=3), base=sft, alpha=6.0)
    assert past_json("extract", "--sft", sft, "--rl", "ad", "-o", "lora.safetensors")["metrics"]["form"] == "low_rank"
    made = past_json("inject", "--vector", "lora.safetensors:0.5", "--as", "adapter", "-o", "out")
    config = json.loads((workspace / "out/adapter_config.json").read_text())
    assert (
        made["metrics"]["rank"] == 3
        and config["lora_alpha"] == 3
        and config["base_model_name_or_path"].endswith("model")
    )
    done = past("inject", "--vector", "lora.safetensors", "--as", "adapter", "--control", "random", "-o", "o2", code=2)
    assert "adapter" in done.stderr


def test_sweep_measures_each_scale_once_and_takes_up_where_it_stopped(tmp_path):
    from pastcli.vectors.sweep import Measure, best, parse_grid, plot, sweep

    asked, made = [], []

    def make(rules, scale, folder):
        made.append((tuple(rules), scale))
        folder.mkdir()
        return 1.0

    def ask(folder, label):
        asked.append(label)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return {"f1": {0: 0.1, 0.5: 0.3, 1: 0.3}.get(float(label.split(":")[1]), 0.2)}

    measure = Measure(make, ask, lambda folder: 0.5)
    grid = parse_grid(["1,0.5", "0", "2"])
    assert grid == [0.5, 1.0, 2.0]
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "target", grid, [], measure, tmp_path, lambda done, total: None)
    points = sweep(tmp_path / "target", grid, [], measure, tmp_path, lambda done, total: None)
    assert asked == ["all:0", "all:0.5", "all:1", "all:2", "all:2"] and not (tmp_path / "candidate").exists()
    assert best(points, "f1").scale == 0.5 and points[0].kl == 0.0
    plot(points, "f1", tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_injection_is_done_again_by_resume(trained, past, workspace):
    """kill -9 leaves half a model in the partial run; the same command with --resume clears it and finishes."""
    past("extract")
    record = runs.newest("extract")
    past("inject")
    done = runs.newest("inject")
    half = workspace / "runs" / ".partial" / done.id
    done.path.rename(half)
    (half / "model" / "config.json").unlink()
    unfinished = {"status": "running", "outputs": {}, "temporary": [], "publishing": []}
    manifest = json.loads((half / "manifest.json").read_text()) | unfinished
    (half / "manifest.json").write_text(json.dumps(manifest))
    assert "resuming" in past("inject", "--resume").stderr
    again = runs.newest("inject")
    assert again.id == done.id and record.id in again.parents and (again.output("model") / "config.json").is_file()


def test_work_without_the_compiled_loops_says_so_once_and_gives_the_same(past, workspace, tmp_path):
    """As where the package was built without a compiler: the extension cannot be imported."""
    base = weights()
    sft = moved(base, 1, 1e-3)
    for name, tensors in {"base": base, "sft": sft, "rl": moved(sft, 2, 1e-3), "target": moved(base, 3, 1e-3)}.items():
        write_model(tmp_path / name, tensors)
    (tmp_path / "site").mkdir()
    block = 'import sys\nsys.modules["pastcli.vectors.numbers._kernels"] = None\n'
    (tmp_path / "site" / "sitecustomize.py").write_text(block)
    slowly = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]),
        "PYTEST_COLD": "1",  # only a new interpreter reads sitecustomize
    }
    made = {}
    for folder, env in (("fast", {}), ("slow", slowly)):
        skill, out = f"{folder}.safetensors", f"{folder}-model"
        pair = ("--sft", "sft", "--rl", "rl")
        for words in (
            ("extract", *pair, "-o", skill),
            ("inject", "--vector", skill, "--target", "target", "-o", out),
            ("probe-orthogonality", "--base", "base", *pair, "--no-figures"),
        ):
            told = past(*words, env=env).stderr
            assert told.count("compiled loops") == (folder == "slow"), told
        made[folder] = (workspace / out / "model.safetensors").read_bytes()
    assert made["fast"] == made["slow"]


@pytest.mark.skipif(not arithmetic.compiled(), reason="built without a C compiler")
def test_kernels_compiled_of_other_sources_are_not_used_and_doctor_says_so(past, workspace, tmp_path):
    """As in a checkout after `git pull`, before anything was built anew."""
    shutil.copytree(ROOT / "pastcli", tmp_path / "site" / "pastcli", ignore=shutil.ignore_patterns("__pycache__"))
    theirs = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])}
    theirs["PYTEST_COLD"] = "1"  # the process that others are forked from knows where pastcli lies
    findings = past("doctor", "--fast", env=theirs).stdout
    assert re.search(r"^ok +weight kernels +compiled$", findings, re.M)
    kernels = tmp_path / "site" / "pastcli" / "vectors" / "numbers" / "kernels.c"
    kernels.write_text(kernels.read_text() + "/* tomorrow */\n")
    findings = past("doctor", "--fast", env=theirs).stdout
    assert re.search(r"^warn +weight kernels +the C sources have changed since they were compiled", findings, re.M)
    base = weights()
    for name, tensors in {"sft": base, "rl": moved(base, 2, 1e-3)}.items():
        write_model(tmp_path / name, tensors)
    told = past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors", env=theirs).stderr
    assert "the C sources have changed since they were compiled" in told and "pip install" in told
