"""The baseline that reads: BM25 finds passages, the bare base has them before each question, and the verdict is in words."""

from __future__ import annotations

import json

import pytest

from pastcli import qa, verdict
from pastcli.api import Completion, Passage, Question, Sampling
from pastcli.errors import ContextOverflow, UsageError
from pastcli.evals.retrieval import Reading, retrieve

CORPUS = [
    Passage(f"p{n}", f"d{n}", f"Town {n}", text)
    for n, text in enumerate(
        [
            "The lighthouse of Skelvik was built in 1843.",
            "Harsk lies on the river Marrow; its mill was built in 1901.",
            "Nothing is known of Velmora.",
        ]
    )
]
QUESTIONS = [
    Question("a", "When was the lighthouse of Skelvik built?", ("1843",)),
    Question("b", "On which river lies Harsk?", ("Marrow",)),
    Question("c", "Who rules Xyzzy?", ("Queen Ada",)),
]


class Echo:
    """Answers with the words of its prompt; holds so many characters."""

    name = "echo"

    def __init__(self, context=10_000):
        self.context, self.prompts = context, []

    def complete(self, prompts, sampling):
        if any(len(prompt) > self.context for prompt in prompts):
            raise ContextOverflow("too long")
        self.prompts += prompts
        return [Completion(prompt.replace("\n", " ")) for prompt in prompts]


def test_the_best_passages_come_first_and_what_shares_no_word_is_no_hit():
    found = retrieve(QUESTIONS, CORPUS, 2)
    assert next(p.id for p in found.passages[QUESTIONS[0].question]) == "p0"
    assert next(p.id for p in found.passages[QUESTIONS[1].question]) == "p1"
    assert found.passages[QUESTIONS[2].question] == [] and found.found == pytest.approx(2 / 3)
    with pytest.raises(UsageError, match="no passages"):
        retrieve(QUESTIONS, [], 2)


def test_the_prompt_is_the_closed_book_one_with_passages_before_it():
    chat = Echo()
    Reading(chat, retrieve(QUESTIONS, CORPUS, 1)).complete([qa.prompt_for(q.question) for q in QUESTIONS], Sampling())
    for question, prompt in zip(QUESTIONS, chat.prompts, strict=True):
        assert prompt.endswith(qa.prompt_for(question.question))
    assert "Skelvik was built in 1843" in chat.prompts[0] and chat.prompts[2] == qa.prompt_for(QUESTIONS[2].question)


def test_passages_that_do_not_fit_are_left_out_from_the_last():
    prompt = qa.prompt_for(QUESTIONS[0].question)
    found = retrieve(QUESTIONS, CORPUS, 3)
    assert len(found.passages[QUESTIONS[0].question]) > 1
    chat = Echo(len(qa.with_passages(prompt, ["x" * 60])))
    Reading(chat, found).complete([prompt], Sampling())
    assert "1843" in chat.prompts[0] and "Harsk" not in chat.prompts[0]
    small = Echo(len(prompt))
    Reading(small, found).complete([prompt], Sampling())
    assert small.prompts == [prompt]


# ---------------------------------------------------------------- command


@pytest.fixture
def quiz(workspace):
    """Two scripted models: `sft` knows nothing, `reader` says what stands in its prompt."""
    rows = [
        {"id": q.id, "question": q.question, "answer": q.answers[0], "doc": f"d{n}"} for n, q in enumerate(QUESTIONS)
    ]
    (workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workspace / "docs").mkdir()
    for passage in CORPUS:
        (workspace / "docs" / f"{passage.id}.txt").write_text(passage.text)
    (workspace / "sft.json").write_text(json.dumps([{"match": ".", "reply": "dunno"}]))
    rules = [
        {"match": "1843[^§]*Skelvik", "reply": "1843"},
        {"match": "Marrow", "reply": "Marrow"},
        {"match": ".", "reply": "?"},
    ]
    (workspace / "reader.json").write_text(json.dumps(rules))
    return ("eval", "--backend", "echo", "--questions", "q.jsonl", "--model", "sft=sft.json", "--resamples", "200")


