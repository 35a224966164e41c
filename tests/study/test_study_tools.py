"""A study of tools, through the real commands on a tiny model; and what its figures may say, on invented answers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from pastcli.study.tools import effects, report

ARMS = """
[arms."know-nothing"]
model = "know-nothing"
[arms.base]
model = "base"
[arms.SFT]
[arms."SFT + imitation"]
add = ["imitation"]
[arms."SFT + format"]
add = ["format"]
[arms."SFT + random"]
add = ["imitation"]
control = "random"
"""

STUDY = """
title = "Tiny tools"
base = "tiny"
seeds = [0]
[tools]
files = ["tools.json"]
source = ["Books"]
target = ["Birds"]
unrelated = ["Boats"]
[lessons]
prompt = "brief"
observation_chars = 120
examples = 1
queries = 2
test_queries = 1
wordings = 1
shown = 2
[sft]
epochs = 1
max_length = 2048
[imitation]
epochs = 1
max_length = 2048
[format]
epochs = 1
max_length = 2048
[rl]
steps = 1
prompts_per_step = 2
num_generations = 2
max_turns = 2
turn_tokens = 8
[agent]
max_turns = 2
max_new_tokens = 8
parallel = 4
[eval]
max_new_tokens = 4
"""


def api(category, tool, name, parameter):
    return {
        "category_name": category,
        "tool_name": tool,
        "api_name": name,
        "api_description": "",
        "required_parameters": [{"name": parameter, "type": "STRING", "description": "", "default": ""}],
        "optional_parameters": [],
        "method": "GET",
        "template_response": {"title": "str", "stock": "int"},
    }


@pytest.fixture
def folder(tmp_path, make_tiny):
    rows = [
        api("Books", "Lib", "Loan", "isbn"),
        api("Books", "Press", "Page", "no"),
        api("Birds", "Eye", "See", "sort"),
        api("Birds", "Ear", "Hear", "song"),
        api("Boats", "Quay", "Berth", "hull"),
    ]
    entries = [{"query": f"q{n}", "query_id": n, "api_list": [row], "relevant APIs": []} for n, row in enumerate(rows)]
    (tmp_path / "tools.json").write_text(json.dumps(entries))
    make_tiny(tmp_path / "tiny", max_position_embeddings=4096)
    (tmp_path / "study.toml").write_text(STUDY + ARMS)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_file_and_one_command_give_every_arm_its_figures(past, past_json, folder):
    plan = past_json("study", "run", "study.toml", "--dry-run")
    assert plan["to_make"]["sft"] == 4 and plan["source"]["categories"] == ["Books"]
    summary = past_json("study", "run", "study.toml", timeout=1700)
    document = json.loads((folder / "studies" / "study" / "results.json").read_text())
    arms = document["arms"]
    assert set(arms) == {"base", "SFT", "SFT + imitation", "SFT + format", "SFT + random", "know-nothing"}
    for arm, seeds in arms.items():
        assert len(seeds["0"]["figures"]) == len(document["items"]) > 0, arm
        assert (arm == "know-nothing") or seeds["0"]["retained"], arm
    assert set(summary["levels"]["SFT"]) >= {"first_call_recall", "sopr_rules", "sopr_reference", "schema_recall"}
    assert summary["levels"]["know-nothing"]["sopr_reference"]["mean"] == 0.0
    assert document["compute"]["imitation source, seed 0"]["tokens"] > 0
    assert {item["category"] for item in document["items"]} == {"Birds"}
    table = (folder / "studies" / "study" / "table.md").read_text()
    assert "By category" in table and "SFT + imitation" in table and str(folder) not in json.dumps(document["study"])
    assert past_json("study", "run", "study.toml", "--dry-run")["to_make"] == {}
    (folder / "R.md").write_text("<!-- studies: made by `past study report`, do not edit -->\n<!-- studies: end -->\n")
    past("study", "report", folder / "studies" / "study" / "results.json", "--into", folder / "R.md")
    assert "Tiny tools" in (folder / "R.md").read_text()


def test_the_default_arms_are_trained_as_the_method_says(folder, monkeypatch):
    """K = 1: RL on the source's queries from its SFT; K = 2: distill; the upper bound: RL on the target's own queries."""
    from pastcli.study.tools.graph import Graph
    from pastcli.study.tools.spec import load

    monkeypatch.chdir(folder)
    (folder / "study.toml").write_text(STUDY)
    graph = Graph(load(folder / "study.toml"), folder / "data")
    made = {one.arm: one.node for one in graph.asked}
    data = graph.data

    def trained(arm, stage):
        return [dict(node.inputs) for node in made[arm].all() if node.stage == stage]

    assert trained("SFT", "rl") == [] and [one["documents"] for one in trained("SFT", "sft")] == [data.target.corpus]
    [rl] = trained("SFT + v", "rl")
    assert rl["tools"] == data.source.queries and dict(rl["sft"].inputs)["documents"] == data.source.corpus
    [upper] = trained("RL on the target", "rl")
    assert upper["tools"] == data.target.queries and dict(upper["sft"].inputs)["documents"] == data.target.corpus
    assert trained("SFT + v (K = 2)", "distill")[0]["tools"] == data.source.queries
    assert {one["documents"] for one in trained("SFT + format", "sft")} == {data.target.corpus, data.format}
    tests = {dict(node.inputs)["tests"] for node in made.values()}
    assert tests == {data.target.tests} and data.target.tests not in {data.target.queries, data.source.queries}


def test_the_form_alone_can_come_from_unrelated_tools(folder, monkeypatch):
    """Then a model has only read about its own APIs: not one run of theirs is in what any SFT learns."""
    from pastcli.study.tools.graph import Graph
    from pastcli.study.tools.spec import load

    monkeypatch.chdir(folder)
    text = STUDY.replace('["Boats"]', '["Boats"]\nform = true').replace(
        "[lessons]", '[lessons]\nkinds = ["card", "required"]'
    )
    (folder / "study.toml").write_text(text)
    graph = Graph(load(folder / "study.toml"), folder / "data")
    [rounds] = {node.key: dict(node.inputs) for node in graph.nodes() if node.stage == "distill"}.values()
    assert rounds["documents"] == graph.data.format, "the rounds of a distillation learn it too"
    (folder / "study.toml").write_text(text + ARMS)
    graph = Graph(load(folder / "study.toml"), folder / "data")
    sft = [node for node in graph.nodes() if node.stage == "sft" and node.label.startswith("sft ")]
    assert len(sft) == 2
    for node in sft:
        files = [path for role, path in node.inputs if role == "documents"]
        assert files == [files[0], graph.data.format]
        own, form = (path.read_text() for path in files)
        assert '"parts"' not in own and '"parts"' in form and "berth_for_quay" in form
        assert not any(name in form for name in ("loan_for_lib", "see_for_eye"))


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ('target = ["Birds"]', 'target = ["Books"]', 3, "Books is a category of the source and of the target"),
        ('unrelated = ["Boats"]', 'unrelated = ["Birds"]', 3, "Birds"),
        ('target = ["Birds"]', 'target = ["Bird"]', 2, "Bird"),
        ("[agent]", '[agent]\nprompt = "full"', 2, "prompt of [agent] is full"),
        ("[lessons]", "[lesons]", 2, "lessons"),
        ('add = ["imitation"]', 'add = ["imitaton"]', 2, "imitation"),
        ('unrelated = ["Boats"]', "", 2, "unrelated"),
        ("tools.json", "nothing.json", 2, "nothing.json"),
        ('unrelated = ["Boats"]', "form = true", 2, "unrelated"),
    ],
)
def test_a_study_file_is_refused_before_anything_runs(past, folder, old, new, code, said):
    text = (STUDY + ARMS).replace(old, new)
    assert text != STUDY + ARMS
    (folder / "study.toml").write_text(text)
    assert said in past("study", "run", "study.toml", code=code).stderr
    assert not (folder / "studies").exists()


def test_a_program_that_takes_no_tokens_says_nothing_of_the_speed_of_models(tmp_path):
    """Found by running it: the know-nothing program made the first measured rate 0, and the estimate divided by it."""
    from pastcli.config import AgentConfig
    from pastcli.study.node import Node
    from pastcli.study.store import Store
    from pastcli.study.times import assumed, estimate, rates_of

    program, model = (Node("answers", AgentConfig(seed=n), (), work, "ask") for n, work in enumerate((0.0, 700.0)))
    store = Store(tmp_path)
    store.answers.mkdir(parents=True)
    store.answers_of(program).write_text(json.dumps({"seconds": 100.0}))
    rates = rates_of([program, model], store)
    assert rates == assumed(store.base_bytes) and estimate(model, rates) > 0


# ---------------------------------------------------------------- what the figures may say

QUERIES = [{"id": f"q{n}", "query": "", "category": "AB"[n % 2], "tool": f"t{n}"} for n in range(12)]


def row(item, recall, rules, reference):
    verdict = {1.0: "Solved", 0.0: "Unsolved"}
    return {
        "query": item["id"],
        "attempt": 0,
        "status": "finished",
        "verdict": verdict[rules],
        "also": {"reference": verdict[reference]},
        "turns": 2,
        "calls": 1,
        "valid_calls": 1,
        "hallucinated_calls": 0,
        "malformed_turns": 0,
        "right_function": 1.0,
        "first_call_recall": recall,
        "first_call_f1": recall,
        "first_call_valid": recall,
        "argument_grounding": 1.0,
    }


def entry(gain):
    """gain: (recall, rules, reference) of every query, as a function of its place."""
    return {"figures": [row(item, *gain(n)) for n, item in enumerate(QUERIES)], "recall": [], "retained": None}


def document(**arms):
    test = {"against": "", "test": True, "control": "none"}
    kinds = {"SFT": {**test, "test": False}, "SFT + random": {**test, "test": False, "control": "random"}}
    settings = {
        "sft": {"epochs": 1, "lr": 1e-4},
        "agent": {"prompt": "brief", "max_turns": 3},
        "rl": {"steps": 1, "prompts_per_step": 2, "num_generations": 2, "lr": 1e-5},
    }
    side = {
        "categories": ["A"],
        "apis": 1,
        "tools": 1,
        "queries": 1,
        "test_queries": 1,
        "recall": 0,
        "named_in_query": None,
    }
    return {
        "title": "T",
        "items": copy.deepcopy(QUERIES),
        "asked": [],
        "compute": {},
        "versions": {"past": "0"},
        "machine": {"platform": "x"},
        "study": {
            "seeds": [0, 1, 2],
            "reference": "SFT",
            "base": "b",
            "settings": settings,
            "source": side,
            "target": side,
            "arms": {arm: kinds.get(arm, test) for arm in arms},
        },
        "arms": {arm: {str(seed): entry(gain) for seed in range(3)} for arm, gain in arms.items()},
    }


def spread(share):
    return lambda n: (float(n < 12 * share),) * 3


def test_a_gain_on_every_figure_is_shown_and_a_control_at_zero_is_nil():
    made = report.with_summary(document(**{"SFT": spread(0), "SFT + v": spread(0.75), "SFT + random": spread(0)}))
    told = "\n".join(made["summary"]["sentences"])
    assert "A gain is shown on first-call recall and SoPR rules and SoPR reference" in told and "ten points" in told
    assert "within one point of zero" in told
    effect = made["summary"]["effects"]["SFT + v"]["first_call_recall"]
    assert effect["mean"] == 0.75 and effect["tools"] == 12 and effect["p_holm"] >= effect["p"] > 0
    assert "| SFT + v |" in report.markdown(made)


def test_a_study_of_tools_ends_with_a_sentence_of_its_own_figure():
    from pastcli.verdict import experimented

    gained = report.with_summary(document(**{"SFT": spread(0), "SFT + v": spread(0.75)}))
    said = experimented(gained, "s.toml").judgement
    assert said == "SFT + v has first-call recall 0.750 where SFT has 0.000, over 3 seeds: a gain"
    nothing = report.with_summary(document(**{"SFT": spread(0.5), "SFT + v": spread(0.5)}))
    assert "no gain is shown" in experimented(nothing, "s.toml").judgement


def test_a_judge_that_was_bought_is_called_so():
    bought = {"SFT": lambda n: (0.0, 0.0, 0.0), "SFT + v": lambda n: (0.0, float(n < 10), 0.0)}
    told = "\n".join(report.with_summary(document(**bought))["summary"]["sentences"])
    assert "the judge may have been bought" in told and "A gain is shown on SoPR rules and none" in told


def test_naming_more_is_not_called_knowing_more():
    """All that an API may require, named at once, has a first-call recall of 1 and is accepted nowhere."""
    made = document(**{"SFT": spread(0), "SFT + v": lambda n: (float(n < 10), 0.0, 0.0)})
    assert "A gain is shown on first-call recall; of ten points" in "\n".join(
        report.with_summary(made)["summary"]["sentences"]
    )
    for row in (row for entry in made["arms"]["SFT + v"].values() for row in entry["figures"]):
        row["first_call_f1"] = 0.0
    told = "\n".join(report.with_summary(made)["summary"]["sentences"])
    assert "none on first-call F1 (+0.000 [+0.000, +0.000])" in told and "not more of them known" in told
    from pastcli.verdict import experimented

    said = experimented(report.with_summary(made), "s.toml").judgement
    assert said.endswith(
        ": a gain, in recall alone: its first-call F1, which counts what was named and is no parameter, shows none"
    )


def test_a_figure_that_an_older_version_did_not_have_is_told_of_no_arm():
    """Nor of those seeds alone that have it."""
    made = document(**{"SFT": spread(0), "SFT + v": spread(0.75)})
    for row in made["arms"]["SFT + v"]["1"]["figures"]:
        del row["first_call_f1"]
    summary = report.with_summary(made)["summary"]
    assert "first_call_f1" in summary["levels"]["SFT"] and "first_call_f1" not in summary["levels"]["SFT + v"]
    assert "first_call_f1" not in summary["effects"]["SFT + v"] and "first_call_recall" in summary["effects"]["SFT + v"]
    for row in (row for entry in made["arms"]["SFT"].values() for row in entry["figures"]):
        del row["first_call_f1"]
    assert "first-call F1" not in report.markdown(report.with_summary(made))


def test_the_table_says_what_guessing_earns(folder, monkeypatch):
    """Of five APIs that each require another parameter, those of the source are none of the target's: a guess has 0."""
    from pastcli.study.tools.data import materials
    from pastcli.study.tools.spec import load

    rows = json.loads((folder / "tools.json").read_text())
    rows[2]["api_list"][0]["required_parameters"] += rows[0]["api_list"][0]["required_parameters"]  # See(sort, isbn)
    (folder / "tools.json").write_text(json.dumps(rows))
    counts = materials(load(folder / "study.toml"), folder / "data").target.counts
    # One of two required, of `isbn` and `no`; of Hear(song) nothing: (1/2 + 0) / 2, and F1 of 1/2 and 1/2.
    assert counts["guess"] == {"names": 2, "first_call_recall": 0.25, "first_call_f1": 0.25}
    made = document(SFT=spread(0))
    assert "A guess" not in report.markdown(report.with_summary(made))
    made["study"]["target"] = {**made["study"]["target"], "guess": counts["guess"]}
    told = report.markdown(report.with_summary(made))
    assert "with all 2 parameters of the source's APIs has first-call recall 0.250 and F1 0.250" in told


