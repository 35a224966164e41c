"""`past study`: one file in, the table out; nothing trained twice, stopped anywhere and continued."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import QUICKSTART, ROOT
from study_tools import STUDY, records

from pastcli.errors import MismatchError, UsageError
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


@pytest.mark.parametrize(
    "results", sorted((ROOT / "docs" / "results").glob("*/results.json")), ids=lambda p: p.parent.name
)
def test_of_every_published_study_it_can_be_told_what_its_runs_were_measured_to_do(results):
    """Whatever its kind: arms of documents and of tools, factors, scales chosen by dev questions, vectors never declared."""
    from pastcli.study.measured import told

    document = json.loads(results.read_text(encoding="utf-8"))
    arms = document["study"]["arms"]
    made = {arm: {"0": {"1": {"models": ["m"], "vectors": ["v"] * len(arms[arm]["add"])}}} for arm in document["arms"]}
    found = told(document, made)
    assert any(arm["test"] for arm in found["arms"])
    assert all(name in found["vectors"] and factor for arm in found["arms"] for name, factor in arm["add"])
    assert all(len(arm["add"]) == len(arm["runs"]["0"]["vectors"]) for arm in found["arms"])


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


def begun_by_another_version(study, node):
    """An unfinished run lies where a stage's own is to be, and is not of the same key."""
    folder = study / "runs" / ".partial" / node.name
    folder.mkdir()
    manifest = {"format": 1, "id": node.name, "stage": node.stage, "status": "running", "key": "of another version"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@contextlib.contextmanager
def another_study_that_needs_all(study):
    """Somebody is at work on the same study in the same workspace."""
    from pastcli.study import load
    from pastcli.study.claims import claimed
    from pastcli.study.graph import Graph
    from pastcli.study.store import Store

    store = Store(study)
    nodes = Graph(load(study / "study.toml"), store.data).nodes()
    with claimed(nodes, store) as claim:
        yield claim, nodes, store


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


# ---------------------------------------------------------------- the file


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


# ---------------------------------------------------------------- the data


def a_study(folder, base, **changes):
    from pastcli.study import load

    text = STUDY.format(base=base)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)
    return load(folder / "study.toml")


def test_dev_held_out_and_shared_titles(workspace, tiny_model):
    from pastcli.study import data, strata

    both = records("Velmora", 8)
    (workspace / "source.json").write_text(json.dumps(both))
    (workspace / "target.json").write_text(json.dumps(both[:2] + records("Harsk", 6)))
    study = a_study(workspace, tiny_model)
    source = data.source(study, study.source, workspace / "data")
    target = data.target(study, study.target, workspace / "data")
    assert len(source.documents) == 1 and not source.titles & target.titles and len(source.titles) == 6
    seen = {json.loads(line)["id"] for line in source.practice.read_text().splitlines()}
    held = {name for name, part in source.where.items() if part == "held-out"}
    assert len(held) == 6 and not held & seen and len(seen) == 18
    assert {name for name, part in source.where.items() if part == "practised"} <= seen
    dev = {q.doc for q in target.questions if target.where[q.id] == "dev"}
    test = {q.doc for q in target.questions if target.where[q.id] == "test"}
    assert len(dev) == 2 and len(test) == 6 and not dev & test
    found = strata.strata(study, target, source)
    assert {one["template"] for one in found} == {"seen"}, "the same questions were practised"


def test_rows_of_one_question_each_are_one_document_a_passage(workspace, tiny_model):
    """Hugging Face's layout of SQuAD: `limit` counts passages, and the questions on one share its `doc`."""
    from pastcli.study import data

    nested = records("Velmora", 3)
    flat = [
        {
            "id": f"{n}-{m}",
            "title": one["title"],
            "context": one["context"],
            "question": q["question"],
            "answers": {"text": [q["answer"]]},
        }
        for n, one in enumerate(nested)
        for m, q in enumerate(one["questions"])
    ]
    (workspace / "source.json").write_text(json.dumps(flat))
    (workspace / "target.json").write_text(json.dumps(flat))
    study = a_study(workspace, tiny_model, **{"dev = 0.25": "limit = 2", "held_out = 0.25": "apart = false"})
    target = data.target(study, study.target, workspace / "data")
    assert target.counts["documents"] == 2 and target.counts["questions"] == 8
    assert [question.doc for question in target.questions] == ["velmora-0-1"] * 4 + ["velmora-1-2"] * 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who founded Velmora in 1583?", "Who founded Orrenby in 1648?", True),
        ("Who is mayor of Velmora?", "Who founded Orrenby?", False),
    ],
)
def test_a_template_is_a_question_without_its_names(one, other, same):
    from pastcli.study.strata import template

    assert (template(one) == template(other)) is same


