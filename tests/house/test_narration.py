"""What a command says at its end: one sentence that its figures carry, and what to type next."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT
from vectors_tools import moved, read_model, weights, write_file, write_model

from pastcli import narration, runs, suggestions, verdict
from pastcli.words import between, counted, durations


def run(stage, config=None, **metrics):
    return {"stage": stage, "id": f"{stage}-1", "config": config or {}, "metrics": metrics}


@pytest.mark.parametrize(
    ("manifest", "told", "after"),
    [
        (
            run("sft", {"epochs": 6}, loss_first=3.0, loss_last=2.9, steps=9),
            "hardly anything was learnt",
            "--epochs 12",
        ),
        (run("sft", loss_first=3.0, loss_last=2.0, steps=9), "part of the texts", "past rl --sft sft-1"),
        (run("sft", loss_first=3.0, loss_last=0.5, steps=9), "the texts are learnt", "past rl --sft sft-1"),
        (run("rl", reward_first=0.02, reward_last=0.03, dead_groups=0.81), "81% of the groups were dead", "past sft"),
        (run("rl", reward_first=0.9, reward_last=0.95, dead_groups=0.9), "nearly every answer is right", ""),
        (
            run("rl", {"steps": 30}, reward_first=0.2, reward_last=0.2, dead_groups=0.1),
            "nothing was learnt",
            "--steps 60",
        ),
        (run("rl", reward_first=0.2, reward_last=0.4, dead_groups=0.1), "answer better", "past extract"),
        (
            run("rl", {"steps": 1}, steps=1, reward_first=0.2, reward_last=0.2, dead_groups=0.1),
            "the one step earned 0.20 on average",
            "past rl",
        ),
        (
            run(
                "rl", reward_first=0.2, reward_last=0.4, reward_last_new=0.25, passes=4.25, dead_groups=0.1, questions=9
            ),
            "0.40, each question met 4.2 times, 0.25 by the end of their first time: the model does better on what it practised; "
            "whether on anything else, `past rl --dev FILE` tells",
            "past extract",
        ),
        (
            run("rl", reward_first=0.2, reward_last=0.4, passes=2.0, dead_groups=0.1),
            "queries that it never met",
            "past extract",
        ),
        (
            run("rl", reward_first=0.2, reward_last=0.4, passes=0.5, dead_groups=0.1),
            "learnt to answer better",
            "past extract",
        ),
        (
            run("rl", reward_first=0.2, reward_last=0.4, passes=2.0, dev_best=0.3, dead_groups=0.1),
            "learnt to answer better",
            "past extract",
        ),
        (run("rl", steps=3), "no reward was logged", ""),
        (run("extract", tensors=4, norm=1.25, energy=0.5), "50.0% of its squared norm kept", "past inject --vector"),
        (run("inject", survival=0.9996), "the whole skill is in the file", "past eval"),
        (run("inject", survival=0.95), "most of the skill survived", "past eval"),
        (run("inject", survival=0.4), "only a part of the skill survived", "past eval"),
        (run("inject", {"control": "random"}, survival=1.0), "the skill itself is not in it", "past eval"),
        (run("sweep", best_scale=0.0), "does not help here", ""),
        (run("sweep", best_scale=0.75), "measure it on others", "--scale 0.75"),
    ],
)
def test_each_outcome_has_its_own_sentence(manifest, told, after):
    end = narration.closing(manifest)
    assert told in end.judgement and after in end.next
    assert bool(after) == bool(end.next)


def test_after_sft_the_skill_is_injected_if_there_is_one():
    manifest = run("sft", loss_first=3.0, loss_last=0.5, steps=9)
    assert narration.closing(manifest, has_skill=True).next == "past inject --target sft-1"


@pytest.mark.parametrize(
    ("argv", "again"),
    [
        (["/bin/past", "sft", "my docs/", "--epochs=3", "--name", "a", "--base", "smol"], "sft 'my docs/' --base smol"),
        (["pastcli", "sft", "a.md", "--epochs", "3", "--resume", "--name=a", "--json"], "sft a.md"),
        (["past", "-C", "ws", "sft", "a.md", "--force", "--lr", "1e-3"], "-C ws sft a.md --lr 1e-3"),
        (["pytest", "-q"], "sft"),
        ([], "sft"),
    ],
)
def test_what_is_to_be_done_again_names_what_it_was_done_with(argv, again):
    """`past rl --steps 60` was suggested: "no questions given"."""
    assert suggestions.repeated("sft", argv, epochs=6) == f"past {again} --epochs 6"
    end = narration.closing({**run("sft", {"epochs": 3}, loss_first=3.0, loss_last=2.9, steps=9), "argv": argv})
    assert end.next == f"past {again} --epochs 6"


def test_after_rl_that_hardly_ever_earned_the_sft_run_is_repeated_as_it_was_typed():
    dead = run("rl", reward_first=0.02, reward_last=0.03, dead_groups=0.81)
    behind = suggestions.Behind(sft=("past", "sft", "corpus.jsonl", "--mix", "none", "--name", "one"))
    assert narration.closing(dead, behind=behind).next == "past sft corpus.jsonl --mix none --epochs 12"
    together = {**run("rl", reward_first=0.5, reward_last=0.5, dead_groups=0.9), "argv": ["past", "rl", "--tools", "t"]}
    assert narration.closing(together).next == "past rl --tools t --temperature 1.3"


def results(mean, half, p, questions=12):
    low, high = mean - half, mean + half
    return {
        "models": {"sft": {"f1": {"mean": 0.4}}, "skill": {"f1": {"mean": 0.4 + mean}}},
        "differences": {"skill": {"f1": {"mean": mean, "low": low, "high": high, "p": p, "p_holm": p}}},
        "reference": "sft",
        "questions": questions,
        "documents": 0,
        "units": "questions",
    }


def test_eval_never_calls_an_unshown_difference_better_and_says_what_would_show_it():
    end = verdict.evaluated(results(0.03, 0.12, 0.6))
    assert "not shown to be better" in end.judgement and "about" in end.judgement and "needed" in end.judgement
    enough = verdict.evaluated(results(0.001, 0.01, 0.8, questions=4000))
    assert "needed" not in enough.judgement
    assert "skill is better than sft" in verdict.evaluated(results(0.2, 0.05, 0.001)).judgement
    assert "skill is worse than sft" in verdict.evaluated(results(-0.2, 0.05, 0.001)).judgement


def several(**models):
    """An evaluation of `sft` and others, each given as (role, gain in F1, its p)."""
    document = results(0.0, 0.1, 1.0)
    document["models"] = {"sft": {"f1": {"mean": 0.4}, "role": ""}}
    document["differences"] = {}
    for label, (role, mean, p) in models.items():
        document["models"][label] = {"f1": {"mean": 0.4 + mean}, "role": role}
        found = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "p": p, "p_holm": p}
        document["differences"][label] = {"f1": found}
    return document


def test_the_words_after_an_evaluation_are_about_the_skill_and_not_about_what_was_named_last():
    told = verdict.evaluated(several(skill=("skill", 0.2, 0.001), random=("control", 0.001, 0.9))).judgement
    assert told.startswith("skill is better than sft: F1 +0.200") and told.endswith(
        "The control random: F1 +0.001 [-0.019, +0.021], p 0.9"
    )
    too = verdict.evaluated(several(format=("control", 0.19, 0.001), skill=("skill", 0.2, 0.001))).judgement
    assert too.startswith("skill is better") and "The control format is better than sft too (F1 +0.190" in too
    worse = verdict.evaluated(several(skill=("skill", -0.2, 0.001), random=("control", 0.001, 0.9)))
    assert worse.judgement.startswith("skill is worse than sft") and worse.next == ""


def test_models_that_carry_no_skill_are_spoken_of_one_by_one():
    told = verdict.evaluated(
        several(base=("", -0.2, 0.001), other=("", 0.2, 0.001), zero=("control", 0.0, 1.0))
    ).judgement
    assert "base is worse than sft" in told and "other is better than sft" in told and "The control zero" in told
    many = verdict.evaluated(several(**{f"m{n}": ("", 0.2, 0.001) for n in range(5)})).judgement
    assert "m2 is better" in many and "m3" not in many and "2 models more in the table" in many
    alone = verdict.evaluated(several(random=("control", 0.001, 0.9))).judgement
    assert alone.startswith("random is not shown to be better than sft") and "The control" not in alone


def test_which_model_carries_the_skill_is_known_by_what_made_it(past, past_json, workspace, make_tiny):
    """Also where it was exported since, and whatever it is called or where it stands."""
    base = make_tiny(workspace / "sft")
    make_tiny(workspace / "rl")
    tensors = moved(read_model(base), 1, 1e-2)
    (workspace / "rl" / "model.safetensors").unlink()
    write_file(workspace / "rl" / "model.safetensors", tensors)
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    past("inject", "--vector", "v.safetensors", "--target", "sft", "--name", "one")
    past("inject", "--vector", "v.safetensors", "--target", "sft", "--name", "two", "--control", "random")
    past("export", "--model", "one", "--to", "hf", "--name", "three")
    (workspace / "q.jsonl").write_text('{"question": "Which river?", "answer": "fox"}\n')
    asked = [word for name in ("A=sft", "B=three", "C=two", "D=rl") for word in ("--model", name)]
    found = past_json("eval", "--questions", "q.jsonl", *asked, "--max-new-tokens", 1)
    assert [one["role"] for one in found["models"].values()] == ["", "skill", "control", ""]
    assert found["judgement"].startswith("B is not shown to be better than A") and "The control C" in found["judgement"]


def test_a_difference_without_an_interval_is_told_without_one():
    """One question has no interval."""
    document = results(0.3, 0.1, 1.0, questions=1)
    document["differences"]["skill"]["f1"].update(low=None, high=None)
    assert "F1 +0.300, p 1" in verdict.evaluated(document).judgement


def test_the_number_of_questions_needed_follows_from_the_spread():
    """s = 0.5 over 100 questions: half-width 1.96 s / 10 = 0.098; n = 7.84 * 0.25 / 0.0025 = 784."""
    told = verdict.evaluated(results(0.0, 0.098, 0.9, questions=100)).judgement
    assert "about 784 questions" in told


def test_commands_end_with_a_judgement_and_a_next_line(past, past_json, workspace):
    base = weights()
    write_model(workspace / "sft", base)
    write_model(workspace / "rl", moved(base, 1, 1e-3))
    done = past("extract", "--sft", "sft", "--rl", "rl", "-o", "skill.safetensors")
    assert "the skill changes" in done.stderr and done.stderr.rstrip().splitlines()[-1].startswith("next: past inject")
    assert "next:" not in done.stdout and "hash" not in done.stdout
    made = past_json("inject", "--vector", "skill.safetensors", "--target", "sft")
    assert "the whole skill is in the file" in made["judgement"] and made["next"].startswith("past eval")


def test_inspect_lists_the_skills_of_a_workspace_and_what_they_were_measured_to_do(past, past_json, workspace):
    assert "no skills" in past("inspect").stderr and past_json("inspect") == []
    base = weights()
    write_model(workspace / "sft", base)
    write_model(workspace / "rl", moved(base, 1, 1e-3))
    past("extract", "--sft", "sft", "--rl", "rl", "--name", "first")
    past("inject", "--vector", "first", "--target", "sft", "--name", "injected")
    shown = past("inspect").stdout
    assert "runs/first/skill.safetensors" in shown and "not measured yet" in shown
    made = runs.runs_dir() / "eval-1"
    made.mkdir()
    entry = {"path": "x", "label": "with", "run": "injected"}
    manifest = {"id": "eval-1", "stage": "eval", "status": "complete", "inputs": {"model": entry}, "config": {}}
    (made / "manifest.json").write_text(json.dumps(manifest))
    (made / "results.json").write_text(
        json.dumps(
            {**results(0.2, 0.05, 0.001), "differences": {"with": results(0.2, 0.05, 0.001)["differences"]["skill"]}}
        )
    )
    assert past_json("inspect")[0]["measured"][0]["f1"]["mean"] == 0.2
    assert "F1 +0.200 [+0.150, +0.250] over sft" in past("inspect").stdout


@pytest.mark.parametrize(
    ("seeds", "low", "p", "told", "after"),
    [
        (
            1,
            None,
            0.01,
            "carry a claim: write `seeds = [0, 1, 2]` into s.toml and run it again",
            "past study run s.toml",
        ),
        (3, 0.02, 0.01, "over 3 seeds: a gain", "past inspect"),
        (3, -0.02, 0.4, "no gain is shown; a gain of 0.070 would have been", ""),
        (3, 0.02, 0.2, "no gain is shown", ""),
        (3, -0.1, 0.01, "over 3 seeds: a loss", ""),
    ],
)
def test_a_study_ends_with_what_its_test_carries(seeds, low, p, told, after):
    high = 0.06 if low is None or low > -0.1 else -0.01
    f1 = {"by_seed": [{}] * seeds, "low": low, "high": high, "p": p, "against": "SFT", "detectable": 0.07}
    scores = {arm: {"f1": {"mean": mean}} for arm, mean in (("SFT", 0.1), ("SFT + skill", 0.15))}
    summary = {"confidence": 0.95, "scores": scores, "effects": {"SFT + skill": {"metrics": {"f1": f1}}}}
    document = {"study": {"arms": {"SFT + skill": {"test": True}}}, "summary": summary}
    end = verdict.experimented(document, "s.toml")
    assert "SFT + skill has F1 0.150 where SFT has 0.100" in end.judgement and told in end.judgement
    assert end.next == after
    assert verdict.experimented({"study": {"arms": {}}, "summary": summary}, "s.toml") is None
    there = verdict.experimented(document, "s.toml", "past ask --model m --vector v", "past export")
    assert (
        there.next == "past ask --model m --vector v"
        and there.judgement == f"{end.judgement}. To take it along: past export"
    )
    assert verdict.NOTHING_LEARNT not in end.judgement
    scores |= {arm: {"f1": {"mean": mean}, "questions": 14} for arm, mean in (("SFT", 0.048), ("SFT + skill", 0.0))}
    said = verdict.experimented(document, "s.toml").judgement
    asked = "on 14 questions over " + ("1 seed" if seeds == 1 else f"{seeds} seeds")
    assert f"where SFT has 0.048, {asked}" in said and told in said and said.endswith(f". {verdict.NOTHING_LEARNT}")


def test_a_study_of_what_was_not_trained_is_told_by_its_documents_and_of_a_stratum_by_its_questions():
    f1 = {"by_seed": [{}], "mean": 0.05, "low": None, "high": None, "p": 0.01, "against": "base", "detectable": None}
    f1["over_documents"] = [0.02, 0.08]
    scores = {
        arm: {"f1": {"mean": mean}, "untrained": True, "questions": 9}
        for arm, mean in (("base", 0.1), ("base + v", 0.15))
    }
    summary = {"confidence": 0.95, "scores": scores, "effects": {"base + v": {"metrics": {"f1": f1}}}}
    document = {"study": {"arms": {"base + v": {"test": True}}}, "summary": summary}
    end = verdict.experimented(document, "s.toml")
    assert end.judgement == "base + v has F1 0.150 where base has 0.100, on 9 questions: a gain", "no seed to run again"
    scores["base + v"] |= {"untrained": False, "within": "template: new"}
    f1 |= {"by_seed": [{}] * 5, "low": 0.01, "high": 0.09}
    f1["mean"] = 0.02
    said = verdict.experimented(document, "s.toml").judgement
    assert "where base has 0.130, on 9 questions (template: new) over 5 seeds: a gain" in said, "on the same questions"


def test_one_is_told_as_one(past, workspace):
    (workspace / "a.txt").write_text("Velmora was founded in 1843.")
    assert "1 passage of 1 document\n" in past("ingest", "a.txt").stderr


@pytest.mark.parametrize(
    ("count", "things", "said"),
    [
        (0, "questions", "0 questions"),
        (1, "questions", "1 question"),
        (1, "test queries", "1 test query"),
        (1, "studies", "1 study"),
        (1, "APIs", "1 API"),
        (12345, "files", "12,345 files"),
    ],
)
def test_one_thing_is_no_plural(count, things, said):
    assert counted(count, things) == said


def test_a_range_with_nothing_between_is_one_number():
    assert (between(1, 1, "tokens"), between(1, 16, "tokens")) == ("1 token", "1 to 16 tokens")
    assert (durations(3, 3.2), durations(3, 200)) == ("3 s", "3 s to 3 min")


THINGS = """questions documents passages files steps seeds runs items answers texts pairs groups queries episodes tools APIs
minutes studies lines epochs prompts rounds characters entries""".split()


def test_no_message_counts_things_by_itself():
    """`1 questions` comes of a plural written behind a number: `words.counted` knows both. Of a whole ("3 of 5 files"), at
    a limit ("at least 5 steps") and where the number is a setting that is never 1 the plural is right."""
    written = re.compile(rf"\{{([^{{}}]+)\}} (?:[a-z-]+ )?({'|'.join(THINGS)})\b")
    right = re.compile(r"\b(of|than|at least|at most|to|least)( the| these)? $")
    never_one = re.compile(r"counted|patience|FEWEST|num_generations|limit:|: *[^\]]*[%fge]$")
    no_number = re.compile(r"name\}|what\}|role\}|path\}|suffix|server\}|skill\}|\['id'\]|[\"]")
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for top in ("pastcli", "plugins")
        for path in sorted((ROOT / top).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        for hit in written.finditer(line)
        if not right.search(line[: hit.start()]) and not never_one.search(hit[1]) and not no_number.search(hit[0])
    ]
    assert not found