def test_arms_that_cannot_be_compared_are_said_to_be_so():
    """Where no API requires anything and no judge can grade, there is nothing to claim: it ended as "unexpected"."""
    made = document(**{"SFT": spread(0), "SFT + v": spread(1), "SFT + random": spread(0)})
    for row in (row for arm in made["arms"].values() for entry in arm.values() for row in entry["figures"]):
        row |= {"first_call_recall": None, "first_call_f1": None, "verdict": "Ungraded", "also": {}}
    told = "\n".join(report.with_summary(made)["summary"]["sentences"])
    assert "SFT + v: nothing of it could be compared." in told and "Control SFT + random: nothing of it" in told


def test_where_everything_is_zero_nothing_is_said_to_be_compared_or_controlled():
    """A model that calls nothing: its random control was praised for being as it is."""
    made = document(**{arm: spread(0) for arm in ("SFT", "SFT + v", "SFT + random")})
    told = "\n".join(report.with_summary(made)["summary"]["sentences"])
    assert "No gain is shown: every query has what it has under SFT, which compares nothing." in told
    assert "within one point of zero, as SFT itself is: it controls nothing." in told
    some = document(**{"SFT": spread(0.5), "SFT + v": spread(0.75), "SFT + random": spread(0.5)})
    told = "\n".join(report.with_summary(some)["summary"]["sentences"])
    assert "within one point of zero." in told and "nothing" not in told