def test_kinds_choose_augmentations(workspace):
    from pastcli.study.records import texts

    record = {"augmentations": {"base.implications": ["a", "b"], "iter1.implications": ["c"], "base.self_qa": ["d"]}}
    assert texts(record, ["*.implications:1"]) == ["a", "c"] and texts(record, ["base.*"]) == ["a", "b", "d"]


def test_documents_may_be_several_files_of_records(workspace, tiny_model):
    """`apart` and `kinds` hold over all of them; a file that nobody wrote texts about is used whole."""
    from pastcli.study import data

    written, plain = records("Velmora", 2), [*records("Orr", 3), {**records("Velmora", 1)[0], "title": "Harsk 0"}]
    for one in written:
        one["augmentations"] = {"base.implications": [f"{one['title']} is old."]}
    (workspace / "source.json").write_text(json.dumps([*written, *records("Dunmere", 1)]))
    (workspace / "pool.json").write_text(json.dumps(plain))
    (workspace / "target.json").write_text(json.dumps([{**one, "title": "Harsk 0"} for one in records("Harsk", 4)]))
    several = {'"source.json"': '["source.json", "pool.json"]\nkinds = ["base.*"]'}
    study = a_study(workspace, tiny_model, **several)
    source = data.source(study, study.source, workspace / "data")
    rows = json.loads(source.documents[0].read_text())
    assert [row["title"] for row in rows] == [one["title"] for one in [*written, *plain[:3]]]
    assert [len(row["completions"]) for row in rows] == [1, 1, 0, 0, 0] and len({row["doc"] for row in rows}) == 5


def test_tables_do_not_keep_the_next_stages_waiting(monkeypatch):
    from pastcli.study import run

    clock, written = iter([0.0, 2.0, 3.0, 19.9, 20.0, 21.0]), []
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    sparing = run.sparing(lambda: written.append(1))
    for _ in range(4):  # at 0 (it takes two seconds), 3, 19.9 and 20
        sparing()
    assert len(written) == 2


# ---------------------------------------------------------------- the graph


@pytest.mark.parametrize("card", [False, True])
def test_the_time_left_is_of_this_machine_and_of_stages_side_by_side(tmp_path, monkeypatch, card):
    """Seen on a card: "about 50 h 52 min left" of ten minutes, told by the speed of two cores, one stage after the other."""
    from pastcli.config import RlConfig, SftConfig
    from pastcli.study import times
    from pastcli.study.node import Node
    from pastcli.study.store import Store

    monkeypatch.setattr(times, "has_card", lambda: card)
    store, rates = Store(tmp_path), times.CARD if card else times.PROCESSORS
    made = Node("sft", SftConfig(seed=9), (), 9000.0, "made")
    left = [Node("sft", SftConfig(seed=1), (), 9000.0, "sft"), Node("rl", RlConfig(), (), 9000.0, "rl")]
    alone = [times.FIXED + 9000 / rates[node.stage] for node in left]
    assert times.remaining(left, left, store, 1) == pytest.approx(sum(alone))
    assert times.remaining(left, left, store, 4) == pytest.approx(sum(alone) / (4 if card else 1))
    monkeypatch.setattr(Store, "done", lambda self, node: node is made)
    monkeypatch.setattr(Store, "seconds", lambda self, node: 90.0 + times.FIXED / 2)
    side_by_side = (times.FIXED + 90) / 4 + alone[1] / (4 if card else 1)
    assert times.remaining(left, [made, *left], store, 4) == pytest.approx(side_by_side)


