"""What a study has to make: names that say what decides a result, order, jobs, single passages, what may go."""

from __future__ import annotations

import json

import pytest
from study_tools import a_study, records


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
    items = {"target": [{"id": question.id} for question in graph.materials.target.questions]}
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
    failing, told = {"sft"}, []
    monkeypatch.setattr(execute.output, "warn", told.append)
    with pytest.raises(PastError, match="broken"):
        execute.make(nodes, execute.Store(workspace), 1, lambda: None)
    assert [text.endswith("what does not grow from it goes on") for text in told] == [True, True, False]
    assert "nothing more is begun after 3 failures: " in told[2] and told[2].endswith("more could be made")
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
