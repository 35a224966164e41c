"""The boundary: errors become a line, a hint and an exit code; nothing else does."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module

import pytest
import typer
from conftest import ROOT

from pastcli import cli, config, tested
from pastcli.errors import GateError, Interrupted, MismatchError, PastError, UsageError

FAIL = """
import sys
from pastcli import cli, errors
def fail(*_, **__): raise {error}
cli.app = fail
cli.main()
"""


def boundary(error, *words, env=None):
    return subprocess.run(
        [sys.executable, "-c", FAIL.format(error=error), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("errors.PastError('what', 'how')", 1, "error: what\n  hint: how\n"),
        ("errors.UsageError('what')", 2, "error: what\n"),
        ("errors.MismatchError('what', 'how')", 3, "error: what\n  hint: how\n"),
        ("errors.GateError('what', 'how')", 4, "error: what\n  hint: how\n"),
        ("errors.Interrupted('interrupted', 'how')", 130, "error: interrupted\n  hint: how\n"),
        ("KeyboardInterrupt", 130, "error: interrupted\n"),
        ("PermissionError(13, 'Permission denied', 'some/file')", 1, "error: Permission denied: some/file\n"),
        ("ZeroDivisionError('x')", 1, "error: ZeroDivisionError: x\n"),
    ],
)
def test_an_error_is_a_line_a_hint_and_an_exit_code(error, code, told):
    done = boundary(error)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told) and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["runs", "show", "nothing-of-that-name"], 2, "nothing-of-that-name"),
        (["sft", "--epochs", "many"], 2, "many"),
        (["sft", "--epochs", "inf"], 2, "--epochs must be a finite number"),
        (["sft", "--seed", "-1"], 2, "--seed must be at least 0"),
        (["runs", "nosuch"], 2, "nosuch"),
        (["extract", "--no-such-flag"], 2, "--no-such-flag"),
    ],
)
def test_with_json_an_error_is_json_too(past, words, code, told):
    done = past(*words, "--json", code=code)
    document = json.loads(done.stdout)
    assert told in document["error"] and document["exit_code"] == code
    assert told in done.stderr


def test_an_empty_word_is_an_unset_variable_and_not_the_current_folder(past, workspace):
    """`past ingest "$DOCS"` made a corpus of all that lay around; `runs rm ""` counted every run as meant."""
    (workspace / "secret.txt").write_text("Nobody asked for this to be read.")
    for words in (("ingest", "", "-o", "c.jsonl"), ("ingest", "secret.txt", "-o", ""), ("runs", "rm", ""), ("ask", "")):
        said = past(*words, code=2).stderr
        assert "an empty word on the command line, after" in said and "variable" in said
    assert sorted(path.name for path in workspace.iterdir()) == ["secret.txt"]


def test_a_workspace_is_a_folder(past, workspace):
    (workspace / "file").write_text("")
    assert "file is no folder" in past("-C", "file", "runs", "list", code=2).stderr
    assert "no runs" in past("-C", "new", "runs", "list").stderr and not (workspace / "new").exists()


def test_why_a_file_cannot_be_read_is_said_without_numbers_of_errors(past, workspace):
    (workspace / "folder.toml").mkdir()
    (workspace / "bytes.toml").write_bytes(b"\xff[sft]")
    (workspace / "broken.json").write_text("{")
    (workspace / "shape.json").write_text('{"study": 1, "items": 2, "arms": 3}')
    (workspace / "tools.json").write_text('{"kind": "tools"}')
    for words, why in (
        (("sft", "x", "--config", "folder.toml"), "folder.toml cannot be read: Is a directory"),
        (("sft", "x", "--config", "bytes.toml"), "bytes.toml cannot be read: it is not UTF-8 (byte 0)"),
        (("study", "run", "folder.toml"), "cannot be read: Is a directory"),
        (("study", "report", "nothing.json"), "nothing.json cannot be read: No such file or directory"),
        (("study", "report", "broken.json"), "broken.json cannot be read: Expecting property name"),
        (("study", "report", "shape.json"), "shape.json is no whole result of a study"),
        (("study", "report", "tools.json"), "tools.json is no whole result of a study"),
        (("ask", "hi", "--model", "gone.json", "--backend", "echo"), "gone.json cannot be read: No such file"),
    ):
        said = past(*words, code=2).stderr
        assert why in said and "Errno" not in said and "codec" not in said, said


def test_debug_keeps_the_exit_code(past):
    done = past("runs", "show", "nothing", "--debug", code=2)
    assert "Traceback" in done.stderr and "error: no run" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(workspace, closed):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m pastcli runs list {closed}"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "Error" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["rl", "--help"], ["--help"], ["plugins"], ["plugins", "--json"]])
def test_a_reader_that_goes_away_is_no_error(workspace, words):
    """`past rl --help | head -1`: said to be a plugin that called sys.exit, as rich leaves by that."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pastcli", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_debug_shows_the_traceback_wherever_it_stands():
    assert "Traceback" in boundary("errors.PastError('what')", "runs", "--debug", "list").stderr
    assert "Traceback" in boundary("errors.PastError('what')", env={"PAST_DEBUG": "1"}).stderr