def test_a_node_is_named_by_what_decides_its_result(workspace, tiny_model):
    from pastcli.study.graph import Graph

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))

    def names(folder, **changes):
        graph = Graph(a_study(workspace, tiny_model, **changes), workspace / folder)
        return {(one.arm, node.stage, node.label): node.name for one in graph.asked for node in one.node.all()}

    base = names("data")
    assert names("another place") == base, "where the files lie does not matter"
    longer = names("data", **{"steps = 2": "steps = 3"})
    assert {key[1] for key in base if base[key] != longer[key]} == {"rl", "extract", "inject", "answers"}
    assert base["SFT", "answers", "ask SFT, seed 0"] == longer["SFT", "answers", "ask SFT, seed 0"]
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4) + records("Orr", 1)))
    grown = names("data")
    assert {key[1] for key in base if base[key] != grown[key]} == {"sft", "inject", "answers"}
    assert base["SFT + v", "rl", "rl rl, seed 0"] == grown["SFT + v", "rl", "rl rl, seed 0"]
    assert set(names("data", **{"seeds = [0]": "seeds = [1]"}).values()).isdisjoint(grown.values())


NAMED_BY = {
    "ingest": "implication_sets max_chars max_file_mb min_chars",
    "sft": "alpha augment batch_tokens clip dev_every epochs gradient_checkpointing lr max_length method mix optimizer patience "
    "precision rank schedule sharding step_tokens trainer warmup watchdog",
    "rl": "batch_tokens alpha clip dev_every gradient_checkpointing loss lr max_new_tokens method num_generations optimizer "
    "patience precision prompts_per_step rank reward rollouts schedule sharding steps temperature trainer vllm_memory "
    "vllm_tensor_parallel warmup watchdog",
    "extract": "",
    "inject": "control density dtype merge rounding scale ties_density",
    "eval": "backend batch_size confidence max_new_tokens precision resamples",
}


@pytest.mark.parametrize("stage", NAMED_BY)
def test_new_settings_rename_no_result_made_before(stage):
    """A setting that is on by default and decides nothing here must be listed in node.IDLE, or hours are trained again."""
    from pastcli import config
    from pastcli.study.node import _settings

    named = _settings(config.STAGES[stage](), tools=False)
    assert sorted(named) == sorted(NAMED_BY[stage].split())
    assert named.get("batch_tokens", 1000) == 1000, (
        "chosen by the card's memory, and named as it was: it decides nothing"
    )


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
    asked = {question.question for question in graph.target.questions}
    assert chosen_by.count("\n") == 4 and graph.target.counts["validation"] == 4 and len(graph.target.questions) == 12
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
        assert kept == {"sft", "rl", "extract", "inject"}, "what another study needs stays, --lean or not"
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


def test_single_passages_have_a_model_each_and_one_row_of_the_table(workspace, tiny_model):
    from pastcli.study.graph import Graph
    from pastcli.study.run import collect
    from pastcli.study.store import Store

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    study = a_study(workspace, tiny_model, **{"dev = 0.25": "dev = 0.25\nsingle = true"})
    graph, store = Graph(study, workspace / "data"), Store(workspace)
    plain = [one for one in graph.asked if one.arm == "SFT"]
    models = {dict(one.node.inputs)["model"].key for one in plain}
    assert len(plain) == len(models) == 4 and len({node.key for node in graph.nodes() if node.stage == "rl"}) == 1
    texts = [dict(dict(one.node.inputs)["model"].inputs)["documents"].read_text() for one in plain]
    assert all(text.count("\n") == 1 and str(workspace) not in text for text in texts)
    items = {"target": [{"id": question.id} for question in graph.target.questions]}
    store.answers.mkdir(parents=True)
    for number, one in enumerate(plain):
        assert collect(graph, store, items)["SFT"] == {}, "not before all documents are there"
        asked = [json.loads(line) for line in dict(one.node.inputs)["questions"].read_text().splitlines()]
        columns = {"prediction": "x", "exact": 0.0, "contains": 0.0, "f1": number / 4, "tokens": 1, "finish": "stop"}
        rows = [{"id": row["id"], **columns} for row in asked]
        told = {"seconds": 1.0, "injection": {"norm": None}, "retained": {"kl": float(number)}, "answers": rows}
        store.answers_of(one.node).write_text(json.dumps(told))
    whole = collect(graph, store, items)["SFT"]["0"]["1"]
    assert whole["answers"]["f1"] == [number / 4 for number in range(4) for _ in range(4)]
    assert whole["retained"] == {"kl": 1.5} and whole["injection"] == {"norm": None}


