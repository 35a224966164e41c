"""A skill added while a model runs gives the logits of the model that `past inject` writes; a server's prompts are checked."""

import json
from pathlib import Path

import numpy as np
import pytest

from pastcli import models, runs
from pastcli.agent.forms import React
from pastcli.agent.served import Served, unlike
from pastcli.agent.tokens import TokenLine
from pastcli.api import Completion, Message, Sampling, Task


@pytest.fixture(scope="module")
def zoo(make_tiny, tmp_path_factory):
    """An SFT model, two RL models of it, their low-rank skills, and the SFT model as GGUF."""
    from gguf_tools import reference_gguf

    folder = tmp_path_factory.mktemp("zoo")
    sft = make_tiny(folder / "sft", tied=False)
    gguf = reference_gguf(sft, folder / "sft.gguf")
    models.write_note(sft, models.ModelRef("tiny", sft, "hf"), gguf)
    skills = []
    for number in (1, 2):
        rl = _trained(sft, folder / f"rl{number}", number)
        skills.append((rl, folder / f"skill{number}.safetensors"))
    return folder, sft, gguf, skills


def _trained(sft, folder, seed):
    """The model with a rank-2 change in every matrix of its layers."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(sft, folder)
    tensors = load_file(folder / "model.safetensors")
    torch.manual_seed(seed)
    for name, value in tensors.items():
        if ".layers." in name and value.ndim == 2:
            tensors[name] = value + 0.05 * torch.randn(value.shape[0], 2) @ torch.randn(2, value.shape[1])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def skills(zoo, past):
    _folder, sft, _, pairs = zoo
    for rl, out in pairs:
        if not out.exists():
            past("extract", "--sft", sft, "--rl", rl, "--rank", 2, "-o", out)
    return [out for _, out in pairs]


IDS = list(range(3, 40))


def hf_logits(path, **options):
    import past_hf
    import torch

    chat = past_hf.load_chat(path, precision="fp32", **options)
    with torch.no_grad():
        logits = chat.model(torch.tensor([IDS])).logits[0, -1].float().numpy()
    chat.close()
    return logits


def llama_logits(path, **options):
    from past_llamacpp import load_chat

    chat = load_chat(path, threads=1, extra_buffers=False, **options)
    chat.engine.prefill(IDS)
    logits = np.array(chat.engine.logits())
    chat.close()
    return logits


def test_logits_are_those_of_the_injected_model(zoo, skills, past):
    folder, sft, gguf, _ = zoo
    wanted = folder / "both"
    if not wanted.exists():
        past(
            "inject",
            "--vector",
            f"{skills[0]}:0.8",
            "--vector",
            f"{skills[1]}:-0.5",
            "--target",
            sft,
            "--dtype",
            "f32",
            "-o",
            wanted,
        )
    pairs = [(skills[0], 0.8), (skills[1], -0.5)]
    before = hf_logits(sft)
    injected = hf_logits(wanted)
    assert np.abs(injected - before).max() > 0.05
    assert np.abs(hf_logits(sft, lora=pairs) - injected).max() < 1e-4
    assert np.abs(llama_logits(gguf, lora=pairs) - injected).max() < 0.02 * np.abs(injected - before).max() + 5e-3
    assert np.abs(hf_logits(sft) - before).max() == 0, "a file was rewritten"


FUNCTIONS = [{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]


def test_the_commands_take_skills_at_run_time(zoo, skills, past, past_json):
    _folder, sft, gguf, _ = zoo
    Path("tools.json").write_text(json.dumps(FUNCTIONS))
    Path("q.jsonl").write_text(json.dumps({"question": "who?", "answer": "x"}) + "\n")
    ask = ("agent", "--tools", "tools.json", "--query", "hi", "--max-turns", 1, "--max-new-tokens", 4)
    run = past_json(*ask, "--model", gguf, "--vector", skills[0], "--vector", f"{skills[1]}:0.5", "--scale", "0.8")
    header = json.loads(Path(run["outputs"]["transcript"]).read_text().splitlines()[0])
    assert [factor for _, factor in header["vectors"]] == [0.8, 0.4]
    shown = past_json("runs", "show", run["run"])
    assert shown["inputs"]["vector2"]["scale"] == 0.4
    (answers,) = Path(run["outputs"]["tooleval"]).glob("*/tools.json")
    owners = [
        (runs.owner_of(skill), skill) for skill in skills
    ]  # a skill is called by its run, if that is of this workspace
    first, second = (owner.id if owner else skill.name for owner, skill in owners)
    assert answers.parent.name == f"{gguf.name}+0.8_{first}+0.4_{second}", (
        "ToolEval would take it for the model without"
    )
    asked = past_json("eval", "--model", sft, "--questions", "q.jsonl", "--vector", skills[0], "--scale", "0.8")
    assert list(asked["models"]) == [f"sft + 0.8 * {first}"], "it would be taken for the model without"
    assert asked["models"][f"sft + 0.8 * {first}"]["role"] == "skill"
    named = past_json("eval", "--model", f"mine={sft}", "--questions", "q.jsonl", "--vector", skills[0])
    assert list(named["models"]) == ["mine"]
    Path("script.json").write_text('["x"]')
    told = past(*ask, "--backend", "echo", "--model", "script.json", "--vector", skills[0], code=2).stderr
    assert "cannot add a skill" in told
    assert "nothing to act on" in past(*ask, "--model", gguf, "--scale", "0.5", code=2).stderr


def test_a_skill_of_another_model_is_refused_at_run_time(zoo, skills, make_tiny, tmp_path, past):
    Path("tools.json").write_text(json.dumps(FUNCTIONS))
    other = make_tiny(tmp_path / "other", tied=False, hidden_size=16)
    past(
        "agent",
        "--tools",
        "tools.json",
        "--query",
        "hi",
        "--backend",
        "hf",
        "--model",
        other,
        "--vector",
        skills[0],
        code=3,
    )


# ---------------------------------------------------------------- a server


class Server:
    """A completions server on a local model: text in, text and a count of tokens out, as llama.cpp's own server does it."""

    raw = True

    def __init__(self, model):
        self.model, self.name, self.prompts = model, "server", []

    def complete(self, prompts, sampling):
        self.prompts += [self.model.encode(prompt, True) for prompt in prompts]
        done = self.model.complete(prompts, sampling)[0]
        return [Completion(done.text, done.finish, done.prompt_tokens, done.completion_tokens, done.prompt_tokens)]

    def close(self):
        pass


