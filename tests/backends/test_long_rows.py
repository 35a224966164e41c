"""LongRoPE on llama.cpp, which turns every row of a context by the frequencies of the longest that would fit into it."""

from __future__ import annotations

import json

import families
import gguf_reference
import pytest
import torch
from past_llamacpp.chat import LlamaChat
from past_llamacpp.engine import Engine

from pastcli.api import Sampling

TURN = 512


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_tokenizer):
    """(HF directory, GGUF) of a tiny Phi-3 whose rows of more than `TURN` tokens are turned by other factors."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("phi3")
    torch.manual_seed(0)
    config = families.config("phi3", sliding_window=None, max_position_embeddings=4 * TURN, **families.turning(TURN))
    model = families.moved(AutoModelForCausalLM.from_config(config).float(), 0.05, 1)
    model.save_pretrained(folder / "hf")
    tiny_tokenizer.save_pretrained(folder / "hf")
    return folder / "hf", gguf_reference.reference("Phi-3", folder / "hf", folder / "m.gguf")


def test_short_questions_get_the_answers_of_the_model(pair, past, workspace):
    """They were answered by the factors for rows of more than 4,096 tokens: logits were off by 0.44 of their deviation."""
    rows = [{"question": text, "answer": "x"} for text in ("which river", "who founded the bridge of Velmora", "fox")]
    (workspace / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = []
    for backend, path in zip(("hf", "llamacpp"), pair, strict=True):
        asked = ("--questions", "q.jsonl", "--max-new-tokens", 6, "--backend", backend)
        past("eval", "--model", path, *asked, "--name", backend)
        (file,) = (workspace / "runs" / backend / "answers").glob("*.jsonl")
        # Half a character at the end is a mark to one backend and nothing to the other.
        said.append([json.loads(line)["prediction"].rstrip("\ufffd") for line in file.read_text().splitlines()])
    assert said[0] == said[1]


def test_rows_of_any_length_are_answered_as_each_alone(pair):
    """One below, one beyond, and one that gets over it while it is answered, together and one after another."""
    hf, gguf = pair
    model = families.loaded(hf)
    prompts = [[5 + (11 * at + 23 * row) % 300 for at in range(size)] for row, size in enumerate((40, 600, 506, 90))]
    wanted = [tuple(families.greedy(model, prompt, 12, set())) for prompt in prompts]
    chat = LlamaChat("tiny", Engine(gguf, threads=1, extra_buffers=False, precise=True))
    for turn in (prompts, prompts[2:], prompts[:1]):
        found = chat.complete_tokens(turn, [Sampling(max_tokens=12, temperature=0.0)] * len(turn))
        for prompt, answer in zip(turn, found, strict=True):
            whole = wanted[prompts.index(prompt)]
            assert answer.token_ids == whole[: len(answer.token_ids)] and len(answer.token_ids) > 2
    assert chat.context == 4 * TURN
    chat.close()
