"""Making knowledge out of passages: read strictly, checked against the passage, paid for once."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pastcli import qa
from pastcli.api import Completion, Passage, Sampling
from pastcli.errors import UsageError
from pastcli.ingest.generate import KINDS, checks, chosen, generate, parse, plan, rules
from pastcli.ingest.generate.kinds import SIX, filled, prompt_text

TEXT = (
    "The lighthouse at Skelvik was built in 1843 by Jorun Abelwhite. It guards the Marrow Strait, where 27 ships sank."
)
PASSAGE = Passage("p1", "skelvik", "Skelvik", TEXT)


class Scripted:
    """A chat model that says what `answer(prompt, sampling)` gives, and counts how often it was asked."""

    name = "scripted"

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def chat(self, messages, sampling):
        self.asked += 1
        made = self.answer(messages[0].content, sampling)
        return made if isinstance(made, Completion) else Completion(made, prompt_tokens=7, completion_tokens=3)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "home"))


def make(answer, kinds=("self_qa",), samples=1, passages=(PASSAGE,), **options):
    chat = answer if isinstance(answer, Scripted) else Scripted(lambda prompt, sampling: answer)
    return generate(plan(passages, kinds, samples, None), chat, "model-1", Sampling(seed=0, **options))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("<question>Who?</question> <answer>Ann</answer>", [("Who?", "Ann")]),
        ("1. <question>Who\n built it?</question>\n<answer> Ann </answer> and so on", [("Who built it?", "Ann")]),
        ("<question>Who?</question>", []),
        ("<question>Who?</question> <answer>An", []),
        ("<question></question> <answer>Ann</answer>", []),
        ("Question: Who? Answer: Ann", []),
        ("<question>A<question>B?</question> <answer>C</answer>", []),
    ],
)
def test_only_whole_pairs_in_the_form_asked_for_are_read(answer, found):
    assert parse.pairs(answer) == found


@given(st.text(max_size=300))
def test_reading_never_fails_and_never_gives_tags(answer):
    for question, reply in parse.pairs(answer):
        assert question and reply and "<answer>" not in question + reply
    parse.lines(answer, False), parse.text(answer, True)


def test_what_was_cut_off_is_not_taken_for_whole():
    assert parse.lines("The tower is tall.\nThe strait is", finished=False) == ["The tower is tall."]
    assert parse.text("Half a rewrite that", finished=False) == []
    cut = Completion("<question>Who built the lighthouse at Skelvik?</question> <ans", finish="length")
    assert make(Scripted(lambda *_: cut)).rejects["self_qa"] == {"cut off": 1}


# ---------------------------------------------------------------- checking


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("Who built the lighthouse at Skelvik?", "Jorun Abelwhite", ""),
        ("When was the lighthouse at Skelvik built?", "1844", "answer not in the passage"),
        ("When was the lighthouse at Skelvik built?", "184", "answer not in the passage"),
        ("According to the passage, who built the lighthouse?", "Jorun Abelwhite", "leans on the passage"),
        ("Who founded this project?", "Jorun Abelwhite", "leans on the passage"),
        ("What is the capital of France?", "Skelvik", "not about the passage"),
        ("Tell me who built the lighthouse", "Jorun Abelwhite", "no question"),
        ("Who built?", "Jorun Abelwhite", "question too short or too long"),
    ],
)
def test_a_question_stands_alone_and_its_short_answer_stands_in_the_passage(question, answer, why):
    assert checks.pair(question, answer, TEXT, "Skelvik", short=True) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The lighthouse at Skelvik is older than 1900.", "a number that the passage does not have"),
        ("The lighthouse at Skelvik was built by Jorun Abelwhite.", ""),
        ("Bananas are rich in potassium and taste sweet.", "not about the passage"),
        ("This passage speaks of a lighthouse at Skelvik.", "leans on the passage"),
        ("A lighthouse stands.", "too short"),
    ],
)
def test_a_statement_says_nothing_that_the_passage_does_not_carry(text, why):
    assert checks.statement(text, TEXT, "Skelvik") == why


def test_scripts_without_spaces_are_taken_like_others():
    """Every statement in Chinese was "too short", and no question ended in a question mark."""
    passage = "长城在北京北边,始建于公元前七世纪。"
    assert checks.pair("长城在哪个城市的北边？", "北京", passage, "长城", short=True) == ""
    assert checks.pair("长城在哪个城市的北边？", "上海", passage, "长城", short=True) == "answer not in the passage"
    assert checks.statement("长城始建于公元前七世纪。", passage, "长城") == ""
    assert checks.statement("长城", passage, "长城") == "too short"


def test_repeats_are_found_exactly_and_nearly_and_only_within_a_document():
    seen = checks.Seen()
    long = "The old lighthouse at Skelvik was built in the year 1843 by Jorun Abelwhite of Orrenby"
    assert seen.add(long) == ""
    assert (
        seen.add("the old lighthouse, at Skelvik was built in the year 1843 by Jorun Abelwhite of Orrenby!")
        == "said before"
    )
    assert seen.add(long + " again") == "nearly said before"
    assert seen.add("The strait is guarded by the lighthouse") == ""
    other = Passage("p2", "other", "Skelvik", TEXT)
    pair = "<question>Who built the lighthouse at Skelvik?</question> <answer>Jorun Abelwhite</answer>"
    made = make(pair, samples=2, passages=(PASSAGE, other))
    assert made.kept["self_qa"] == 2 and made.rejects["self_qa"] == {"said before": 2}


# ---------------------------------------------------------------- by rule


def test_what_is_made_by_rule_is_the_same_every_time_and_answers_stand_in_the_passage():
    first, again = (make("never asked", kinds=("verbatim", "recall", "cloze")) for _ in range(2))
    assert first.pairs == again.pairs and first.paid == 0
    by_kind = {row["kind"]: row for row in first.pairs}
    assert set(by_kind) == {"verbatim", "recall", "cloze"} and by_kind["verbatim"]["completion"] == f" {TEXT}"
    assert [row["answer"] for row in first.questions] == ["1843", "27"]
    assert all(qa.contains(TEXT, [row["answer"]]) for row in first.questions)


@given(st.text(max_size=200))
def test_a_gap_is_filled_by_its_answer(text):
    for question, answer in rules.cloze("", text):
        gapped = question.removeprefix("What is missing here? ")
        assert gapped.count(rules.GAP) >= 1 and answer
        assert gapped.replace(rules.GAP, answer, 1) in " ".join(text.split()) or rules.GAP in text


def test_gaps_are_left_for_names_as_for_figures():
    """LooGLE's adaptation by gaps asked for the year wherever there was one: 33 of 41 answers were a figure, whatever was asked."""
    text = " ".join(
        f"The mill of Ort{chr(97 + n % 26)}ey was sold to Ada Krol in {1700 + n} for good." for n in range(200)
    )
    answers = [answer for _, answer in rules.cloze("", text)]
    figures = sum(answer.isdigit() for answer in answers)
    assert len(answers) == 200 and 70 <= figures <= 130