def test_parents_come_first_jobs_are_kept_to_and_a_failure_lets_the_others_end(workspace, tiny_model, monkeypatch):
    import threading

    from pastcli.errors import PastError
    from pastcli.study import execute
    from pastcli.study.graph import Graph

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    nodes = Graph(a_study(workspace, tiny_model, **{"seeds = [0]": "seeds = [0, 1, 2]"}), workspace / "data").nodes()
    made, tried, busy, most, lock = [], [], [0], [0], threading.Condition()

    def one(node, store):
        with lock:
            tried.append(node.stage)
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            assert all(parent.key in made for parent in node.parents)
            lock.notify_all()
            lock.wait_for(lambda: most[0] == 2, 60)
        with lock:
            busy[0] -= 1
            if (node.stage, node.label) in failing or node.stage in failing:
                raise PastError("broken", "mend it")
            made.append(node.key)

    monkeypatch.setattr(execute, "_one", one)
    failing, written = set(), []
    execute.make(nodes, execute.Store(workspace), 2, lambda: written.append(len(made)))
    assert sorted(made) == sorted(node.key for node in nodes) and most[0] == 2 and len(written) == 6
    made.clear()
    bad = next(node for node in nodes if node.stage == "rl")
    failing = {("rl", bad.label)}
    with pytest.raises(PastError, match="broken"):
        execute.make(nodes, execute.Store(workspace), 2, lambda: None)
    assert sorted(made) == sorted(node.key for node in nodes if bad not in node.all()), "the other seeds go on"
    made.clear()
    tried.clear()
    failing = {"sft"}
    with pytest.raises(PastError, match="broken"):
        execute.make(nodes, execute.Store(workspace), 1, lambda: None)
    assert busy[0] == 0 and tried.count("sft") == execute.PATIENCE and not made, (
        "a full disk is not tried for every seed"
    )


def test_what_nothing_needs_any_more_is_removed(workspace, tiny_model):
    from pastcli.study.execute import spared
    from pastcli.study.graph import Graph

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    (workspace / "target.json").write_text(json.dumps(records("Harsk", 4)))
    graph = Graph(a_study(workspace, tiny_model), workspace / "data")
    plain, skilled = (one.node for one in graph.asked)
    stages = lambda node, others, lean: sorted(one.stage for one in spared(node, others, lean))  # noqa: E731
    assert stages(skilled, [], False) == ["inject"] and stages(plain, [skilled], False) == []
    assert stages(skilled, [], True) == ["extract", "inject", "rl", "sft", "sft"]
    inject = skilled.parents[0]
    assert stages(plain, [skilled, inject], True) == [], "the injection still needs the SFT model"


# ---------------------------------------------------------------- the numbers


def results(gains, seeds=5, docs=12, per=4, arms=None, rng_seed=0):
    """A results document: SFT at random, each arm better by its gain (0 to 1 of the wrong answers turned right)."""
    rng = np.random.default_rng(rng_seed)
    items = [
        {
            "id": f"{d}-{q}",
            "question": "?",
            "answers": ["x"],
            "doc": f"d{d}",
            "part": "test" if d else "dev",
            "template": "new",
            "stated": "often" if d % 2 else "rarely",
        }
        for d in range(docs + 1)
        for q in range(per)
    ]
    hard = np.repeat(rng.random(docs + 1), per)
    arms = arms or {}
    names = {"SFT": 0.0, **gains}
    found = {name: {} for name in names}
    for seed in range(seeds):
        sft = (rng.random(len(items)) < 0.3 * hard).astype(float)
        for name, gain in names.items():
            got = np.where(rng.random(len(items)) < gain, 1.0, sft)
            columns = {m: got.tolist() for m in ("exact", "contains", "f1")}
            columns |= {
                "prediction": ["x" if right else "y" for right in got],
                "tokens": [3] * len(items),
                "finish": ["stop"] * len(items),
            }
            found[name][str(seed)] = {"1": {"injection": {}, "answers": columns}}
    base = {"about": "target", "model": "sft", "scale": 1.0, "control": "none", "against": "", "test": True}
    told = {name: {**base, "test": name != "SFT", **arms.get(name, {})} for name in names}
    return {
        "title": "made up",
        "study": {"arms": told, "reference": "SFT", "seeds": list(range(seeds))},
        "items": {"target": items},
        "arms": found,
    }