def test_a_gain_on_some_figures_says_what_it_is_worth_as_one_of_them():
    made = document(**{"SFT": spread(0), "SFT + v": lambda n: (float(n < 10), float(n < 10), 0.0)})
    summary = report.with_summary(made)["summary"]
    p = 3 * summary["effects"]["SFT + v"]["first_call_recall"]["p_holm"]
    told = "\n".join(summary["sentences"])
    assert (
        "A gain is shown on first-call recall and SoPR rules; of ten points on first-call recall and SoPR rules" in told
    )
    assert f"; as one of 3 figures that were looked at it has p {p:.2g}." in told


def test_a_study_that_can_show_nothing_says_so_before_it_trains(past, folder):
    (folder / "study.toml").write_text(STUDY + '[arms.SFT]\n[arms.v]\nadd = ["imitation"]\ntest = true\n')
    told = past("study", "run", "study.toml", "--dry-run").stderr
    assert "no gain of any size can be shown: with 2 tools and 1 claim the smallest p is 0.5" in told
    made = document(**{"SFT": spread(0), "SFT + v": spread(1)})
    for item in made["items"]:
        item["tool"] = f"t{int(item['id'][1:]) % 4}"
    told = "\n".join(report.with_summary(made)["summary"]["sentences"])
    assert "none of any size could have been: of so few tools the smallest p after Holm's correction is 0.12" in told