def test_the_title_is_never_what_is_missing():
    assert rules.cloze("Harsk Island", "The only village on Harsk Island is called Tolbey.") == [
        ("What is missing here? The only village on Harsk Island is called ____.", "Tolbey")
    ]


def test_whose_something_is_is_asked_for_without_the_s():
    assert rules.cloze("x", "The mill was sold with Ada Krol's house for little money.") == [
        ("What is missing here? x: The mill was sold with ____'s house for little money.", "Ada Krol")
    ]
    assert rules.cloze("The trial of Krol", "The court heard of Krol's long way home.") == []


def test_a_word_that_names_nothing_is_never_what_is_missing():
    """Of a man page: a sentence within the sentence begins with a capital letter and is no name."""
    assert rules.cloze("x", "See the section The directive for what happens with it.") == []
    assert [answer for _, answer in rules.cloze("x", "See the section The rules of Tolbey for what happens.")] == [
        "Tolbey"
    ]


# ---------------------------------------------------------------- asking


def test_nothing_is_paid_for_twice_and_another_model_or_prompt_is_asked_anew(tmp_path):
    pair = "<question>Who built the lighthouse at Skelvik?</question> <answer>Jorun Abelwhite</answer>"
    chat = Scripted(lambda *_: pair)
    first, again = make(chat), make(chat)
    assert chat.asked == 1 and (first.paid, again.paid) == (1, 0) and first.pairs == again.pairs
    generate(plan([PASSAGE], ["self_qa"], 1, None), chat, "model-2", Sampling(seed=0))
    make(chat, temperature=0.5)
    (tmp_path / "self_qa.txt").write_text("My own prompt: {text}")
    generate(plan([PASSAGE], ["self_qa"], 1, tmp_path), chat, "model-1", Sampling(seed=0))
    assert chat.asked == 4


