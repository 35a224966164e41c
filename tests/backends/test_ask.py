"""Asking a model: one question, piped lines, several models side by side, a skill for the occasion."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pastcli.api import Completion, Sampling
from pastcli.conversation import Conversation
from pastcli.errors import ContextOverflow


class Tokens:
    """A `TokenModel` whose tokens are characters: it says `text`, then its end token."""

    name, context = "tokens", 10_000

    def __init__(self, text):
        self.text, self.prompts, self.calls = text, [], 0

    def render(self, messages):
        return "".join(f"<{m.role}>{m.content}" for m in messages) + "<assistant>"

    def encode(self, text, special):
        self.prompts.append(text)
        return list(map(ord, text))

    def decode(self, ids):
        return "".join(map(chr, ids))

    def complete_tokens(self, prompts, samplings):
        self.calls += 1
        said = self.decode(prompts[0]).removeprefix(self.prompts[-1])
        rest = self.text[len(said) :][: samplings[0].max_tokens]
        done = len(said) + len(rest) == len(self.text)
        return [Completion(rest, "stop" if done else "length", token_ids=tuple(map(ord, rest)))]

    def complete(self, prompts, sampling):
        raise AssertionError("a model with tokens is asked in tokens")

    def chat(self, messages, sampling):
        raise NotImplementedError

    def close(self):
        pass


def test_text_appears_in_pieces_that_make_up_the_whole_answer():
    model = Tokens("The lighthouse was built in 1843.")
    pieces = list(Conversation(model, "chat", Sampling(256)).ask("When?"))
    assert len(pieces) > 2 and "".join(pieces) == model.text


def test_the_length_limit_holds_over_all_pieces():
    assert "".join(Conversation(Tokens("x" * 100), "chat", Sampling(max_tokens=21)).ask("Say x")) == "x" * 21


class Ending(Tokens):
    """One that gives its end token among the tokens, and decodes it as text, as transformers do."""

    def complete_tokens(self, prompts, samplings):
        done = super().complete_tokens(prompts, samplings)[0]
        text = done.text.split("$", 1)[0]
        return [
            Completion(text, done.finish if text == done.text else "stop", token_ids=done.token_ids[: len(text) + 1])
        ]


@pytest.mark.parametrize("form", ["chat", "qa"])
@pytest.mark.parametrize("text", ["$", "Yes$", "In 1843$", "a chunk.$", "More than a chunk or two of text.$", "x  $"])
def test_what_ends_an_answer_is_no_part_of_it(form, text):
    talk = Conversation(Ending(text), form, Sampling(256))
    assert "".join(talk.ask("When?")) == text.removesuffix("$").strip()
    if form == "chat":
        assert talk.said[-1].content == text.removesuffix("$").strip()


def test_a_stop_inside_a_token_keeps_what_stands_before_it():
    """`.\\n` may be one token: the answer still ends in its full stop."""

    class Words(Tokens):
        def decode(self, ids):
            return "".join({1: "In 1843", 2: ".\\n"}.get(one, "?") for one in ids)

        def complete_tokens(self, prompts, samplings):
            return [Completion("In 1843.", "stop", token_ids=(1, 2))]

    assert "".join(Conversation(Words(""), "qa", Sampling(256)).ask("When?")) == "In 1843."


def test_a_closed_book_answer_is_its_first_line():
    talk = Conversation(Tokens(" 1843\nQuestion: and then?"), "qa", Sampling(256))
    assert "".join(talk.ask("When?")) == "1843" and talk.model.prompts == ["Question: When?\nAnswer:"]


def test_a_conversation_keeps_what_was_said():
    talk = Conversation(Tokens("Yes."), "chat", Sampling(256))
    list(talk.ask("One?")), list(talk.ask("Two?"))
    assert talk.model.prompts[1] == "<user>One?<assistant>Yes.<user>Two?<assistant>"


@pytest.mark.parametrize("form", ["chat", "qa"])
def test_what_a_model_has_no_room_to_answer_is_said_and_forgotten(form):
    talk = Conversation(Tokens("Yes."), form, Sampling(256))
    with pytest.raises(ContextOverflow, match="does not fit the model's 10000"):
        list(talk.ask("x" * 10_000))
    assert "".join(talk.ask("Two?")) == "Yes." and "xx" not in talk.model.prompts[-1]


@pytest.fixture
def script(workspace):
    (workspace / "one.json").write_text(json.dumps(["Ann"]))
    (workspace / "two.json").write_text(json.dumps(["Ben"]))
    return workspace


def test_one_question_goes_to_standard_output_alone(script, past):
    done = past("ask", "Who?", "--model", "one.json", "--backend", "echo")
    assert done.stdout == "Ann\n"


def test_several_models_answer_side_by_side(script, past, past_json):
    words = ["ask", "Who?", "--model", "one.json", "--compare", "two.json", "--backend", "echo"]
    assert past_json(*words) == {"question": "Who?", "answers": {"one.json": "Ann", "two.json": "Ben"}}
    assert past(*words).stdout == "one.json:\nAnn\ntwo.json:\nBen\n"


def test_piped_lines_are_asked_one_by_one(script, python):
    words = [python, "-m", "pastcli", "ask", "--model", "one.json", "--backend", "echo"]
    done = subprocess.run(words, input="Who?\n\nWho else?\n", capture_output=True, text=True, env=os.environ)
    assert done.stdout == "Ann\nAnn\n" and done.returncode == 0


def test_a_skill_cannot_be_added_to_a_model_that_is_elsewhere(script, past):
    (script / "s.safetensors").touch()
    done = past("ask", "Who?", "--model", "one.json", "--backend", "echo", "--vector", "s.safetensors", code=2)
    assert "no skill can be added" in done.stderr


def test_a_real_model_is_asked_and_a_skill_changes_what_computes(make_tiny, workspace, past_json, past):
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl", seed=1)
    past("extract", "--sft", base, "--rl", rl, "-o", "skill.safetensors")
    words = ["ask", "Which river?", "--prompt", "qa", "--max-new-tokens", 12, "--temperature", 1, "--model", base]
    plain, other = past_json(*words, "--compare", rl)["answers"].values()
    with_skill = past_json(*words, "--vector", "skill.safetensors")["answers"][f"{base} + skill.safetensors"]
    assert with_skill == other != plain
    assert past_json(*words, "--vector", "@extract")["answers"][f"{base} + @extract"] == other
    assert "no run '@distill'" in past(*words, "--vector", "@distill", code=2).stderr


def test_a_question_longer_than_the_model_is_no_empty_answer(make_tiny, workspace, past, past_json, python):
    """It was answered with an empty line and exit code 0, as if the model had nothing to say."""
    short, long = make_tiny(workspace / "short"), make_tiny(workspace / "long", max_position_embeddings=4096)
    words = ["ask", "Which river? " * 100, "--prompt", "qa", "--max-new-tokens", 4, "--temperature", 1]
    done = past(*words, "--model", short, code=1)
    assert "does not fit the model's 256" in done.stderr and "ask something shorter" in done.stderr and not done.stdout
    assert past_json(*words, "--model", short, code=1)["exit_code"] == 1
    answers = past_json(*words, "--model", short, "--compare", long)["answers"]
    assert answers[str(short)] is None and answers[str(long)]
    piped = [python, "-m", "pastcli", "ask", "--prompt", "qa", "--model", str(short), "--temperature", "1"]
    done = subprocess.run(piped, input=f"{words[1]}\nWhich?\n", capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and "does not fit" in done.stderr and done.stdout[0] == "\n" and done.stdout.strip()


def test_a_model_with_a_skill_and_the_same_without_are_two(make_tiny, workspace, past_json, past):
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl", seed=1)
    past("extract", "--sft", base, "--rl", rl, "-o", "skill.safetensors")
    words = ["ask", "Which river?", "--prompt", "qa", "--max-new-tokens", 12, "--temperature", 1]
    words += ["--model", "base", "--vector", "skill.safetensors"]
    found = past_json(*words, "--compare", "base", "--compare", "rl")["answers"]
    assert list(found) == ["base + skill.safetensors", "base", "rl"]
    assert found["base + skill.safetensors"] == found["rl"] != found["base"]
    shown = past(*words, "--compare", "base").stdout
    assert "base + skill.safetensors:\n" in shown and "\nbase:\n" in shown
    halved = past_json(*words, "--scale", 0.5, "--compare", "base")
    assert list(halved["answers"]) == ["base + 0.5 * skill.safetensors", "base"]
    twice = past_json(*words[:-1], "skill.safetensors:2", "--scale", 0.5)
    assert list(twice["answers"]) == ["base + skill.safetensors"]


def test_the_same_model_twice_is_refused(script, past):
    words = ["ask", "Who?", "--model", "one.json", "--compare", "one.json", "--backend", "echo"]
    assert "one.json is asked twice" in past(*words, code=2).stderr


@pytest.fixture(scope="module")
def asked(warmed, make_tiny, tmp_path_factory):
    """The same trained model as a folder and as a GGUF, by backend."""
    from gguf_tools import reference_gguf

    return {"hf": warmed, "llamacpp": reference_gguf(warmed, tmp_path_factory.mktemp("asked") / "warm.gguf")}


@pytest.mark.parametrize("backend", ["hf", "llamacpp"])
def test_what_is_asked_and_what_is_graded_are_the_same_words(asked, workspace, past, past_json, backend):
    """The model ends its answers with its end token, which is no part of them on a terminal, as JSON, or in `past eval`."""
    (workspace / "q.jsonl").write_text(json.dumps({"question": "Which river 1?", "answer": "dog"}) + "\n")
    found = past_json("eval", "--questions", "q.jsonl", "--model", f"m={asked[backend]}", "--backend", backend)
    rows = (workspace / "runs" / found["run"] / "answers" / "1.jsonl").read_text()
    assert json.loads(rows)["prediction"] == "dog"
    words = ["ask", "Which river 1?", "--prompt", "qa", "--model", asked[backend]]
    assert past(*words).stdout == "dog\n"
    assert list(past_json(*words)["answers"].values()) == ["dog"]


def test_no_bar_of_a_library_runs_into_a_log(asked, workspace):
    """transformers draws one of its own while it reads a GGUF."""
    words = [sys.executable, "-m", "pastcli", "ask", "Which river 1?", "--model", asked["llamacpp"], "--backend", "hf"]
    environment = {**os.environ, "PAST_HOME": str(workspace / "home")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "it/s" not in done.stderr and "%|" not in done.stderr, done.stderr