def test_an_effect_is_a_mean_over_seeds_of_differences_within_seeds():
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.3, "SFT + nothing": 0.0})
    summary = summarise(document)
    test = [i for i, item in enumerate(document["items"]["target"]) if item["part"] == "test"]
    by_seed = []
    for seed in range(5):
        columns = [np.array(document["arms"][arm][str(seed)]["1"]["answers"]["f1"])[test] for arm in ("SFT + v", "SFT")]
        by_seed.append((columns[0] - columns[1]).mean())
    one = summary["effects"]["SFT + v"]["metrics"]["f1"]
    assert one["mean"] == pytest.approx(np.mean(by_seed))
    half = 2.7764451 * np.std(by_seed, ddof=1) / 5**0.5  # t of 4 degrees of freedom
    assert (one["low"], one["high"]) == pytest.approx((one["mean"] - half, one["mean"] + half))
    assert one["p"] == max(one["p_seeds"], one["p_documents"]) and one["p_holm"] == pytest.approx(2 * one["p"])
    assert summary["effects"]["SFT + nothing"]["metrics"]["f1"]["mean"] == 0.0
    assert summary["strata"]["SFT + v"]["stated: often"]["questions"] == 24
    assert summary["scores"]["SFT"]["documents"] == 12 and summary["scores"]["SFT"]["questions"] == 48


def test_the_level_of_a_model_that_was_not_trained_has_no_interval_over_seeds():
    """The base answers the same at every seed: five copies of one number are no sample, and [x, x] is no interval."""
    from pastcli.study import report
    from pastcli.study.effects import summarise

    document = results({"base": 0.1, "base + v": 0.3}, arms={"base": {"model": "base"}, "base + v": {"add": ["rl"]}})
    summary = summarise(document)
    base, added = summary["scores"]["base"], summary["scores"]["base + v"]
    assert base["f1"]["low"] is None and len(base["f1"]["by_seed"]) == 1 and report.seeds_of(base) == "any"
    assert added["f1"]["low"] is not None and report.seeds_of(added) == "5"
    assert len(summary["effects"]["base"]["metrics"]["f1"]["by_seed"]) == 5, "SFT differs by seed, so does the effect"


def test_the_sentence_says_what_the_numbers_carry_and_no_more():
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    arms = {"SFT + random": {"control": "random", "test": False}}
    document = results({"SFT + v": 0.3, "SFT + w": 0.0, "SFT + random": 0.0}, arms=arms)
    said = {text.split(":")[0]: text for text in sentences(document, summarise(document))}
    assert "A gain is shown on contains and F1" in said["SFT + v"]
    assert "No gain is shown" in said["SFT + w"]
    assert "within 1 point of zero" in said["Control SFT + random"]
    del document["arms"]["SFT + w"]["4"]
    document["arms"]["SFT + random"] = {}
    said = sentences(document, summarise(document))
    assert "Not finished: SFT + w (4 of 5 seeds)." in said and "Declared and not run: SFT + random." in said
    alone = results({"SFT + v": 0.5}, seeds=1)
    assert "no claim" in sentences(alone, summarise(alone))[0]


def test_a_gain_of_one_lucky_seed_or_one_document_is_no_claim():
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.0})
    columns = document["arms"]["SFT + v"]["0"]["1"]["answers"]
    columns["f1"] = [1.0] * len(columns["f1"])
    assert summarise(document)["effects"]["SFT + v"]["metrics"]["f1"]["p"] > 0.2
    document = results({"SFT + v": 0.0})
    for seed in range(5):
        columns = document["arms"]["SFT + v"][str(seed)]["1"]["answers"]
        columns["f1"] = [1.0 if 4 <= i < 8 else value for i, value in enumerate(columns["f1"])]
    assert summarise(document)["effects"]["SFT + v"]["metrics"]["f1"]["p"] > 0.2


