"""`past study`: one file in, the table out; nothing trained twice, stopped anywhere and continued."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from study_tools import STUDY, a_study, another_study_that_needs_all, records

from pastcli.study.command import watched

CONTROL = """
[arms."SFT + random"]
sft = { mix = ["none"] }
add = ["rl"]
control = "random"
"""


@pytest.fixture
def study(workspace, warmed):
    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    (workspace / "study.toml").write_text(STUDY.format(base=warmed))
    return workspace


PRACTICE = """
[vectors.practice]
kind = "imitation"
[arms."SFT + practice"]
sft = { mix = ["none"] }
add = ["practice"]
"""


@pytest.mark.timeout(1200)
def test_after_a_study_a_newcomer_is_told_what_was_measured_and_what_to_ask(past, past_json, study, monkeypatch):
    """`past inspect` tells skill from practice and what each came to; `next:` asks the model that was tested, of which no run
    is left; no step on the way to a vector is taken for the newest model, also in a copy of the workspace."""
    (study / "study.toml").write_text((study / "study.toml").read_text() + PRACTICE)
    done = past("study", "run", "study.toml", timeout=1000)
    found = {one["learnt_by"]: one for one in past_json("inspect")}
    assert set(found) == {"rl", "sft"}
    results = json.loads((study / "studies" / "study" / "results.json").read_text())
    for by, arm in (("rl", "SFT + v"), ("sft", "SFT + practice")):
        (one,) = found[by]["measured"]
        effect = results["summary"]["effects"][arm]["metrics"]["f1"]
        assert (one["arm"], one["reference"], one["gain"]["mean"]) == (arm, "SFT", effect["mean"])
        assert (one["seeds"], one["gain"]["low"], one["results"]) == (1, None, "studies/study")
    shown = past("inspect").stdout
    assert "a skill, learnt by RL" in shown and "no skill but a control: learnt by SFT" in shown
    assert "one seed: no interval, no claim" in shown and "not measured" not in shown
    steps = {parent for one in found.values() for parent in past_json("runs", "show", one["run"])["parents"]}
    (target,) = (path.name for path in (study / "runs").glob("sft-*") if path.name not in steps)
    after = next(line for line in done.stderr.splitlines() if line.startswith("next: "))
    assert after == f"next: past ask --model {target} --vector {found['rl']['run']}"
    shutil.rmtree(study / "runs" / ".study" / "measured")  # as a version before this one left it
    assert "`past study run FILE --collect` does" in past("inspect").stdout
    past("study", "run", "study.toml", "--collect")
    assert past("inspect").stdout == shown
    shutil.copytree(study, study.parent / "copied")
    monkeypatch.chdir(study.parent / "copied")
    shutil.rmtree(study / "runs")
    words = ["--max-new-tokens", 4]
    assert past("ask", "Which river?", *shlex.split(after)[3:], *words).returncode == 0
    assert f"model: {target}, " in past("ask", "Which river?", *words).stderr
    assert "no claim; studies/study" in past("inspect").stdout
    assert f"target: {target}" in past("inject", "--vector", found["rl"]["run"]).stderr


@pytest.mark.timeout(1200)
def test_a_study_killed_goes_on_and_makes_nothing_twice(begin, past, study):
    """kill -9 in the middle, then again to the end; a second study with one arm more makes that arm alone."""
    with begin("study", "run", "study.toml", env={"DYING": "pastcli.study.execute:_one 1"}) as command:
        assert command.wait().returncode == -signal.SIGKILL
    first = {path.name: path.stat().st_mtime_ns for path in (study / "runs").glob("sft-*")}
    with another_study_that_needs_all(study) as (claim, nodes, store):
        begun_by_another_version(study, next(node for node in nodes if node.stage == "rl"))
        shown = past("study", "run", "study.toml", "--lean", timeout=1000).stdout
        kept = {path.name.split("-")[0] for path in (study / "runs").iterdir() if path.name[0] != "."}
        assert kept == {"sft", "rl", "extract", "inject"}, "what another study needs stays, --lean or not"
        again = past("study", "run", "study.toml", "-o", "elsewhere")
        claim.spare([node for node in nodes if node.stage == "inject"], [], store)
    assert not [path for path in (study / "runs" / ".study" / "claims").iterdir() if path.name != ".lock"]
    assert "SFT + v" in shown and "One seed is too few: no claim" in shown
    found = json.loads((study / "studies" / "study" / "results.json").read_text())
    assert set(found["arms"]) == {"SFT", "SFT + v"} and all(found["arms"].values())
    made = {path.name: path.stat().st_mtime_ns for path in (study / "runs").iterdir() if path.name != ".partial"}
    assert first.items() <= made.items() and not [name for name in made if name.startswith("inject")]
    more = (study / "study.toml").read_text() + CONTROL
    (study / "more.toml").write_text(more)
    plan = json.loads(past("study", "run", "more.toml", "--dry-run", "--json").stdout)
    assert plan["to_make"] == {"inject": 1, "answers": 1} and plan["seeds"] == [0]
    assert "7 of 7 results are here already" in again.stderr
    assert (study / "elsewhere" / "table.md").read_text() == (study / "studies" / "study" / "table.md").read_text()
    told_of_other_code(past, study)


def told_of_other_code(past, study):
    """What a checkout before a `git pull` made is taken, but never without a word; `--anew` makes it again, and it alone."""
    arm = next(
        path
        for path in (study / "runs" / ".study" / "answers").iterdir()
        if json.loads(path.read_text())["label"] == "ask SFT, seed 0"
    )
    document = json.loads(arm.read_text())
    made = document["versions"]["code"]
    arm.write_text(json.dumps(document | {"versions": document["versions"] | {"code": "0123456789ab"}}))
    told = past("study", "run", "study.toml")
    assert "1 result that is here already, another state of past's code made" in told.stderr
    assert "7 of 7 results are here already" in told.stderr and "made by 2 states of past's code" in told.stdout
    plan = json.loads(past("study", "run", "study.toml", "--anew", "--dry-run", "--json").stdout)
    assert plan["to_make"] == {"answers": 1}
    with another_study_that_needs_all(study):
        refused = past("study", "run", "study.toml", "--anew", code=1)
    assert "another study is at work here and needs ask SFT, seed 0" in refused.stderr and arm.is_file()
    again = past("study", "run", "study.toml", "--anew")
    assert "6 of 7 results are here already" in again.stderr and "another state" not in again.stderr
    assert "states of past's code" not in again.stdout
    assert json.loads(arm.read_text())["versions"]["code"] == made


def begun_by_another_version(study, node):
    """An unfinished run lies where a stage's own is to be, and is not of the same key."""
    folder = study / "runs" / ".partial" / node.name
    folder.mkdir()
    manifest = {"format": 1, "id": node.name, "stage": node.stage, "status": "running", "key": "of another version"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_stage_at_work_is_heard_of_before_it_ends(tmp_path, monkeypatch):
    """The stage here ends when, and only when, its progress was passed on."""
    log, heard, said = tmp_path / "log", tmp_path / "heard", []
    log.write_text("sft: 9/9 1:00:00 left 0:00:00  of the run before\n")
    before = log.stat().st_size
    stage = (
        "import pathlib, sys, time\n"
        "print('warning: nothing to see: left 0:00', file=sys.stderr, flush=True)\n"
        "print('sft: 58/180 0:22:54 left 0:48:32  0.04 steps/s  loss 0.7684', file=sys.stderr, flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists():\n    time.sleep(0.01)\n"
        "print('{}')\n"
    )

    def note(text):
        said.append(text)
        heard.touch()

    monkeypatch.setattr("pastcli.output.note", note)
    with open(log, "a") as errors:
        words = [sys.executable, "-c", stage, str(heard)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert watched(process, log, before, "sft target", every=0.05) == "{}\n"
    assert said == ["  sft target: 58/180 0:22:54 left 0:48:32  0.04 steps/s  loss 0.7684"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_studies_at_once_make_each_result_once_and_take_none_from_each_other(study):
    (study / "more.toml").write_text((study / "study.toml").read_text() + CONTROL)
    words = [sys.executable, "-m", "pastcli", "study", "run"]
    place = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    both = [subprocess.Popen([*words, name, "--lean"], **place) for name in ("study.toml", "more.toml")]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    one, other = (json.loads((study / "studies" / n / "results.json").read_text())["arms"] for n in ("study", "more"))
    assert one and one == {name: other[name] for name in one} and all(other.values())
    assert [path.name for path in (study / "runs").iterdir() if path.name[0] != "."] == []


def test_a_result_is_made_by_one_and_a_claim_ends_with_its_process(workspace, tiny_model):
    from pastcli.study.claims import claimed, in_turn
    from pastcli.study.graph import Graph
    from pastcli.study.store import Store

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    store = Store(workspace)
    nodes = Graph(a_study(workspace, tiny_model), store.data).nodes()
    node = nodes[0]
    run = workspace / "runs" / node.name
    run.mkdir(parents=True)
    with in_turn(node, store, []), pytest.raises(KeyboardInterrupt), in_turn(node, store, ["stopped"]):
        raise AssertionError("two at once")
    with in_turn(node, store, []):
        pass
    with claimed(nodes, store) as mine:
        with claimed([node], store):
            mine.spare([node], [], store)
            assert run.is_dir()
        killed = mine.folder / "1-dead.json"  # what kill -9 leaves: nobody holds its lock
        killed.write_text(json.dumps([node.name]))
        mine.spare([node], [], store)
        assert not run.exists() and not killed.exists()
