"""The numbers: effects with their intervals, the words for them, and the table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pastcli.errors import MismatchError, UsageError


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
    base = {"about": "target", "model": "sft", "add": [], "scale": 1.0, "control": "none", "against": "", "test": True}
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


def test_a_gain_on_one_of_two_measures_says_what_it_is_worth():
    """Whoever looks at two measures and tells of the better has two chances at one in twenty."""
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    document = results({"SFT + v": 0.3})
    for seed in document["arms"]["SFT"].values():
        for scale in seed.values():
            scale["answers"]["contains"] = [1.0] * len(scale["answers"]["contains"])
    for seed in document["arms"]["SFT + v"].values():
        for scale in seed.values():
            scale["answers"]["contains"] = [1.0] * len(scale["answers"]["contains"])
    summary = summarise(document)
    p = summary["effects"]["SFT + v"]["metrics"]["f1"]["p_holm"]
    said = sentences(document, summary)[0]
    assert (
        f"A gain is shown on F1, not on contains; as one of 2 measures that were looked at it has p {2 * p:.2g}."
        in said
    )


def test_too_few_documents_to_show_a_gain_are_not_said_to_have_shown_one_had_it_been_there():
    """Of six documents all on one side a sign-flip test has p 2/64: with two claims nothing is below 0.05. The table told what
    "this design would have shown", reckoned by Student's t."""
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    gains = {"SFT + v": 0.9, "SFT + w": 0.1}
    document = results(gains, docs=6, per=20)  # and a document whose questions choose scales
    summary = summarise(document)
    found = {arm: one["metrics"]["f1"] for arm, one in summary["effects"].items()}
    assert found["SFT + v"]["p_holm"] >= found["SFT + v"]["least_p"] == 2 * 2 / 2**6 > 0.05
    assert found["SFT + v"]["mean"] > 0.5 and found["SFT + v"]["detectable"] is None
    for said in sentences(document, summary):
        assert "No gain is shown, and none of any size could have been: of so few documents" in said and "0.062" in said
    one = results({"SFT + v": 0.9}, docs=6, per=20)
    metrics = summarise(one)["effects"]["SFT + v"]["metrics"]["f1"]
    assert metrics["detectable"] is not None and "A gain is shown" in sentences(one, summarise(one))[0]


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


def test_seeds_that_agree_to_the_last_digit_give_no_interval_of_no_width():
    """Two of 40 answers more at each of three seeds, other ones each time: the table said +0.050 [+0.050, +0.050] and p_seeds 0."""
    from pastcli.study import report
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.0, "SFT + random": 0.0}, seeds=3, docs=10)
    for number, seed in enumerate(("0", "1", "2")):
        right = {4 + 4 * ((3 * number + one) % 10) for one in range(2)}
        for arm, added in (("SFT", set()), ("SFT + random", set()), ("SFT + v", right)):
            answers = document["arms"][arm][seed]["1"]["answers"]
            answers["contains"] = [float(place in added) for place in range(44)]
    summary = summarise(document)
    one = summary["effects"]["SFT + v"]["metrics"]["contains"]
    assert {round(seed["mean"], 12) for seed in one["by_seed"]} == {0.05} and one["agree"] and one["p_seeds"] is None
    assert [one["low"], one["high"]] == one["over_documents"] and one["low"] < 0.05 < one["high"]
    assert one["p"] == one["p_documents"] > 0
    assert summary["scores"]["SFT + v"]["contains"]["low"] is None
    nothing = summary["effects"]["SFT + random"]["metrics"]["contains"]
    assert (nothing["low"], nothing["high"]) == (0.0, 0.0), "answers that are the same are nothing by any seed"
    arms = document["study"]["arms"]
    assert "Where all seeds agree to the last digit nothing is known of their spread" in report._effects(summary, arms)
    del summary["effects"]["SFT + v"]
    assert "Where all seeds agree" not in report._effects(summary, arms)


def test_a_test_that_failed_makes_no_other_easier():
    """Of four declared tests, of which one failed at every seed, Holm's correction was over three."""
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.3, "SFT + w": 0.0, "SFT + x": 0.1})
    whole = summarise(document)["effects"]["SFT + v"]["metrics"]["f1"]
    document["arms"]["SFT + x"] = {}
    part = summarise(document)["effects"]["SFT + v"]["metrics"]["f1"]
    assert (
        part["p_holm"] == whole["p_holm"] == pytest.approx(3 * whole["p"]) and part["detectable"] == whole["detectable"]
    )


