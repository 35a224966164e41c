"""What the text beside the tables says: its effects are those of the answers, its ratios those of the benches.

The tables of docs/RESULTS.md are made from the JSON beside them; what is said of them is written by hand, and was wrong more than once.
"""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest
from conftest import ROOT

from pastcli import stats
from pastcli.study.effects import METRICS, Answers

PAGE = ROOT / "docs" / "RESULTS.md"
NUMBER = r"[+−-]?\d\.\d{3}"
TOLD = re.compile(rf"(?:({NUMBER}) )?\(?\[({NUMBER}), ({NUMBER})\]")
"""An effect or a level with its interval, or an interval alone; percentages and counts have other digits."""

EARLIER = {(0.026, -0.038, 0.089)}
"""Told of an earlier edition of tools_small_arms, whose answers are in the history alone."""

NOT_KEPT = {("8.4", "7.6", "9.5")}
"""Of SFT on the EPYC before the start of a training was made shorter; in the history."""

WORDS = {"one": 1, "two": 2, "three": 3, "five": 5, "ten": 10}
FILES = {path.parent.name.removeprefix("study_"): path for path in (ROOT / "docs" / "results").glob("*/results.json")}


def triples(gains, clusters):
    """(mean, low, high) over seeds, and over clusters where there are some: `gains` one row a seed, one column a question."""
    over = [stats.t_interval(gains.mean(axis=1))]
    if len(set(clusters)) > 1:
        over.append(stats.clustered_t(gains.mean(axis=0), groups=clusters))
    return {(one.mean, one.low, one.high) for one in over if one.low is not None}


def of_documents(document):
    """What any two arms of a study differ by, in all its questions and in each kind of them, and what each arm has."""
    answers, found = Answers(document), set()
    arms = [arm for arm in answers.arms if answers.seeds(arm)]
    for about in {answers.asked(arm) for arm in arms}:
        items = document["items"][about]
        kinds = {(k, v) for item in items for k, v in item.items() if k not in ("id", "question", "answers", "doc")}
        asked = [arm for arm in arms if answers.asked(arm) == about]
        base = answers.judged_by(asked[0]) if not answers.within(asked[0]) else {"part": "test"}
        for keep in ({}, *({k: v} for k, v in kinds)):
            rows = answers.rows(asked[0], {**base, **keep})
            docs = answers.docs(asked[0], rows)
            for metric in METRICS if rows else ():
                had = {a: {s: np.array(answers.column(a, s, metric, rows)) for s in answers.seeds(a)} for a in asked}
                for arm in asked:
                    found |= triples(np.array(list(had[arm].values())), docs)
                for arm, other in itertools.permutations(asked, 2):
                    if shared := had[arm].keys() & had[other].keys():
                        found |= triples(np.array([had[arm][s] - had[other][s] for s in sorted(shared)]), docs)
    return found


def summarised(found):
    """Every effect of a summary, wherever it stands, and its interval over documents or tools."""
    if isinstance(found, dict):
        if found.get("low") is not None and "mean" in found:
            yield found["mean"], found["low"], found["high"]
            yield from ((found["mean"], *found[key]) for key in ("over_documents", "over_tools") if key in found)
        found = list(found.values())
    for one in found if isinstance(found, list) else ():
        yield from summarised(one)


def of_steps(runs):
    """How the reward of RL rises from its first ten steps to the ten before any later one, over the runs of a vector."""
    for _, group in itertools.groupby(sorted(runs, key=lambda run: run["vector"]), key=lambda run: run["vector"]):
        rewards = [[step[1] for step in run["steps"]] for run in group]
        for end in range(20, max(map(len, rewards)) + 1):
            rise = [np.mean(one[:end][-10:]) - np.mean(one[:10]) for one in rewards]
            over = stats.t_interval(rise)
            yield over.mean, over.low, over.high


@pytest.fixture(scope="module")
def known():
    """By study, and of the steps of RL on a card, every figure with an interval that its JSON holds or its answers make."""
    found = {}
    for name, path in FILES.items():
        document = json.loads(path.read_text(encoding="utf-8"))
        found[name] = {*summarised(document["summary"])} | (set() if "kind" in document else of_documents(document))
    for path in (ROOT / "docs" / "results" / "card").glob("rl_steps*.json"):
        found[path.stem] = {*of_steps(json.loads(path.read_text())["runs"])}
    return {name: np.array(sorted(one)) for name, one in found.items()}


def passages():
    """(where, text): the points of the lists and the paragraphs that are written by hand."""
    text = PAGE.read_text(encoding="utf-8").split("<!-- studies: end -->")[1]
    yield from (("docs/RESULTS.md", one) for one in re.split(r"\n(?=- |\n)", text))
    for page in ("README.md", "docs/FAQ.md"):
        whole = (ROOT / page).read_text(encoding="utf-8")
        yield from ((page, one) for one in whole.split("\n\n") if "not in the repository" not in one)