def test_a_gain_on_one_tool_or_one_seed_is_no_claim():
    one = document(**{"SFT": spread(0), "SFT + v": spread(1 / 12)})
    assert "No gain is shown" in "\n".join(report.with_summary(one)["summary"]["sentences"])
    few = document(**{"SFT": spread(0), "SFT + v": spread(1)})
    for arm in few["arms"]:
        few["arms"][arm] = {"0": few["arms"][arm]["0"]}
    told = "\n".join(report.with_summary(few)["summary"]["sentences"])
    assert "too few: no claim" in told and "1 of 3 seeds were run" in told


def test_queries_that_a_judge_could_not_grade_are_counted():
    made = document(**{"SFT": spread(0), "SFT + v": spread(0.75)})
    assert "could not be graded" not in "\n".join(report.with_summary(made)["summary"]["sentences"])
    for place, (arm, seed) in enumerate([("SFT", "0"), ("SFT + v", "2")]):
        made["arms"][arm][seed]["figures"][place] |= {"verdict": "Ungraded", "also": {"reference": "Ungraded"}}
    summary = report.with_summary(made)["summary"]
    assert summary["ungraded"] == {"sopr_rules": 2, "sopr_reference": 2}
    told = "\n".join(summary["sentences"])
    assert "SoPR rules is of 10 of 12 queries" in told and "SoPR reference is of 10 of 12 queries" in told