def test_the_source_is_asked_by_what_was_practised_and_what_was_held_out():
    from pastcli.study.effects import summarise

    document = results({"source: v": 0.0}, arms={"source: v": {"about": "source", "against": "source: SFT"}})
    document["items"]["source"] = [
        {**item, "part": "practised" if i % 2 else "held-out"} for i, item in enumerate(document["items"]["target"])
    ]
    document["arms"]["source: SFT"] = json.loads(json.dumps(document["arms"]["source: v"]))
    document["study"]["arms"]["source: SFT"] = {**document["study"]["arms"]["source: v"], "against": "", "test": False}
    for scales in document["arms"]["source: v"].values():
        answers = scales["1"]["answers"]
        answers["f1"] = [
            1.0 if i % 2 else value for i, value in enumerate(answers["f1"])
        ]  # what RL practised, and no more
    strata = summarise(document)["strata"]["source: v"]
    assert strata["part: practised"]["f1"]["mean"] > 0.5 and strata["part: held-out"]["f1"]["mean"] == 0.0
    assert "source: SFT" not in summarise(document)["effects"], "SFT is asked other questions"


def test_a_scale_is_chosen_on_dev_questions_alone():
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.0}, arms={"SFT + v": {"scale": [0.5, 1.0]}})
    for scales in document["arms"]["SFT + v"].values():
        scales["0.5"] = json.loads(json.dumps(scales["1"]))
        scales["1"]["answers"]["f1"] = [0.0] * 4 + [1.0] * 48  # best on the test questions, worst on dev
        scales["0.5"]["answers"]["f1"] = [1.0] * 4 + [0.0] * 48
    summary = summarise(document)
    assert summary["scales"]["SFT + v"]["scale"] == "0.5" and summary["scores"]["SFT + v"]["f1"]["mean"] == 0.0


def test_against_the_better_of_two_is_the_harder_claim():
    from pastcli.study.effects import summarise

    document = results({"a": 0.1, "b": 0.5, "v": 0.3}, arms={"v": {"against": "a|b"}})
    assert summarise(document)["effects"]["v"]["metrics"]["f1"]["against"] == "b"


def test_the_table_and_the_json_agree(tmp_path):
    from pastcli.study import report
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.3})
    document["summary"] = {**summarise(document), "sentences": ["So."]}
    document["study"] |= {
        "base": "smol",
        "overlap": {"titles": 0, "templates_seen": 0, "questions": 52},
        "source": {"counts": {"documents": 3, "questions": 9}},
        "target": {"counts": {"documents": 13}},
        "settings": {
            "sft": {"epochs": 2.0, "lr": 1e-4},
            "rl": {"steps": 2, "prompts_per_step": 3, "num_generations": 4, "max_new_tokens": 4, "lr": 1e-3},
        },
    }
    document |= {"seconds": {"sft": 1.0}, "versions": {"past": "0"}, "machine": {"platform": "here"}}
    report.write(document, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(document))
    one = document["summary"]["effects"]["SFT + v"]["metrics"]["f1"]
    assert f"{one['mean']:+.3f} [{one['low']:+.3f}" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "effects.png").stat().st_size > 1000
    again = report.refreshed(tmp_path / "results.json")
    assert again["summary"]["effects"]["SFT + v"] == document["summary"]["effects"]["SFT + v"]
    forged = json.loads((tmp_path / "results.json").read_text())
    forged["arms"]["SFT + v"]["0"]["1"]["answers"]["f1"][5] += 0.5
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    with pytest.raises(MismatchError, match="not what its prediction earns"):
        report.refreshed(tmp_path / "forged.json")
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    made = report.into(page, [("r.json", document)])
    assert made.startswith("before") and made.endswith("after") and "old" not in made and "## made up" in made
    assert report.into(made, [("r.json", document)]) == made
    with pytest.raises(UsageError, match="no place"):
        report.into("nothing", [])


