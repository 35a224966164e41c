"""Evaluation asks each question once, survives a kill, and its comparison says what the numbers carry."""

import json

import numpy as np
import pytest

from pastcli import evals
from pastcli.api import Completion, Question
from pastcli.config import EvalConfig
from pastcli.errors import UsageError
from pastcli.evals import compare, evaluate, finished
from pastcli.evals.closed_book import read_transcript

CONFIG = EvalConfig(batch_size=4, resamples=200)
QUESTIONS = [Question(f"q{n}", f"What is number {n}?", (str(n),)) for n in range(10)] + [Question("none", "Why?", ())]


class Model:
    """Answers `What is number N?` right for the numbers it knows; may die after some batches."""

    name = "fake"

    def __init__(self, known, lives=99):
        self.known, self.lives, self.prompts = known, lives, []

    def complete(self, prompts, sampling):
        assert sampling.temperature == 0 and sampling.stop == ("\n",)
        if not self.lives:
            raise KeyboardInterrupt
        self.lives -= 1
        self.prompts += prompts
        numbers = [int(prompt.split("number ")[1].split("?")[0]) for prompt in prompts]
        return [Completion(f" {n if n in self.known else 'unknown'}\nnext", completion_tokens=2) for n in numbers]


def test_every_gradable_question_is_asked_once_and_scored():
    model = Model(range(5))
    result = evaluate(model, QUESTIONS, CONFIG)
    assert model.prompts == [f"Question: What is number {n}?\nAnswer:" for n in range(10)]
    assert (sum(result.scores("exact")), result.ungradable, result.tokens) == (5, 1, 2)
    assert [answer.prediction for answer in result.answers][4:6] == ["4", "unknown"]


def test_killed_evaluation_goes_on_where_it_stopped(tmp_path):
    transcript = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(Model(range(5), lives=2), QUESTIONS, CONFIG, transcript)
    with open(transcript, "a") as file:
        file.write('{"id": "q8", "question": "What is num')  # the kill fell into a write
    assert finished(transcript, QUESTIONS) is None
    again, seen = Model(range(5)), []
    result = evaluate(again, QUESTIONS, CONFIG, transcript, lambda done, total, scores: seen.append((done, total)))
    assert len(again.prompts) == 2 and seen == [(8, 10), (10, 10)]
    assert result == evaluate(Model(range(5)), QUESTIONS, CONFIG) == finished(transcript, QUESTIONS)
    assert [row.id for row in read_transcript(transcript)] == [f"q{n}" for n in range(10)]


def test_rows_of_other_questions_are_not_taken_for_answers(tmp_path):
    evaluate(Model(range(5)), QUESTIONS, CONFIG, tmp_path / "a.jsonl")
    changed = [Question(q.id, q.question, ("other",)) for q in QUESTIONS[:10]]
    assert len(evaluate(Model([]), changed, CONFIG, tmp_path / "a.jsonl").answers) == 10
    assert finished(tmp_path / "none.jsonl", QUESTIONS) is None


def test_questions_without_any_answer_are_refused():
    with pytest.raises(UsageError, match="none of the 1 questions"):
        evaluate(Model([]), QUESTIONS[-1:], CONFIG)


def test_comparison_tests_every_model_against_the_reference():
    results = {
        name: evaluate(Model(known), QUESTIONS, CONFIG)
        for name, known in (("sft", [0]), ("skill", range(10)), ("random", [1]))
    }
    got = compare(results, CONFIG, "sft")
    assert list(got.differences) == ["skill", "random"] and (got.questions, got.ungradable) == (10, 1)
    assert got.scores["sft"]["exact"] == pytest.approx((0.1, 0.0179, 0.4042), abs=1e-4)
    skill, control = got.differences["skill"]["exact"], got.differences["random"]["exact"]
    assert (skill.mean, skill.p, skill.p_holm) == pytest.approx((0.9, 2 / 512, 4 / 512))
    assert (control.mean, control.p, control.p_holm) == (0, 1, 1)
    assert got.differences["skill"]["f1"].low > 0.6
    assert json.loads(json.dumps(got.to_dict()))["models"]["skill"]["f1"]["mean"] == 1
    assert compare({"sft": results["sft"]}, CONFIG).differences == {}