def turns(model, said, observations):
    """The token prompts of an episode in which the model says `said`."""
    form, task = React(False, 1024), Task("1", "who founded the bridge?", ())
    prompt, line, made = form.opening(model.render([Message("user", "who founded the bridge?")])), TokenLine(model), []
    for text, observation in zip(said, observations):
        ids = line.extend(prompt)
        made.append(ids)
        completion = Completion(text, token_ids=tuple(model.encode(text, False)))
        if isinstance(model, Served):
            model.complete_tokens([ids], [Sampling(max_tokens=1)])
        prompt += form.then(text, completion, {"error": "", "response": observation})
    assert task
    return made


SAID = [' I look.\nAction: f\nAction Input: {"a": "river"}'] * 3


@pytest.fixture(scope="module")
def llama(zoo):
    from past_llamacpp import load_chat

    chat = load_chat(zoo[2], threads=1, extra_buffers=False, n_ctx=2048)
    yield chat
    chat.close()


def test_a_server_gets_the_tokens_a_local_model_gets(zoo, llama):
    import past_hf

    hf = past_hf.load_chat(zoo[1], precision="fp32")
    server = Server(llama)
    served = Served(server, llama)
    wanted = turns(llama, SAID, ["a", "b", "c"])
    assert turns(hf, SAID, ["a", "b", "c"]) == wanted == turns(served, SAID, ["a", "b", "c"])
    assert server.prompts == wanted and unlike(served) == []
    hf.close()


def test_a_server_that_tokenises_otherwise_is_found_out(llama):
    served = Served(Server(llama), llama)
    turns(served, SAID, ["<|im_end|>"[:2] + "x", "y", "z"])
    assert unlike(served) == []
    server = Server(llama)
    server.complete = lambda prompts, sampling: [Completion("x", prompt_tokens=3)]
    counted = Served(server, llama)
    turns(counted, SAID[:1], ["a"])
    assert "counts 3 tokens" in unlike(counted)[0]
    server.raw = False
    through_chat = Served(server, llama)
    turns(through_chat, SAID[:1], ["a"])
    assert "chat template" in unlike(through_chat)[0]


def test_a_backend_of_text_is_not_called_comparable(past_json, workspace):
    Path("tools.json").write_text(json.dumps(FUNCTIONS))
    Path("script.json").write_text('["\\nAction: Finish\\nAction Input: {\\"final_answer\\": \\"x\\"}"]')
    done = past_json("agent", "--tools", "tools.json", "--query", "hi", "--backend", "echo", "--model", "script.json")
    assert done["comparable"] is False and "text, not tokens" in done["not_comparable"][0]