def test_where_nothing_is_right_nothing_is_controlled_or_detectable():
    """Both at zero, throughout: the table said that an effect of 0.000 would have been shown, and that the control was nil."""
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    document = results(
        {"SFT + v": 0.0, "SFT + random": 0.0}, arms={"SFT + random": {"control": "random", "test": False}}
    )
    for arm in document["arms"].values():
        for seed in arm.values():
            answers = seed["1"]["answers"]
            answers |= {name: [0.0] * len(answers[name]) for name in ("exact", "contains", "f1")}
    summary = summarise(document)
    assert summary["effects"]["SFT + v"]["metrics"]["f1"]["detectable"] is None
    claim, control = sentences(document, summary)
    assert "which compares nothing" in claim
    assert control.endswith("within 1 point of zero, as SFT itself is: it controls nothing.")


def test_what_no_answer_can_reach_is_said():
    """LooGLE's references are whole sentences, of which an answer of 24 tokens holds none; "no" stands in many a wrong answer."""
    from pastcli.study.cautions import of_design, of_questions

    answers = {"test": [["one two three four", "1 2 3"], ["one two three four"], ["No."]], "dev": [["a b c d"]]}
    items = [{"part": part, "answers": given} for part, many in answers.items() for given in many]
    long, plain = of_questions(items, 3)
    assert "At least 1 of 3 questions have no reference of 3 words or fewer" in long
    assert "1 of 3 questions are answered by yes or no" in plain and of_questions(items[:1], 3) == []
    arms = {"SFT": {"about": "target", "test": False}, "SFT + v": {"about": "target", "test": True}}
    asked = {"target": [{"doc": f"d{number}", "part": "test"} for number in range(5)]}
    assert "of 5 documents no gain can be shown, however large: the smallest p is 0.062" in next(of_design(arms, asked))
    asked["target"].append({"doc": "another", "part": "test"})
    assert not list(of_design(arms, asked))


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


def half_of_it(figure, path, **_):
    path.write_bytes(b"half a plot")
    raise OSError("no room")


def test_the_table_and_the_json_agree(tmp_path, monkeypatch):
    from pastcli.study import report
    from pastcli.study.effects import summarise

    document = results({"SFT + v": 0.3})
    document["summary"] = {**summarise(document), "sentences": ["So."]}
    document["study"] |= {
        "base": "smol",
        "overlap": {"titles": 0, "templates_seen": 0, "questions": 52},
        "source": {"counts": {"documents": 3, "questions": 9}},
        "target": {"counts": {"documents": 13}},
        "vectors": {},
        "settings": {
            "sft": {"epochs": 2.0, "lr": 1e-4},
            "eval": {"max_new_tokens": 16},
            "rl": {"steps": 2, "prompts_per_step": 3, "num_generations": 4, "max_new_tokens": 4, "lr": 1e-3},
        },
    }
    document |= {"seconds": {"sft": 1.0}, "versions": {"past": "0"}, "machine": {"platform": "here"}}
    report.write(document, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(document))
    one = document["summary"]["effects"]["SFT + v"]["metrics"]["f1"]
    assert f"{one['mean']:+.3f} [{one['low']:+.3f}" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "effects.png").stat().st_size > 1000
    whole = (tmp_path / "effects.png").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr("matplotlib.figure.Figure.savefig", half_of_it)
        report.write(document, tmp_path)
    assert (tmp_path / "effects.png").read_bytes() == whole and not list(tmp_path.glob(".*"))
    again = report.refreshed(tmp_path / "results.json")
    assert again["summary"]["effects"]["SFT + v"] == document["summary"]["effects"]["SFT + v"]
    forged = json.loads((tmp_path / "results.json").read_text())
    forged["arms"]["SFT + v"]["0"]["1"]["answers"]["f1"][5] += 0.5
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    with pytest.raises(MismatchError, match="not what its prediction earns"):
        report.refreshed(tmp_path / "forged.json")
    forged["arms"]["SFT + v"]["0"]["1"]["answers"]["f1"][5] = float("nan")
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    with pytest.raises(MismatchError, match="not what its prediction earns"):
        report.refreshed(tmp_path / "forged.json")
    del forged["items"]["target"][5]
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    with pytest.raises(MismatchError, match="another number of answers than the 51 questions"):
        report.refreshed(tmp_path / "forged.json")
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    made = report.into(page, [("r.json", document)])
    assert made.startswith("before") and made.endswith("after") and "old" not in made and "## made up" in made
    assert report.into(made, [("r.json", document)]) == made
    with pytest.raises(UsageError, match="no place"):
        report.into("nothing", [])