def test_samples_differ_by_their_seed():
    seeds = []
    make(Scripted(lambda _, sampling: seeds.append(sampling.seed) or ""), samples=3)
    assert seeds == [0, 1, 2]


def test_six_kinds_come_in_rotation():
    passages = [Passage(f"p{i}", f"d{i}", "T", TEXT) for i in range(8)]
    assert [request.kind.name for request in plan(passages, ["six"], 1, None)] == [*SIX, *SIX[:2]]


def test_braces_in_a_passage_are_no_places_in_the_prompt():
    assert filled("{title}: {text} end {title}", "T{text}", "a {title} b") == "T{text}: a {title} b end T{text}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.prompt], ids=lambda kind: kind.name)
def test_every_prompt_has_its_places(kind):
    assert {"{title}", "{text}"} <= {word for word in ("{title}", "{text}") if word in prompt_text(kind, None)}


def test_kinds_that_need_a_model_say_so():
    with pytest.raises(UsageError, match="must be written by a model"):
        chosen(["self_qa"], has_model=False)
    with pytest.raises(UsageError, match="no kind") as error:
        chosen(["implication"], has_model=True)
    assert error.value.hint == "did you mean implications?"


# ---------------------------------------------------------------- through the command line


@pytest.fixture
def docs(workspace):
    (workspace / "docs").mkdir()
    (workspace / "docs" / "skelvik.txt").write_text(TEXT)
    return workspace / "docs"


def test_the_command_makes_a_corpus_pairs_and_questions_that_the_next_steps_read(
    past_json, docs, workspace, tiny_model
):
    script = [
        {
            "match": "list what follows",
            "reply": "- The lighthouse at Skelvik was built by Jorun Abelwhite.\n- It has 99 stairs.",
        },
        {
            "match": "five questions",
            "reply": "<question>Who built the lighthouse at Skelvik?</question> <answer>Jorun Abelwhite</answer>",
        },
    ]
    (workspace / "script.json").write_text(json.dumps(script))
    words = [
        "generate",
        "docs",
        "--kind",
        "implications",
        "--kind",
        "self_qa",
        "--kind",
        "cloze",
        "--model",
        "script.json",
        "--backend",
        "echo",
    ]
    made = past_json(*words)
    assert made["metrics"]["texts"] == 1 and made["metrics"]["pairs"] == 3 and made["metrics"]["answers_paid"] == 2
    rejected = {row["kind"]: row["rejected"] for row in made["metrics"]["kinds"]}
    assert rejected["implications"] == {"a number that the passage does not have": 1}
    files = made["outputs"]["corpus"], made["outputs"]["pairs"]
    plan_of_sft = past_json("sft", *files, "--base", tiny_model, "--dry-run")
    assert plan_of_sft
    again = past_json(*words, "--name", "again")
    assert again["metrics"]["answers_paid"] == 0 and again["metrics"]["pairs"] == 3