def is_known(told, figures):
    """Whether figures hold these three numbers, or the last two where no mean stands before them, as rounded to three digits."""
    lacking = sum(one is None for one in told)
    rounded = np.array([one for one in told if one is not None])
    return bool((np.abs(figures[:, lacking:] - rounded) < 5.1e-4).all(axis=1).any())


def test_every_effect_in_the_text_is_one_that_the_answers_have(known):
    """Of the study that its point names, where it names one."""
    wrong, looked_at = [], 0
    for where, text in passages():
        named = [one for one in re.findall(r"`(\w+)(?:\.toml)?`", text) if one in known]
        figures = np.concatenate([known[one] for one in named or known])
        for match in TOLD.finditer(text):
            told = tuple(None if one is None else float(one.replace("−", "-")) for one in match.groups())
            looked_at += 1
            if told not in EARLIER and not is_known(told, figures):
                wrong.append(f"{where}: {match[0]} is not of {named or 'any study'}: {text[:80]!r}")
    assert looked_at > 60 and not wrong, "\n".join(wrong)


def test_a_study_has_the_seeds_that_its_point_tells():
    looked_at = 0
    for where, text in passages():
        found = re.search(r"`(\w+)\.toml`[^.]*?\b(one|two|three|five|ten) (?:\S+ |of these )?seeds?\b", text)
        if found and found[1] in FILES:
            document = json.loads(FILES[found[1]].read_text(encoding="utf-8"))["study"]
            assert len(document["seeds"]) == WORDS[found[2]], f"{where}: {found[0]}"
            looked_at += 1
    assert looked_at >= 6


def test_the_page_says_in_which_studies_sft_is_documents_alone():
    intro = PAGE.read_text(encoding="utf-8").split("<!-- studies: made")[0]
    said = re.search(r"`SFT` is the paper's protocol, documents alone, in ([^;]+);", intro)
    alone = set()
    for name, path in FILES.items():
        study = json.loads(path.read_text(encoding="utf-8"))["study"]
        for arm, one in study["arms"].items() if "tools" not in study else ():
            if one["model"] == "sft" and arm.partition(":")[0] == "SFT":
                mixed = {**study["settings"]["sft"], **(one["sft"] or {})}["mix"]
                alone |= {name} if mixed == ["none"] else set()
    assert said and set(re.findall(r"`(\w+)`", said[1])) == alone


def spreads(found):
    """(median, low, high) of every ratio in the JSON of a bench."""
    if isinstance(found, dict):
        if "median" in found and "low" in found:
            yield found["median"], found["low"], found["high"]
        if "wall_ratio" in found:
            yield found["wall_ratio"], *found["wall_spread"]
            yield found["busy_ratio"], *found["busy_spread"]
        for one in found.values():
            yield from spreads(one)


def test_every_ratio_with_its_spread_is_one_that_a_bench_gave():
    known = [
        ratio for path in PAGE.parent.glob("results/bench_*.json") for ratio in spreads(json.loads(path.read_text()))
    ]
    told = re.findall(r"(\d+\.\d+)\** (?:times as fast )?\((\d+\.\d+)(?: to |-)(\d+\.\d+)\)", PAGE.read_text())
    told = [one for one in told if one not in NOT_KEPT]
    assert len(told) >= 20
    for one in told:
        near = [0.5001 * 10 ** -len(text.partition(".")[2]) for text in one]
        assert any(all(abs(a - float(b)) <= c for a, b, c in zip(ratio, one, near, strict=True)) for ratio in known), (
            one
        )


def test_the_tables_of_orthogonality_are_those_of_the_probe():
    page, probe = PAGE.read_text().replace("−", "-"), json.loads((PAGE.parent / "results" / "probe.json").read_text())
    shown = lambda number: f"{number:.2e}".replace("e-0", "e-")  # noqa: E731
    rows = [("quickstart", "SFT · RL", "sft_rl"), ("squad", "SFT · RL", "sft_rl")]
    rows += [("squad", "target's SFT · RL", "target_rl"), ("squad", "SFT · target's SFT", "sft_target")]
    for study, pair, key in rows:
        whole, layers = probe[f"{study} seed 0"]["global"][key], probe[f"{study} seed 0"]["spread"][key]
        chance = f"±{shown(whole['chance'])}, ±{shown(whole['chance_rows'])}"
        mean = f"{layers['mean']:+.4f} ({layers['standard_error']:.4f})"
        title = {"squad": "SQuAD"}.get(study, study)
        assert f"| {title}: {pair} | {whole['cosine']:+.4f} | {chance} | {mean} |" in page
    geometry = probe["quickstart seed 0"]["geometry"]["whole"]
    for title, key in (
        ("entries that bfloat16 does not see change", "sparsity"),
        ("principal entries", "principal_overlap"),
    ):
        cells = [geometry[label][name] for label in ("sft", "rl", "sft_skill") for name in (key, f"{key}_chance")]
        assert " | ".join(f"{cell:.3f}" for cell in cells) in next(
            x for x in page.split("\n") if x.startswith(f"| {title}")
        )