def test_questions_on_one_document_count_as_one_observation():
    """Ten questions on two documents each right or wrong together say less than ten that are independent."""

    def asked(documents):
        on = [Question(q.id, q.question, q.answers, f"d{n * documents // 10}") for n, q in enumerate(QUESTIONS[:10])]
        return compare(
            {name: evaluate(Model(known), on, CONFIG) for name, known in (("a", []), ("b", range(5)))}, CONFIG, "a"
        )

    few, some, alone = asked(2), asked(6), asked(10)
    assert [(got.documents, got.units) for got in (few, some, alone)] == [
        (2, "documents"),
        (6, "documents"),
        (10, "questions"),
    ]
    assert few.differences["b"]["exact"].p == 1.0, "one document changed: two documents tell nothing"
    assert asked(1).units == "questions", "one document has nothing beside it to vary with"
    assert some.differences["b"]["exact"].p == 2 / 8, "three documents changed"
    low, high = (some.scores["b"]["exact"].low, some.scores["b"]["exact"].high)
    assert low < alone.scores["b"]["exact"].low and high > alone.scores["b"]["exact"].high
    assert some.to_dict()["units"] == "documents"


def test_comparison_refuses_different_questions_and_unknown_reference():
    a, b = evaluate(Model([]), QUESTIONS, CONFIG), evaluate(Model([]), QUESTIONS[:4], CONFIG)
    with pytest.raises(UsageError, match="different questions"):
        compare({"a": a, "b": b}, CONFIG)
    with pytest.raises(UsageError, match="'c'"):
        compare({"a": a}, CONFIG, "c")


def test_labels_name_controls_and_stages():
    assert evals.label_for("models/x/", "inject", "random") == "random control"
    assert [evals.label_for("@sft", "sft"), evals.label_for("models/x/"), evals.label_for("a")] == ["sft", "x", "a"]


# ---------------------------------------------------------------- command


@pytest.fixture
def quiz(workspace):
    """Ten questions and two scripted models, of which `good` knows all answers and `bad` one."""
    rows = [{"id": q.id, "question": q.question, "answer": q.answers[0] if q.answers else None} for q in QUESTIONS]
    (workspace / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rules = [{"match": f"number {n}\\?", "reply": f" {n}\nx"} for n in range(10)]
    (workspace / "good.json").write_text(json.dumps(rules))
    (workspace / "bad.json").write_text(json.dumps([rules[0], {"match": ".", "reply": "dunno"}]))
    return ("eval", "--backend", "echo", "--questions", "q.jsonl", "--model", "bad.json", "--model", "good=good.json")


def test_eval_command_compares_keeps_every_answer_and_draws(past, past_json, workspace, quiz):
    done = past_json(*quiz, "--plot", "p.png", "--min-gain", "0.5")
    assert done["models"]["good"]["exact"]["mean"] == 1 and done["reference"] == "bad.json"
    assert done["differences"]["good"]["contains"]["p"] == pytest.approx(2 / 512)
    assert (done["questions"], done["ungradable"]) == (10, 1)
    assert (workspace / "p.png").read_bytes().startswith(b"\x89PNG")
    rows = read_transcript(workspace / "runs" / done["run"] / "answers" / "2.jsonl")
    assert [row.prediction for row in rows] == [str(n) for n in range(10)]
    again = past(*quiz, "--plot", "p.png", "--resume", "--min-f1", "1.1", code=4)
    assert "already finished" in again.stderr and "below --min-f1" in again.stderr and "10 questions" in again.stdout
    assert past_json(*quiz, "--plot", "p.png", "--min-gain", "0.5", "--resume") == done


def test_eval_command_resumes_without_asking_twice(past, past_json, workspace, quiz):
    """A model that fails after its first batch leaves its answers; mended, it is asked only the rest."""
    rules = json.loads((workspace / "good.json").read_text())
    (workspace / "good.json").write_text(json.dumps(rules[:6]))
    failed = past(*quiz, "--batch-size", "4", code=1)
    assert "no rule" in failed.stderr
    [partial] = (workspace / "runs" / ".partial").glob("eval-*")
    assert [len(read_transcript(partial / "answers" / f"{n}.jsonl")) for n in (1, 2)] == [10, 4]
    (workspace / "good.json").write_text(json.dumps(rules))
    changed = past(*quiz, "--batch-size", "4", "--resume", code=2)
    assert "has changed since" in changed.stderr
    (workspace / "good.json").write_text(json.dumps(rules[:6]))
    past(*quiz, "--batch-size", "4", "--resume", code=1)
    assert [len(read_transcript(partial / "answers" / f"{n}.jsonl")) for n in (1, 2)] == [10, 4]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--reference", "nope"), 2, "no model labelled 'nope'"),
        (("--model", "good=bad.json"), 2, "two models are labelled 'good'"),
        (("--model", "=bad.json"), 2, "has no label before the ="),
        (("--model", " =bad.json"), 2, "has no label before the ="),
        (("--min-gain", "0", "--reference", "good"), 2, "--min-gain compares"),
        (("--questions", "none.jsonl"), 2, "no questions file"),
        (("--questions", "deep.jsonl"), 2, "deep.jsonl, line 1: nested more than 100 deep"),
        (("--plot", "p.xyz"), 2, "cannot draw a .xyz file"),
    ],
)
def test_eval_command_refuses(past, workspace, quiz, words, code, says):
    (workspace / "deep.jsonl").write_text(f'{{"question": "x?", "answer": {"[" * 600}{"]" * 600}}}')
    assert says in past(*quiz, *words, code=code).stderr