def test_an_arm_judged_within_a_stratum_is_judged_on_its_questions_alone_and_says_so():
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    arms = {"often": {"within": "stated: often"}}
    document = results({"SFT + v": 0.0, "often": 0.0, "imitation": 0.0}, arms=arms)
    items = document["items"]["target"]
    often = [i for i, item in enumerate(items) if item["part"] == "test" and item["stated"] == "often"]
    for arm, gained, where in (("often", 1.0, "often"), ("imitation", 0.5, "rarely"), ("SFT + v", 1.0, "often")):
        for scales in document["arms"][arm].values():
            for metric in ("exact", "contains", "f1"):
                column = scales["1"]["answers"][metric]
                scales["1"]["answers"][metric] = [
                    gained if item["stated"] == where else value for item, value in zip(items, column, strict=True)
                ]
    document["study"]["arms"]["often"]["against"] = "SFT|imitation"
    summary = summarise(document)
    assert summary["scores"]["often"]["questions"] == len(often)
    one = summary["effects"]["often"]["metrics"]["f1"]
    means = [
        np.mean([1.0 - document["arms"][one["against"]][str(seed)]["1"]["answers"]["f1"][i] for i in often])
        for seed in range(5)
    ]
    assert [seed["mean"] for seed in one["by_seed"]] == pytest.approx(means)
    assert summary["effects"]["SFT + v"]["metrics"]["f1"]["mean"] < one["mean"], "the whole is not its best part"
    told = next(one for one in sentences(document, summary) if one.startswith("often"))
    assert told.startswith("often (stated: often): ") and "6 documents" in told
    assert "often" not in summary["strata"] and "SFT + v" in summary["strata"]
    assert "p_holm" in one, "a claim within a stratum is one of the claims that are corrected for"


def test_seeds_of_what_was_not_trained_are_no_sample():
    """A skill file in the base is one model: five copies of one answer gave an interval of no width and a claim over seeds."""
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences

    made = {"model": "base", "add": ["old"]}
    arms = {
        "SFT": {"model": "base", "add": []},
        "base + old": made,
        "a little": made,
        "SFT + old": {"add": ["old:0.5"]},
    }
    document = results({"base + old": 0.7, "a little": 0.02, "SFT + old": 0.7}, arms=arms)
    document["study"]["vectors"] = {"old": {"kind": "file"}}
    for arm in ("SFT", "base + old", "a little"):
        document["arms"][arm] = {str(seed): document["arms"][arm]["0"] for seed in range(5)}
    summary = summarise(document)
    one = summary["effects"]["base + old"]["metrics"]["f1"]
    assert len(one["by_seed"]) == 1 and one["low"] is None and one["p"] == one["p_documents"]
    assert len(summary["effects"]["SFT + old"]["metrics"]["f1"]["by_seed"]) == 5
    told = {sentence.partition(":")[0]: sentence for sentence in sentences(document, summary)}
    assert "neither was trained here. A gain of this model is shown on" in told["base + old"]
    assert "No gain is shown" in told["a little"] and "seed" not in told["base + old"]
    for arm in ("base + old", "SFT + old"):
        assert "old: made before, once; what another training of it would do was not measured" in told[arm]
    assert "5 seeds" in told["SFT + old"]


def test_no_gain_is_claimed_before_all_declared_seeds_were_run():
    """Seven of ten seeds at which p happens to be 0.04 are a moment to stop at, not a result."""
    from pastcli.study.effects import summarise
    from pastcli.study.sentences import sentences
    from pastcli.verdict import experimented

    document = results({"SFT + v": 0.5})
    for declared, claimed in ((5, True), (10, False)):
        document["study"]["seeds"] = list(range(declared))
        summary = summarise(document)
        said, end = sentences(document, summary)[0], experimented({**document, "summary": summary}, "s.toml")
        assert ("A gain is shown on" in said) == claimed == (": a gain" in end.judgement)
        assert ("5 of the 10 seeds that were declared: no claim before all were run" in said) != claimed
    assert end.next == "past study run s.toml"
