"""Fixtures: tiny models built on the spot, the real small model, and a CLI to type commands into."""

from __future__ import annotations

import atexit
import compileall
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from forks import Forks, cold

# Before torch is imported here or in a child: tiny models spend more time waking threads than computing with them,
# and `make test` runs two processes side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before huggingface_hub is: no test asks the hub or finds what this user fetched from it, and no command starts from nothing for saying so.
HUB = Path(tempfile.mkdtemp(prefix="past-hub-"))
atexit.register(shutil.rmtree, HUB, ignore_errors=True)
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(HUB)}

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"

WORDS = """the quick brown fox jumps over a lazy dog while seven wizards brew potions in Velmora Question Answer
Thought Action Input Observation Finish system user assistant what who where when which river bridge founded 1843"""


def pytest_configure(config):
    """The bytecode that pip gives an installed package: where PYTHONDONTWRITEBYTECODE is set, every command would compile it anew, and
    pytest each test with its assertions while it collects them."""
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        for package in ("pastcli", "plugins"):
            compileall.compile_dir(ROOT / package, quiet=2)


def pytest_collection_finish():
    """A module that a test writes twice in a second would be taken for what it was."""
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


@pytest.fixture(autouse=True)
def environment():
    """What a test, or what it imports, sets in this process's environment ends with it: the next test is told nothing by it."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty workspace as the current directory, cut off from the user's own settings."""
    for name in [n for n in os.environ if n.startswith("PAST_") and n != "PAST_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it, and tables would be cut to it
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def forks():
    """A server that has loaded torch and its kind once, and forks for every command; None on a machine where it cannot, or is not to."""
    if "PYTEST_COLD" in os.environ:
        yield None
        return
    try:
        server = Forks()
    except RuntimeError as error:
        warnings.warn(f"every command starts from nothing, which takes longer: {error}", stacklevel=1)
        yield None
        return
    yield server
    server.close()


@pytest.fixture
def python(forks):
    """An interpreter for what a test starts by itself, `[python, "-m", "pastcli", ...]`, with streams of its own: forked as `past` is."""
    return sys.executable if forks is None else str(forks.python)


def _begun(request, words, environment, cwd, timeout):
    """From the server where that changes nothing; in a new interpreter where variables are read by imports."""
    forks = request.getfixturevalue("forks")
    if forks is not None and not forks.unlike(environment):
        return forks.begun(words, environment, str(cwd or Path.cwd()), timeout)
    return cold(words, environment, cwd, timeout)


def _run(request, words, environment, cwd, timeout):
    with _begun(request, words, environment, cwd, timeout) as command:
        return command.wait()


@pytest.fixture(scope="session")
def past_in(request):
    """`past_in(folder, "sft", "docs")` for what is made once, in a folder of its own, and used by many tests."""

    def call(folder, *words):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PAST_") or k == "PAST_HOME"}
        done = _run(request, [str(word) for word in words], environment, folder, 300)
        assert done.returncode == 0, done.stderr

    return call


@pytest.fixture
def begin(workspace, request):
    """`with begin("sft", "docs") as command:` starts the real CLI in a process of its own; see `forks.Begun`.

    One that is to be killed in the middle kills itself: `env={"DYING": "module:function 3"}`, see `dying`.
    """

    def call(*words, timeout=300, env=None):
        return _begun(request, [str(word) for word in words], {**os.environ, **(env or {})}, None, timeout)

    return call


@pytest.fixture
def past(workspace, request):
    """`past("ingest", "docs", code=0)` runs the real CLI in a process of its own and checks its exit code (None: any)."""

    def call(*words, code=0, timeout=300, env=None, cwd=None):
        done = _run(request, [str(word) for word in words], {**os.environ, **(env or {})}, cwd, timeout)
        assert code in (None, done.returncode), f"exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture
def past_json(past):
    """Like `past`, with --json: gives the one document on stdout."""

    def call(*words, **options):
        return json.loads(past(*words, "--json", **options).stdout)

    return call


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE tokenizer of 320 tokens with a ChatML template, trained on a few words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([WORDS] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def make_tiny(tiny_tokenizer):
    """`make_tiny(folder, seed=0, tied=True, dtype=...)` saves a 2-layer llama (or qwen2) of about 60 k parameters."""

    def make(folder, seed=0, tied=True, dtype=None, arch="llama", shard=None, **changes):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

        sizes = dict(
            vocab_size=len(tiny_tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=tied,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=2,
        )
        sizes.update(changes)
        torch.manual_seed(seed)
        cls, config = {"llama": (LlamaForCausalLM, LlamaConfig), "qwen2": (Qwen2ForCausalLM, Qwen2Config)}[arch]
        model = cls(config(**sizes)).to(dtype or torch.float32)
        model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        tiny_tokenizer.save_pretrained(folder)
        return Path(folder)

    return make


@pytest.fixture(scope="session")
def tiny_model(make_tiny, tmp_path_factory):
    """A tiny llama directory; read only."""
    return make_tiny(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def warmed(tiny_model, tmp_path_factory, past_in):
    """A tiny base that answers some questions, so that GRPO has something to reward."""
    folder = tmp_path_factory.mktemp("warmed")
    pairs = [
        {"prompt": f"Question: Which river {i}?\nAnswer:", "completion": " dog" if i % 2 else " fox"} for i in range(6)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    words = [
        "sft",
        "pairs.jsonl",
        "--base",
        str(tiny_model),
        "--mix",
        "none",
        "--epochs",
        "40",
        "--lr",
        "0.01",
        "--name",
        "warm",
    ]
    past_in(folder, *words)
    return folder / "runs" / "warm" / "model"


@pytest.fixture
def typed(workspace, monkeypatch):
    """`typed("sft", …)` runs the real command in this process: many architectures import torch once.

    A random model answers nothing right; the reward `length` gives GRPO something to learn from.
    """
    from typer.testing import CliRunner

    from pastcli import registry
    from pastcli.cli import app

    load = registry.load
    reward = lambda prompts, completions, **_: [len(set(text)) / 20 for text in completions]  # noqa: E731
    monkeypatch.setattr(registry, "load", lambda role, name: reward if name == "length" else load(role, name))

    def call(*words):
        done = CliRunner().invoke(app, [*map(str, words), "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call