def test_steps_tell_where_episodes_break_and_silence_is_no_success():
    made = document(SFT=spread(0.5))
    rows = made["arms"]["SFT"]["0"]["figures"]
    rows[0] |= {"calls": 0, "valid_calls": 0, "right_function": 0.0, "argument_grounding": None}
    steps = effects.summarise(made)["steps"]["SFT"]
    assert steps["said anything to call"] == pytest.approx(35 / 36) and steps["all required named"] == pytest.approx(
        17 / 36
    )
    assert list(steps.values()) == sorted(steps.values(), reverse=True)
    trials = effects.Trials(made)
    assert (
        trials.column("SFT", "0", "valid_calls")[0] is None and trials.column("SFT", "0", "first_call_recall")[0] == 1.0
    )


def test_every_attempt_at_a_query_counts():
    """With `attempts = 2` the levels were those of the last attempts alone."""
    made = document(SFT=spread(0))
    for entry in made["arms"]["SFT"].values():
        entry["figures"] += [
            {**row, "first_call_recall": 1.0, "verdict": "Solved", "attempt": 1} for row in entry["figures"]
        ]
        entry["figures"][-1]["verdict"] = "Ungraded"
    levels = effects.summarise(made)["levels"]["SFT"]
    assert levels["first_call_recall"]["mean"] == 0.5
    assert levels["sopr_rules"]["mean"] == pytest.approx(5.5 / 12), "an attempt that nobody could grade is in no mean"


