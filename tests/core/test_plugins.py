"""Plugins by entry point: listed without importing, loaded by name, each one's trouble its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from pastcli import installed, registry
from pastcli.api import ChatModel, Message, Sampling
from pastcli.errors import MismatchError, PastError, UsageError

EXAMPLE = ROOT / "examples" / "third_party_plugin"


def add_package(folder: Path, name: str, source: str, entry_points: str) -> None:
    """Put an installed package into `folder`, as pip would leave it."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path_factory, monkeypatch):
    """A folder of packages that this process and the ones it starts can see."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    registry._all.cache_clear()
    yield folder
    registry._all.cache_clear()


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    """The example plugin, installed by pip into a folder of its own, without any network."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    target = tmp_path_factory.mktemp("installed")
    words = [
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--target",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, str(target), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


# ---------------------------------------------------------------- the registry


def test_listing_imports_nothing(site):
    add_package(site, "spoiler", "raise RuntimeError('imported')", "[past.chat]\nspoiler = spoiler:load_chat\n")
    assert "spoiler" in [plugin.name for plugin in registry.names("chat")]
    assert "spoiler" not in sys.modules


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def other(): ...", "has no attribute 'load_chat'"),
        ("syntax error", "SyntaxError"),
    ],
)
def test_a_plugin_that_fails_to_import_spoils_only_itself(site, monkeypatch, source, told):
    add_package(site, "spoiler", source, "[past.chat]\nspoiler = spoiler:load_chat\n")
    monkeypatch.delitem(sys.modules, "spoiler", raising=False)
    with pytest.raises(PastError, match=told) as error:
        registry.load("chat", "spoiler")
    assert "other plugins still work" in error.value.hint
    assert registry.load("chat", "echo")


def test_a_missing_library_is_named_with_the_command_that_installs_it(site):
    add_package(site, "needy", "import antigravity_engine.core", "[past.chat]\nneedy = needy:load_chat\n")
    with pytest.raises(PastError) as error:
        registry.load("chat", "needy")
    assert "pip install antigravity_engine" in error.value.hint


def test_two_plugins_of_one_name_raise_and_the_others_work(site, past, past_json):
    add_package(site, "double", "load_chat = print", "[past.chat]\necho = double:load_chat\n")
    with pytest.raises(UsageError, match="two chat plugins are named 'echo', from double and pastcli"):
        registry.load("chat", "echo")
    assert {row["name"]: row["state"] for row in past_json("plugins", "--role", "chat")}["echo"] == "duplicate"
    assert "pip uninstall" in past("doctor", "--fast").stdout


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match="no reward plugin named 'exact_mach'") as error:
        registry.load("reward", "exact_mach")
    assert error.value.hint == "did you mean exact_match?"


def test_unknown_name_without_neighbour_lists_what_is_installed():
    with pytest.raises(UsageError) as error:
        registry.load("judge", "zzz")
    assert error.value.hint.startswith("installed: ")


def test_check_reports_the_broken_one_and_exits_1(site, past):
    add_package(site, "spoiler", "raise RuntimeError('no GPU')", "[past.judges]\nspoiler = spoiler:judge\n")
    done = past("plugins", "--role", "judge", "--check", "--json", code=1)
    states = {row["name"]: (row["state"], row["problem"]) for row in json.loads(done.stdout)}
    assert states["spoiler"][0] == "broken" and "no GPU" in states["spoiler"][1]


def test_unknown_role_is_a_usage_error(past):
    assert "roles: trainer" in past("plugins", "--role", "cat", code=2).stderr


# ---------------------------------------------------------------- a stranger's package


def test_the_example_plugin_installs_and_works_through_the_command_line(oracle, past_json, workspace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(oracle))
    rows = [row for role in ("reward", "chat") for row in past_json("plugins", "--check", "--role", role)]
    found = [row for row in rows if row["package"] == "past-oracle"]
    assert [(row["role"], row["name"], row["state"]) for row in found] == [
        ("reward", "brevity", "ok"),
        ("chat", "oracle", "ok"),
    ]