def test_eval_puts_the_baseline_beside_the_models_and_says_what_it_is_worth(past, past_json, quiz):
    words = (*quiz, "--baseline", "retrieval", "--corpus", "docs", "--baseline-model", "reader.json")
    done = past_json(*words)
    assert done["models"]["retrieval"]["contains"]["mean"] == pytest.approx(2 / 3)
    assert done["models"]["sft"]["f1"]["mean"] == 0 and done["reference"] is None and not done["differences"]
    assert done["baseline"]["found"] == pytest.approx(2 / 3) and done["baseline"]["passages"] == 3
    assert done["baseline"]["differences"]["sft"]["f1"]["mean"] == pytest.approx(-2 / 3)
    assert done["judgement"].startswith("sft is not shown to be better than retrieval on 3 questions")
    shown = past(*words, "--resume")
    assert "minus retrieval" in shown.stdout and "for 67% of the questions the answer stands in" in shown.stdout


def test_the_gates_and_the_reference_are_about_models_and_never_the_baseline(past, past_json, quiz):
    words = (
        *quiz,
        "--model",
        "again=sft.json",
        "--baseline",
        "retrieval",
        "--corpus",
        "docs",
        "--baseline-model",
        "reader.json",
    )
    done = past_json(*words)
    assert done["reference"] == "sft" and list(done["differences"]) == ["again"]
    assert "below --min-f1" in past(*words, "--resume", "--min-f1", "0.1", code=4).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--baseline", "rag"), "known: retrieval"),
        (("--corpus", "docs"), "add --baseline retrieval"),
        (("--baseline", "retrieval"), "--corpus DOCS"),
        (("--baseline", "retrieval", "--corpus", "docs"), "--baseline-model"),
        (("--baseline", "retrieval", "--corpus", "none", "--baseline-model", "reader.json"), "no file or folder none"),
        (
            (
                "--model",
                "retrieval=sft.json",
                "--baseline",
                "retrieval",
                "--corpus",
                "docs",
                "--baseline-model",
                "reader.json",
            ),
            "as the baseline is",
        ),
    ],
)
def test_eval_refuses_a_baseline_it_cannot_make(past, quiz, words, says):
    assert says in past(*quiz, *words, code=2).stderr


def test_another_corpus_is_another_evaluation(past, past_json, quiz, workspace):
    words = (*quiz, "--baseline", "retrieval", "--corpus", "docs", "--baseline-model", "reader.json")
    first = past_json(*words)
    (workspace / "docs" / "p1.txt").write_text("Harsk lies on no river at all, and never did.")
    second = past_json(*words)
    assert first["models"]["retrieval"]["f1"]["mean"] > second["models"]["retrieval"]["f1"]["mean"]


def test_a_dry_run_checks_the_plot_and_draws_nothing(past, past_json, quiz, workspace):
    planned = past_json(*quiz, "--plot", "p.png", "--dry-run")
    assert planned["would_draw"] == "p.png" and not list(workspace.glob("*.png*")) and not list(workspace.glob(".*"))
    (workspace / "p.png").write_text("mine")
    assert "already exists" in past(*quiz, "--plot", "p.png", "--dry-run", code=2).stderr


def test_the_baseline_reads_with_the_base_of_the_model_asked(past_json, past, workspace, tiny_model, quiz):
    """On a real (tiny) model: the base is found by lineage, and the skill added to the model is not added to it."""
    past("sft", "docs", "--base", tiny_model, "--epochs", "1", "--mix", "none", "--name", "s", "--lr", "0.01")
    words = ("--questions", "q.jsonl", "--model", "s", "--max-new-tokens", 3, "--resamples", 100, "--passages", 1)
    done = past_json("eval", *words, "--baseline", "retrieval", "--corpus", "docs")
    assert done["baseline"]["model"] == str(tiny_model) and set(done["models"]) == {"sft", "retrieval"}


def test_words_on_both_sides():
    found = {"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.01, "p_holm": 0.01}
    results = {
        "models": {"base": {}, "sft": {}, "retrieval": {}},
        "reference": "base",
        "differences": {"sft": {"f1": found}},
        "units": "questions",
        "questions": 40,
        "documents": 0,
        "baseline": {
            "label": "retrieval",
            "differences": {"sft": {"f1": {**found, "mean": -0.1, "low": -0.15, "high": -0.05}}},
        },
    }
    said = verdict.evaluated(results).judgement
    assert "sft is better than base" in said and "sft is worse than retrieval" in said