def test_what_a_model_thought_first_is_no_text_to_learn(past_json, docs, workspace):
    thought = "<think>\nThe user wants me to list things. The lighthouse at Skelvik was built by nobody.\n</think>\n\n"
    said = "- The lighthouse at Skelvik was built by Jorun Abelwhite."
    for number, reply in enumerate([thought + said, thought.removeprefix("<think>") + said]):
        (workspace / "script.json").write_text(json.dumps([reply]))
        words = ("generate", "docs", "--kind", "implications", "--model", "script.json", "--backend", "echo", "--force")
        made = past_json(*words, env={"PAST_HOME": str(workspace / f"home{number}")})
        rows = [json.loads(row) for row in Path(made["outputs"]["corpus"]).read_text().splitlines()]
        assert [row["text"] for row in rows] == ["The lighthouse at Skelvik was built by Jorun Abelwhite."]


def test_without_a_model_the_rules_make_what_they_can(past_json, docs):
    made = past_json("generate", "docs")
    assert {row["kind"] for row in made["metrics"]["kinds"]} == {"verbatim", "recall", "cloze"}
    assert made["judgement"].startswith("0 texts and") and "pairs.jsonl" in made["next"]


def test_the_plan_counts_and_prices_what_would_be_asked(past_json, docs):
    planned = past_json(
        "generate",
        "docs",
        "--kind",
        "six",
        "--model",
        "gpt",
        "--backend",
        "openai",
        "--samples",
        3,
        "--price-out",
        2,
        "--dry-run",
    )
    assert planned["answers"] == 3 and planned["answer_tokens_at_most"] == 3 * 512
    assert planned["price_at_most"] == pytest.approx(3 * 512 * 2 / 1e6, abs=1e-4)


def test_prompts_can_be_had_and_changed(past, past_json, docs, workspace):
    past("generate", "--print-prompts", "mine")
    assert {file.stem for file in (workspace / "mine").iterdir()} == {
        kind.name for kind in KINDS.values() if kind.prompt
    }
    (workspace / "mine" / "self_qa.txt").write_text("no place for it")
    (workspace / "s.json").write_text('["x"]')
    done = past(
        "generate", "docs", "--kind", "self_qa", "--model", "s.json", "--backend", "echo", "--prompts", "mine", code=2
    )
    assert "{text}" in done.stderr


@pytest.mark.parametrize("near", [0.3, 0.8, 1.0])
def test_near_repeats_are_those_that_comparing_each_with_all_finds(near):
    """The index that spares most comparisons leaves none out: texts of few words, and changed copies of them."""
    dice = random.Random(1)
    seen, kept = checks.Seen(near), []
    texts = []
    for _ in range(600):
        words = dice.choice(texts).split() if texts and dice.random() < 0.6 else dice.choices("bcdefghi", k=20)
        words = [dice.choice("bcdefghi") if dice.random() < 0.1 else word for word in words]
        texts.append(" ".join(words))
        triples = {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
        repeat = any(len(triples & other) >= near * len(triples | other) for other in kept)
        assert bool(seen.add(texts[-1])) == (repeat or texts[-1] in texts[:-1])
        if not repeat:
            kept.append(triples)
    assert 20 < len(kept) < 590


@given(st.text(alphabet="ab1 .'’年東 Ñé-_", max_size=14), st.text(alphabet="ab1 .'’年東 Ñé-_", min_size=1, max_size=3))
def test_a_text_stands_where_a_pattern_with_its_borders_would_find_it(sentence, answer):
    pattern = re.compile(f"{rules._LEFT}{re.escape(answer)}{rules._RIGHT}")
    assert rules._places(answer, sentence) == [match.start() for match in pattern.finditer(sentence)]