def test_exit_codes_are_all_different():
    codes = [error.exit_code for error in (PastError, UsageError, MismatchError, GateError, Interrupted)]
    assert codes == [1, 2, 3, 4, 130]


def test_version_and_unknown_words(past):
    assert past("--version").stdout.startswith("past ")
    assert "Did you mean 'plugins'" in past("plugin", code=2).stderr
    assert "No such option" in past("runs", "list", "--nothing", code=2).stderr


def test_another_workspace_can_be_named(past, tmp_path):
    assert str(tmp_path / "elsewhere" / "runs") in past("-C", tmp_path / "elsewhere", "runs", "list").stderr


def test_ctrl_c_in_a_real_process_exits_130(workspace):
    source = """
import sys, time
from pastcli import cli
from pastcli.commands import runs
runs._all = lambda: (print("ready", flush=True), time.sleep(60))
sys.argv = ["past", "runs", "list"]
cli.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_for_a_named_shell(past, shell):
    assert "_PAST_COMPLETE" in past("--show-completion", shell).stdout


def completions(words, where):
    env = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_PAST_COMPLETE": "complete_bash",
    }
    done = subprocess.run([sys.executable, "-m", "pastcli"], capture_output=True, text=True, env=env, cwd=where)
    return done.stdout.split()


def test_commands_and_run_ids_are_completed(workspace):
    (workspace / "runs" / "sft-1").mkdir(parents=True)
    (workspace / "runs" / "sft-1" / "manifest.json").write_text('{"id": "sft-1", "stage": "sft", "status": "complete"}')
    assert completions("past doc", workspace) == ["doctor"]
    assert set(completions("past runs ", workspace)) == {
        "list",
        "show",
        "lineage",
        "diff",
        "rm",
        "clean",
        "watch",
        "compare",
        "report",
    }
    assert completions("past runs show sf", workspace) == ["sft-1"]


def test_help_shows_every_command_once_in_its_group(past):
    assert sorted(title for titles in cli.GROUPS.values() for title in titles) == sorted(cli.COMMANDS)
    shown = past("--help").stdout
    places = [shown.index(f"─ {group} ─") for group in cli.GROUPS]
    assert places == sorted(places) and shown.index("sft") > places[0]


def test_doctor_finds_this_machine_fit(past, past_json):
    report = past_json("doctor", "--fast")
    assert "everything that past needs is here" in report["judgement"] and report["next"].startswith("past study init")
    assert report["ok"] and {row["check"] for row in report["findings"]} >= {
        "python",
        "torch",
        "cpu",
        "workspace",
        "model smol",
    }


def test_doctor_names_the_command_for_what_is_missing_and_exits_1(past, monkeypatch, workspace):
    (workspace / "file").write_text("")
    done = past("doctor", "--fast", code=1, env={"PAST_HOME": str(workspace / "file" / "cache")})
    assert "FAIL cache" in done.stdout and "export PAST_HOME=" in done.stdout
    assert "cache" in done.stderr


@pytest.mark.parametrize("have", [None, "0.0.1"])
def test_doctor_names_the_command_for_each_package(monkeypatch, have):
    from importlib import metadata

    from pastcli.commands import _packages

    def version(name):
        if have is None:
            raise metadata.PackageNotFoundError(name)
        return have

    monkeypatch.setattr(metadata, "version", version)
    found = {finding.check: finding for finding in _packages.packages()}
    assert found["typer"].state == "fail" and found["typer"].fix == "pip install 'typer<0.29,>=0.26'"
    assert "pip install 'llama-cpp-python>=" in found["llama-cpp-python"].fix


@pytest.mark.parametrize(
    "have, told",
    [
        ("0.2.1", "bm25s 0.2.1, needs >=0.3: pip install 'bm25s>=0.3'"),
        ("0.3.1", "--debug"),
        ("999.0", f"newer than what was tested: bm25s 999.0 (past was tested with {tested.TESTED['bm25s']})"),
        ("999.0", f"pip install 'bm25s=={tested.TESTED['bm25s']}'"),
    ],
)
def test_a_library_in_a_version_that_past_does_not_know_is_named_where_it_fails(workspace, have, told):
    """Met with torch 2.6: "AttributeError: module 'torch' has no attribute 'float8_e8m0fnu'", "this is unexpected"."""
    (workspace / "old" / f"bm25s-{have}.dist-info").mkdir(parents=True)
    (workspace / "old" / f"bm25s-{have}.dist-info" / "METADATA").write_text(f"Name: bm25s\nVersion: {have}\n")
    (workspace / "old" / "bm25s.py").write_text("import json\njson.no_such_name\n")
    (workspace / "docs.txt").write_text("Velmora was founded in 1843.\n")
    (workspace / "q.jsonl").write_text('{"question": "When?", "answer": "1843"}\n')
    (workspace / "m.json").write_text('["dunno"]')
    words = "eval --questions q.jsonl --backend echo --model m.json --baseline retrieval --corpus docs.txt --baseline-model m.json"
    done = subprocess.run(
        [sys.executable, "-m", "pastcli", *words.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(workspace / "old")},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: AttributeError: module 'json' has no attribute 'no_such_name'" in done.stderr and told in done.stderr


@pytest.mark.parametrize("missing", [None, "starlette"])
def test_doctor_names_the_extras_and_how_to_get_them(monkeypatch, missing):
    from importlib import metadata

    from pastcli.commands import _packages

    real = metadata.version

    def version(name):
        if name == missing:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {finding.check: finding for finding in _packages.extras()}
    assert set(found) == {"extra serve", "extra mcp", "extra readers", "extra track"}
    serve = found["extra serve"]
    assert (serve.state, serve.fix) == (("info", "pip install 'pastcli[serve]'") if missing else ("ok", ""))
    assert not missing or "starlette" in serve.detail


def test_every_chat_backend_is_run_for_a_moment():
    """Those that come with past; llama.cpp's and transformers' own tests run where these are tested."""
    import past_echo
    import past_openai

    for plugin in (past_echo, past_openai):
        assert [good for _, good, *_ in plugin.doctor()] == [True]


LEAVE = """
import atexit, gc, sys
atexit.register(lambda: print("left in place:", gc.get_freeze_count() > 0))
if sys.argv.pop() == "nanobind":
    kept = type("nb_meta", (type,), {"__module__": "nanobind"})