def test_the_results_of_the_repository_are_what_their_items_say():
    """docs/RESULTS.md holds exactly what `past study report` makes of the JSON beside it."""
    from pastcli.study import report

    page = (ROOT / "docs" / "RESULTS.md").read_text()
    files = sorted((ROOT / "docs" / "results").glob("*/results.json"))
    studies = [(str(file.relative_to(ROOT / "docs")), report.refreshed(file)) for file in files]
    assert report.into(page, studies) == page


# ---------------------------------------------------------------- the quickstart's data


def test_the_quickstart_target_shares_no_question_template_with_the_source():
    """The mirrored documents do, and are a stratum of their own: 44 of their 96 questions occur word for word."""
    from pastcli.ingest import read_questions
    from pastcli.study.strata import template, templates

    source = read_questions(QUICKSTART / "source_questions.jsonl")
    target = read_questions(QUICKSTART / "target_questions.jsonl")
    mirrored = read_questions(QUICKSTART / "mirrored_questions.jsonl")
    seen = templates(source)
    assert len(target) == 96 == len(mirrored) and len({question.doc for question in target}) == 12
    assert not seen & templates(target)
    assert sum(template(question.question, question.doc) in seen for question in mirrored) >= 44
    bags = [set(text.split()) for text in seen]
    close = [
        max(len(words & bag) / len(words | bag) for bag in bags)
        for words in (set(t.split()) for t in templates(target))
    ]
    assert max(close) < 0.75 and np.mean(close) < 0.45, "nor nearly one"


def test_the_quickstart_answers_stand_in_their_documents():
    from pastcli import qa
    from pastcli.ingest import read_documents, read_questions

    for part in ("source", "target", "mirrored"):
        texts = {}
        for passage in read_documents([QUICKSTART / "docs" / part]):
            texts[passage.doc] = texts.get(passage.doc, "") + " " + qa.normalize(passage.text)
        for question in read_questions(QUICKSTART / f"{part}_questions.jsonl"):
            assert any(qa.contains(texts[question.doc], [answer]) for answer in question.answers), question.id


def test_every_study_file_of_the_repository_can_be_read():
    from pastcli.study import load
    from pastcli.study.tools import spec

    files = list((ROOT / "examples" / "studies").glob("*.toml"))
    assert len(files) >= 5
    assert all((spec.load if spec.is_of_tools(file) else load)(file).arms for file in files)


def test_the_levers_are_turned_one_at_a_time():
    """Every vector starts from a model with the same answer format as the targets: else the format would be a second lever."""
    from pastcli.study import load
    from pastcli.study.spec import added

    study = load(ROOT / "examples" / "studies" / "squad_levers.toml")
    used = {name for arm in study.arms.values() for name, _ in added(arm)}
    formats = {tuple(study.stage("sft", study.vectors[name].sft).mix) for name in used}
    assert len(used) >= 8 and formats == {("qa",)}
    assert {tuple(study.stage("sft", arm.sft).mix) for arm in study.arms.values()} == {("qa",)}


def test_a_model_of_one_document_learns_what_the_model_of_all_learns_of_it(workspace, tiny_model):
    """Headings, code and tables too: what they are stands beside the text, and goes with it."""
    from pastcli.ingest import read_documents, training_texts
    from pastcli.study import data

    (workspace / "source.json").write_text(json.dumps(records("Velmora", 3)))
    folder = workspace / "docs"
    folder.mkdir()
    (folder / "mill.md").write_text("# Mill\n\n## Its wheel\n\nIt turns.\n\n```\nturn(\n    1)\n```\n")
    (workspace / "q.jsonl").write_text(json.dumps({"question": "What turns?", "answer": "wheel", "doc": "mill"}) + "\n")
    changes = {'documents = "target.json"\ndev = 0.25': 'documents = "docs"\nquestions = "q.jsonl"\nsingle = true'}
    study = a_study(workspace, tiny_model, **changes)
    whole = data.target(study, study.target, workspace / "data")
    [one] = data.singles(study, whole, workspace / "data")
    learnt = training_texts(read_documents(one.documents))
    assert learnt == training_texts(read_documents(whole.documents)) and "Mill\nIts wheel\nturn(\n    1)" in learnt
    assert str(workspace) not in one.documents[0].read_text()