def test_eval_command_without_a_model_says_what_to_do(past, quiz):
    assert "give --model PATH" in past("eval", "--questions", "q.jsonl", "--backend", "echo", code=2).stderr


def test_eval_command_takes_the_newest_run_and_runs_it_on_transformers(past_json, workspace, make_tiny, quiz):
    """The default backend on a real (tiny, untrained) model, found as the output of a run."""
    from pastcli import runs
    from pastcli.config import InjectConfig

    with runs.start("inject", InjectConfig(control="random")) as run:
        make_tiny(run.dir / "model")
        run.add_output("model", run.dir / "model")
    done = past_json("eval", "--questions", "q.jsonl", "--max-new-tokens", "3", "--resamples", "100")
    assert list(done["models"]) == ["random control"] and done["models"]["random control"]["tokens"] <= 3
    manifest = runs.find(done["run"]).manifest
    assert manifest["parents"] == [run.id] and manifest["inputs"]["model"]["label"] == "random control"


class Scoring(Model):
    """Knows the probabilities of texts: `sharp` 0 finds all tokens alike."""

    def __init__(self, sharp=0.0, vocabulary=7):
        super().__init__(())
        self.sharp, self.vocabulary = sharp, vocabulary

    def log_probabilities(self, texts):
        found = []
        for text in texts:
            ids = [ord(letter) % self.vocabulary for letter in text]
            logits = np.zeros((len(ids) - 1, self.vocabulary), np.float32)
            logits[np.arange(len(ids) - 1), ids[1:]] = self.sharp
            found.append((ids, logits - np.log(np.exp(logits).sum(1, keepdims=True))))
        return found


def test_what_is_kept_of_the_base_is_perplexity_and_divergence():
    yard = evals.yardstick(Scoring())
    same = yard.measure(Scoring())
    assert same.perplexity == pytest.approx(7) == same.base_perplexity and same.kl == 0.0 == same.kl_everyday
    moved = yard.measure(Scoring(1.0))
    p = np.e / (np.e + 6)
    assert moved.perplexity == pytest.approx(1 / p, rel=1e-5)
    assert moved.kl == pytest.approx(np.log(1 / 7) - (np.log(p) + 6 * np.log((1 - p) / 6)) / 7, rel=1e-4)
    with pytest.raises(ValueError, match="vocabulary"):
        yard.measure(Scoring(vocabulary=5))
    assert evals.yardstick(Model(())) is None


def test_eval_prints_the_price_beside_the_gain(past_json, workspace, tiny_model, make_tiny):
    other = make_tiny(workspace / "other", seed=1)
    rows = [{"question": f"Which {i}?", "answer": "x"} for i in range(3)]
    (workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("--model", f"same={tiny_model}", "--model", f"other={other}", "--max-new-tokens", 2)
    found = past_json("eval", "--questions", "q.jsonl", *words, "--retained", tiny_model)["models"]
    assert abs(found["same"]["retained"]["kl"]) < 1e-6 < found["other"]["retained"]["kl"]
    assert found["same"]["retained"]["perplexity"] == pytest.approx(found["same"]["retained"]["base_perplexity"])


@pytest.mark.parametrize("backend", ["hf", "llamacpp"])
def test_a_model_that_computes_nan_is_not_scored_as_one_that_knows_nothing(past, workspace, make_tiny, backend):
    from gguf_tools import reference_gguf
    from vectors_tools import read_model, write_file

    model = make_tiny(workspace / "broken")
    tensors = read_model(model)
    for name in ("gate_proj", "up_proj", "down_proj"):  # numbers, whose products are none
        tensors[f"model.layers.0.mlp.{name}.weight"][:] = 3e38
    (model / "model.safetensors").unlink()
    write_file(model / "model.safetensors", tensors)
    if backend == "llamacpp":
        model = reference_gguf(model, workspace / "broken.gguf")
    (workspace / "q.jsonl").write_text('{"question": "Which river?", "answer": "fox"}\n')
    told = past("eval", "--model", model, "--questions", "q.jsonl", "--backend", backend, code=3).stderr
    assert "computes NaN" in told and "hint:" in told
    assert not [path for path in (workspace / "runs").glob("eval-*") if path.is_dir()]