from pastcli.__main__ import main
main()
"""


@pytest.mark.parametrize("loaded", ["nanobind", "nothing"])
def test_what_nanobind_would_call_leaks_is_taken_apart(loaded):
    """Every command that loads torch for CUDA ended in fifty lines about leaks of triton 3.9 (torch 2.15)."""
    done = subprocess.run([sys.executable, "-c", LEAVE, "--version", loaded], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith(f"left in place: {loaded == 'nothing'}\n"), done.stderr


def unknowing(forward):
    """A future transformers that calls its cache by a name that past does not know."""

    def changed(self, input_ids=None, labels=None, use_cache=None, **others):
        return forward(self, input_ids, labels=labels, use_cache=use_cache)

    return changed


def forgetful(forward):
    """One that takes a cache and does not read it."""

    def changed(self, input_ids=None, cache=None, labels=None, use_cache=None, **_):
        return forward(self, input_ids, labels=labels, use_cache=use_cache)

    return changed


@pytest.mark.parametrize("change", [unknowing, forgetful])
def test_doctor_knows_a_transformers_that_keeps_nothing_of_what_is_read(monkeypatch, tmp_path, change):
    """It asked transformers' own generate, and called a release fit with which past rl, eval and agent refused every model."""
    from transformers import LlamaForCausalLM

    doctor = import_module("past_hf.doctor")  # the package gives the function of that name
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "as it is"))  # what was found of a kind of model is kept there
    assert doctor._decoding()[1]
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "changed"))
    monkeypatch.setattr(LlamaForCausalLM, "forward", change(LlamaForCausalLM.forward))
    _, good, detail, fix = doctor._decoding()
    assert not good and "cannot be kept" in detail
    assert fix == f"pip install 'transformers=={tested.TESTED['transformers']}'"


def test_what_past_was_tested_with_is_what_its_tests_run_on():
    """A wheel does not carry .ci/constraints.txt: whoever has it is told by a table."""
    pinned = {}
    for line in (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        pinned[re.sub(r"[-_.]+", "-", name).lower()] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(line for name in extras if name not in ("dev", "test") for line in extras[name]),
    ]
    names = [re.match(r"[\w.-]+", line)[0] for line in asked]
    assert {name: pinned[name] for name in names} == tested.TESTED