def test_the_example_plugin_answers_an_evaluation(oracle, past_json, workspace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(oracle))
    (workspace / "answers.json").write_text('{"capital of France": "Paris", "capital of Italy": "Oslo"}')
    rows = [
        {"question": f"What is the capital of {country}?", "answer": city}
        for country, city in (("France", "Paris"), ("Italy", "Rome"))
    ]
    (workspace / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = past_json(
        "eval", "--backend", "oracle", "--model", "answers.json", "--questions", "questions.jsonl", "--resamples", "100"
    )
    assert [scores["f1"]["mean"] for scores in made["models"].values()] == [0.5]


def test_the_example_environment_answers_an_agent_and_is_served(oracle, past_json, workspace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(oracle))
    (workspace / "table.dice").write_text('{"sides": 2}')
    calls = [
        ' Roll.\nAction: roll_dice\nAction Input: {"dice": 3}',
        ' Roll.\nAction: roll_dice\nAction Input: {"dice": 9}',
    ]
    done = ' Done.\nAction: Finish\nAction Input: {"final_answer": "x"}'
    (workspace / "script.json").write_text(json.dumps([*calls, done]))
    words = ("--tools", "table.dice", "--query", "Roll.", "--backend", "echo", "--model", "script.json")
    assert past_json("agent", *words)["valid_call_rate"] == 0.5
    assert past_json("serve", "--tools", "table.dice", "--dry-run")["environment"] == "dice"


def test_the_example_plugin_fills_its_roles(oracle, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(oracle)
    registry._all.cache_clear()
    try:
        assert registry.load("reward", "brevity")(["q"] * 3, ["Paris", "in Paris now please", ""]) == [1.0, 0.25, 0.0]
        (tmp_path / "answers.json").write_text('{"capital of France": "Paris"}')
        model = registry.load("chat", "oracle")(tmp_path / "answers.json")
        assert isinstance(model, ChatModel)
        assert model.complete(["the capital of France?", "who?"], Sampling())[0].text == " Paris"
        with pytest.raises(UsageError):
            registry.load("chat", "oracle")(tmp_path / "nothing.json")
    finally:
        registry._all.cache_clear()


# ---------------------------------------------------------------- echo: scripted answers


def script(tmp_path, entries, name="script.json"):
    path = tmp_path / name
    path.write_text(json.dumps(entries) if name.endswith(".json") else "\n".join(map(json.dumps, entries)))
    return registry.load("chat", "echo")(path)


@pytest.mark.parametrize("name", ["script.json", "script.jsonl"])
def test_echo_says_its_replies_in_turn_and_its_rules_first(tmp_path, name):
    model = script(tmp_path, ["one", {"match": r"cat\b", "reply": "meow"}, {"reply": "two"}], name)
    assert isinstance(model, ChatModel)
    said = [answer.text for answer in model.complete(["a", "my cat", "b", "c"], Sampling())]
    assert said == ["one", "meow", "two", "one"]


def test_echo_honours_stop_and_length(tmp_path):
    model = script(tmp_path, ["a b\nc d"])
    stopped, cut = (model.complete(["x"], sampling)[0] for sampling in (Sampling(stop=("\n",)), Sampling(max_tokens=3)))
    assert (stopped.text, stopped.finish, cut.text, cut.finish) == ("a b", "stop", "a b\nc", "length")
    assert cut.completion_tokens == 3
    with pytest.raises(UsageError, match="grammar"):
        model.complete(["x"], Sampling(grammar='root ::= "a"'))


def test_echo_repeats_and_its_chat_is_the_completion_of_its_rendering():
    model = registry.load("chat", "echo")("echo")
    messages = [Message("system", "be brief"), Message("user", "hello\nthere")]
    assert model.chat(messages, Sampling()).text == "hello\nthere"
    assert model.complete([model.render(messages), "raw"], Sampling())[1].text == "raw"
    assert model.complete([model.render(messages)], Sampling())[0].text == "hello\nthere"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[1]", '[{"reply": 1}]', '[{"match": "(", "reply": "x"}]', '[{"mtch": "a", "reply": "x"}]']
)
def test_a_malformed_script_is_a_usage_error(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UsageError):
        registry.load("chat", "echo")(tmp_path / "s.json")


def test_a_prompt_that_no_rule_covers_is_an_error(tmp_path):
    with pytest.raises(PastError, match="no rule"):
        script(tmp_path, [{"match": "cat", "reply": "meow"}]).complete(["dog"], Sampling())


# ---------------------------------------------------------------- memory: checkpoints as dictionaries


def memory(**tensors):
    from past_echo import memory as store

    return registry.load("checkpoint", "memory"), store.put("base", tensors, dtype="BF16", vocab_size=4)


def test_memory_checkpoint_stores_in_its_type_and_says_what_it_stored():
    form, path = memory(w=np.array([[1.001, 2.0]], np.float32), b=np.zeros(1, np.float32))
    base = form.open(path)
    assert form.accepts(path) and not form.accepts(Path("model")) and base.identity().vocab_size == 4
    assert base.read("w").tolist() == [1.0, 2.0] and base.read("w", 1, 2).tolist() == [2.0]
    writer = form.writer(base, Path("memory:copy"), types={"w": "F32"})
    assert writer.write("w", 0, np.array([1.001, 3.0], np.float32)).tolist() == pytest.approx([1.001, 3.0])
    with pytest.raises(MismatchError, match="lacks 1 tensor"):
        writer.finish()
    writer.copy("b")
    with pytest.raises(MismatchError, match="nothing is kept"):
        form.open(Path("memory:copy"))
    writer.finish()
    copy = form.open(Path("memory:copy"))
    assert [spec.dtype for spec in copy.specs().values()] == ["F32", "BF16"] and copy.identity() == base.identity()


def test_memory_checkpoint_refuses_what_does_not_fit():
    form, path = memory(w=np.zeros((1, 2), np.float32))
    writer = form.writer(form.open(path), Path("memory:x"), rounding="stochastic")
    for name, start, size in (("v", 0, 1), ("w", 1, 2)):
        with pytest.raises(MismatchError, match=name):
            writer.write(name, start, np.zeros(size, np.float32))
    with pytest.raises(MismatchError, match="no tensor v"):
        form.open(path).read("v")


def test_what_the_builtin_formats_offer_beyond_the_minimum_is_named_in_api():
    from pastcli import api, registry

    hf, gguf, lora = (registry.load("checkpoint", name) for name in ("hf", "gguf", "lora"))
    assert isinstance(hf, api.DirectoryOf) and isinstance(hf, api.RunsModels)
    assert isinstance(gguf, api.SingleFileFormat)
    for form in (hf, lora, registry.load("checkpoint", "memory")):
        assert not isinstance(form, api.SingleFileFormat)  # `-o x.hf` is a directory, not a file of a format `hf`


def test_packages_are_found_as_importlib_metadata_finds_them(site, monkeypatch):
    """Also where two folders have one package, names are spelt otherwise, and files hold comments and groups of others."""
    add_package(site, "Odd.Name", "", "# by hand\n\n[past.rewards]\none = a.b:c\ntwo=d:e [extra]\n[others]\nx = y\n")
    behind = site / "behind"
    behind.mkdir()
    add_package(behind, "odd_name", "", "[past.rewards]\nhidden = f:g\n")
    add_package(behind, "nameless", "", "[past.judges]\nthree = h:i\n")
    (behind / "nameless-1.0.dist-info" / "METADATA").unlink()
    monkeypatch.setattr(sys, "path", [*sys.path, str(behind), str(site / "nowhere")])
    groups = sorted(registry.GROUPS.values())
    read = installed.entry_points(groups)
    assert installed._all_in_folders()
    assert sorted(read, key=repr) == sorted(dict.fromkeys(installed._by_library(groups)), key=repr)
    names = {one.name for one in read}
    assert names >= {"one", "two", "three"} and names.isdisjoint({"hidden", "x"})
    assert {one.distribution for one in read} >= {"pastcli", "Odd.Name", "?"}


def test_packages_in_an_archive_are_found_by_the_library(site, monkeypatch):
    with zipfile.ZipFile(site / "packed.zip", "w") as archive:
        archive.writestr("packed-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1.0\n")
        archive.writestr("packed-1.0.dist-info/entry_points.txt", "[past.rewards]\nfour = j:k\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site / "packed.zip")])
    assert installed.EntryPoint("past.rewards", "four", "j:k", "packed") in installed.entry_points(["past.rewards"])
