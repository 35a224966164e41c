"""Asking a model: one question, piped lines, several models side by side, a skill for the occasion."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pastcli.api import Completion, Sampling
from pastcli.conversation import Conversation


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


def test_a_closed_book_answer_is_its_first_line():
    talk = Conversation(Tokens(" 1843\nQuestion: and then?"), "qa", Sampling(256))
    assert "".join(talk.ask("When?")) == "1843" and talk.model.prompts == ["Question: When?\nAnswer:"]


def test_a_conversation_keeps_what_was_said():
    talk = Conversation(Tokens("Yes."), "chat", Sampling(256))
    list(talk.ask("One?")), list(talk.ask("Two?"))
    assert talk.model.prompts[1] == "<user>One?<assistant>Yes.<user>Two?<assistant>"


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


def test_piped_lines_are_asked_one_by_one(script):
    words = [sys.executable, "-m", "pastcli", "ask", "--model", "one.json", "--backend", "echo"]
    done = subprocess.run(words, input="Who?\n\nWho else?\n", capture_output=True, text=True, env=os.environ)
    assert done.stdout == "Ann\nAnn\n" and done.returncode == 0


def test_a_skill_cannot_be_added_to_a_model_that_is_elsewhere(script, past):
    done = past("ask", "Who?", "--model", "one.json", "--backend", "echo", "--vector", "s.safetensors", code=2)
    assert "no skill can be added" in done.stderr


def test_a_real_model_is_asked_and_a_skill_changes_what_computes(make_tiny, workspace, past_json, past):
    base, rl = make_tiny(workspace / "base"), make_tiny(workspace / "rl", seed=1)
    past("extract", "--sft", base, "--rl", rl, "-o", "skill.safetensors")
    words = ["ask", "Which river?", "--prompt", "qa", "--max-new-tokens", 12, "--temperature", 1, "--model", base]
    plain, other = past_json(*words, "--compare", rl)["answers"].values()
    with_skill = past_json(*words, "--vector", "skill.safetensors")["answers"][str(base)]
    assert with_skill == other != plain