@pytest.mark.parametrize(
    "have, newer",
    [
        ("2.13.0+cpu", False),
        ("2.13", False),
        ("2.13.1", True),
        ("2.9.1", False),
        ("3.0rc1", True),
        ("2.13.0.post1", True),
    ],
)
def test_a_newer_version_is_told_from_an_older_one(monkeypatch, have, newer):
    monkeypatch.setitem(tested.TESTED, "torch", "2.13.0")
    monkeypatch.setattr(tested, "versions_of", lambda packages: {"torch": have})
    assert bool(tested.newer()) == newer


def test_doctor_says_which_libraries_are_newer_than_what_was_tested(workspace, past_json):
    folder = workspace / "site" / "numpy-999.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Name: numpy\nVersion: 999.0\n")
    report = past_json("doctor", "--fast", env={"PYTHONPATH": str(folder.parent)})
    found = {row["check"]: row for row in report["findings"]}
    assert found["numpy"]["detail"] == f"999.0 (past was tested with {tested.TESTED['numpy']})"
    assert found["numpy"]["state"] == "ok" and "tested" not in found["rich"]["detail"]


def test_doctor_imports_what_is_installed_and_names_what_is_broken(tmp_path, monkeypatch):
    from pastcli.commands import _imports

    (tmp_path / "half_upgraded.py").write_text("from json import no_such_name")
    (tmp_path / "for_another_machine.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = ["json", "half_upgraded", "for_another_machine", "leaves", "decimal", "never_installed"]
    found = dict(_imports.failures(asked))
    assert set(found) == set(asked) - {"json", "decimal"}
    assert "ImportError: cannot import name 'no_such_name'" in found["half_upgraded"]
    assert "SIGILL" in found["for_another_machine"] and "SystemExit" in found["leaves"]
    assert "ModuleNotFoundError" in found["never_installed"]


def test_doctor_knows_which_module_a_package_brings():
    from pastcli.commands import _imports

    names = ["llama-cpp-python", "beautifulsoup4", "python-docx", "numpy", "not-installed-at-all"]
    assert _imports.modules_of(names) == {
        "llama-cpp-python": "llama_cpp",
        "beautifulsoup4": "bs4",
        "python-docx": "docx",
        "numpy": "numpy",
    }


def test_doctor_says_when_the_kernels_were_not_compiled(monkeypatch):
    from pastcli.commands import doctor
    from pastcli.vectors.numbers import arithmetic

    monkeypatch.setattr(arithmetic, "_kernels", None)
    finding = doctor._kernels()
    assert finding.state == "warn" and "build-essential" in finding.fix


def test_doctor_reports_a_backend_that_falls_over(monkeypatch):
    import past_echo

    from pastcli.commands import doctor

    def broken():
        yield ("echo voice", False, "hoarse", "drink tea")
        raise RuntimeError("gone")

    monkeypatch.setattr(past_echo, "doctor", broken, raising=False)
    monkeypatch.setattr("pastcli.registry.names", lambda role: [p for p in _chat() if p.name == "echo"])
    found = list(doctor._self_tests())
    assert [(f.check, f.state, f.fix) for f in found][:1] == [("echo voice", "fail", "drink tea")]
    assert "RuntimeError: gone" in found[1].detail


def _chat():
    from pastcli.installed import EntryPoint

    return [EntryPoint("past.chat", "echo", "past_echo:load_chat", "pastcli")]


def test_help_of_the_table_and_of_the_command_agree_on_the_name(monkeypatch):
    for title in ("runs", "doctor", "plugins"):
        assert cli._load(title).name == title


def every_command():
    """(how it is called, the command) of every command."""
    for title in cli.COMMANDS:
        command = cli._load(title)
        inner = getattr(command, "commands", {})
        yield from ((f"{title} {name}", inner[name]) for name in inner)
        if not inner:
            yield title, command


def test_no_option_takes_a_number_that_is_none():
    """Every comparison with NaN goes one way: a gate of it lets anything pass. Settings are checked where they are resolved."""
    loose, strict = [], []
    for name, command in every_command():
        stages = [
            stage for title, stage in config.STAGES.items() if title == name.split()[0] or title not in cli.COMMANDS
        ]
        settings = {field.name for stage in stages for field in dataclasses.fields(stage)}
        for option in command.params:
            if "float" not in option.type.name or option.name in settings:
                continue
            try:
                option.process_value(typer.Context(command), ["nan"] if option.multiple else "nan")
                loose.append((name, option.name))
            except typer.BadParameter:
                strict.append((name, option.name))
    assert {("eval", "min_f1"), ("agent", "scale"), ("runs compare", "alpha")} <= set(strict) and not loose