def test_imitation_with_a_part_of_rls_compute_is_said_to_be_no_equal():
    made = document(SFT=spread(0))
    assert "Imitation was trained" not in "\n".join(report.with_summary(made)["summary"]["sentences"])
    for seed in (0, 1):
        made["compute"][f"rl source, seed {seed}"] = {
            "seed": seed,
            "tokens": 1000 + seed * 1000,
            "seconds": 60.0,
            "steps": 1,
        }
        made["compute"][f"imitation source, seed {seed}"] = {"seed": seed, "tokens": 300, "seconds": 20.0, "steps": 1}
    told = "\n".join(report.with_summary(made)["summary"]["sentences"])
    assert "Imitation was trained on 300 tokens a seed (20 s), RL on 1,500 (60 s): not equal compute." in told
    for seed in (0, 1):
        made["compute"][f"imitation source, seed {seed}"]["tokens"] = 1200
    assert ": about equal compute." in "\n".join(report.with_summary(made)["summary"]["sentences"])


def test_what_was_shown_to_the_models_is_said():
    made = report.with_summary(document(SFT=spread(0)))
    assert "Names only, brief prompt" in report.markdown(made)
    made["study"]["settings"]["agent"] |= {"show_schemas": True, "decoding": "schema"}
    told = report.markdown(made)
    assert (
        "Names only" not in told
        and "The documentation in the prompt, decoding held to a grammar (`schema`), which shows" in told
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[lessons]\nrephrase = "smol"', "rephrase of [lessons] means nothing in a study of tools"),
        ("[lessons]\ntarget_share = 0.5", "target_share of [lessons] means nothing"),
        ("[agent]\nlimit = 2", "limit of [agent] means nothing"),
        ("[eval]\nlimit = 2", "limit of [eval] means nothing"),
        ("[inject]\nscale = 0.5", "scale of [inject] means nothing"),
        (
            '[agent]\njudge = "reference"',
            "judge of [agent] is 'reference', and the figure SoPR rules is that of `rules`",
        ),
    ],
)
def test_what_a_study_would_pass_over_is_refused(past, folder, line, said):
    """`limit` ended as "unexpected" after everything had been trained, the others changed nothing and nobody was told."""
    table, text = line.partition("\n")[0], (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace(table, line) if table in text else f"{text}\n{line}\n")
    assert said in past("study", "run", "study.toml", "--dry-run", code=2).stderr


@pytest.mark.parametrize(
    ("setting", "arm", "said"),
    [
        ("test_queries = 0", "", "no test query for the target could be made"),
        ("queries = 0", '[arms.v]\nadd = ["imitation"]', "no query to practise on for the source could be made"),
        ("queries = 0", '[arms.upper]\nmodel = "rl"', "no query to practise on for the target could be made"),
        ("examples = 0", '[arms.form]\nadd = ["format"]', "no whole run of the unrelated tools could be made"),
    ],
)
def test_a_study_without_anything_to_ask_or_to_practise_is_refused_before_it_trains(past, folder, setting, arm, said):
    """It failed at the first training that needed it, or when its answers were summed up."""
    name = setting.partition(" ")[0]
    lines = [setting if line.startswith(f"{name} =") else line for line in STUDY.splitlines()]
    (folder / "study.toml").write_text("\n".join([*lines, "[arms.SFT]", arm]))
    assert f"error: {said}" in past("study", "run", "study.toml", "--dry-run", code=2).stderr


def test_a_target_whose_answers_hold_nothing_to_ask_for_says_why(past, folder):
    rows = json.loads((folder / "tools.json").read_text())
    for row in rows[2:4]:
        row["api_list"][0]["template_response"] = {"ok": True}
    (folder / "tools.json").write_text(json.dumps(rows))
    told = past("study", "run", "study.toml", "--dry-run", code=2).stderr
    assert "no test query for the target could be made: no value in the answer that a question can name (" in told


def test_answers_to_other_queries_are_refused():
    made = copy.deepcopy(document(SFT=spread(0)))
    made["arms"]["SFT"]["0"]["figures"].pop()
    with pytest.raises(Exception, match="was not asked"):
        report.refreshed(made, Path("results.json"))
