"""A path that a command takes may lead to a pipe or a device: it is refused at once, in one line, and never opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from vectors_tools import moved, weights, write_model

AGENT = ("agent", "--query", "2 + 2?", "--backend", "echo")
REFUSED = {
    "settings": ("extract", "--sft", "sft", "--rl", "rl", "--config", "ODD"),
    "an index of shards": ("extract", "--sft", "ODD_index", "--rl", "rl"),
    "a template": ("inject", "--vector", "v.safetensors", "--target", "sft", "--template", "ODD", "-o", "x.gguf"),
    "a template to export like": ("export", "--model", "sft", "--to", "gguf", "--template", "ODD"),
    "tools to ingest": ("ingest", "--tools", "ODD"),
    "tools to reinforce on": ("rl", "--sft", "sft", "--tools", "ODD"),
    "tools to distil on": ("distill", "--tools", "ODD", "--base", "sft"),
    "tools to serve": ("serve", "--tools", "ODD", "--dry-run"),
    "tools of an agent": (*AGENT, "--tools", "ODD", "--model", "m.json"),
    "tasks": ("agent", "--tools", "tools.json", "--tasks", "ODD", "--model", "m.json", "--backend", "echo"),
    "a script of an agent": (*AGENT, "--tools", "tools.json", "--model", "ODD"),
    "a script": ("eval", "--questions", "q.jsonl", "--model", "ODD", "--backend", "echo"),
    "a study": ("study", "run", "ODD"),
    "results": ("study", "report", "ODD"),
    "a folder of prompts": ("generate", "a.txt", "--print-prompts", "ODD"),
}


@pytest.fixture
def ready(workspace, past):
    base = weights()
    write_model(workspace / "sft", base)
    write_model(workspace / "rl", moved(base, 1, 1e-3))
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    write_model(workspace / "ODD_index", base)
    (workspace / "ODD_index" / "model.safetensors").unlink()
    os.mkfifo(workspace / "ODD_index" / "model.safetensors.index.json")
    os.mkfifo(workspace / "ODD")
    (workspace / "a.txt").write_text("The bridge over the river was founded in 1843.")
    (workspace / "q.jsonl").write_text(json.dumps({"question": "Which river?", "answer": "fox"}) + "\n")
    (workspace / "m.json").write_text('["fox"]')
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    (workspace / "tools.json").write_text(json.dumps([tool]))
    return workspace


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_pipe_nobody_writes_to_is_refused_and_not_waited_for(ready, past, words):
    told = past(*words, code=None, timeout=120)
    assert told.returncode in (2, 3) and "error:" in told.stderr and "--debug" not in told.stderr, told.stderr
    assert not list((ready / "runs" / ".partial").glob("*"))


@pytest.mark.parametrize(
    "words",
    [
        words
        for name, words in REFUSED.items()
        if name in ("settings", "tools of an agent", "a script", "a study", "results")
    ],
)
def test_a_device_without_an_end_is_refused(ready, past, words):
    told = past(*["/dev/zero" if word == "ODD" else word for word in words], code=2, timeout=120).stderr
    assert "a device" in told and "--debug" not in told


def test_a_pipe_in_the_place_of_a_file_that_is_looked_for_spoils_only_itself(ready, past):
    """A run's manifest is skipped; settings that nobody named are still no settings to go on without."""
    (ready / "runs" / "odd").mkdir()
    os.mkfifo(ready / "runs" / "odd" / "manifest.json")
    assert "extract" in past("runs", "list", timeout=120).stdout
    os.mkfifo(ready / "past.toml")
    assert "past.toml cannot be read" in past("ingest", "a.txt", code=2, timeout=120).stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["runs", "list", "--json"], 1),
        (["--version"], 1),
        (["extract", "--sft", "nowhere", "--rl", "nowhere"], 2),
        (["extract", "--sft", "nowhere", "--rl", "nowhere", "--json"], 2),
        (["extract", "--nonsense", "--json"], 2),
    ],
)
@pytest.mark.parametrize("full", ["stdout", "stderr", "both"])
def test_a_stream_that_takes_nothing_changes_no_exit_code_of_an_error(workspace, words, code, full):
    """A full disk behind `> out 2> log`: no Python error, and the other stream still says what is to be said."""
    with open("/dev/full", "w") as nothing:
        streams = {name: nothing if full in (name, "both") else subprocess.PIPE for name in ("stdout", "stderr")}
        done = subprocess.run([sys.executable, "-m", "pastcli", *words], text=True, cwd=workspace, **streams)
    said = (done.stdout or "") + (done.stderr or "")
    assert "Traceback" not in said and "Exception ignored" not in said
    if full == "stderr" and code == 1:
        assert done.returncode == 0
    else:
        assert done.returncode == code, said
    if full == "stdout":
        assert "no space left" in said if code == 1 else "error:" in said or "No such option" in said
    if full == "stderr" and "--json" in words and code == 2:
        assert json.loads(done.stdout)["exit_code"] == 2


def test_a_link_that_leads_back_to_itself_and_a_workspace_that_is_a_file(workspace, past):
    (workspace / "round").symlink_to("about")
    (workspace / "about").symlink_to("round")
    (workspace / "q.jsonl").write_text('{"question": "When?", "answer": "1843"}\n')
    for words in (["ingest", "round"], ["sft", "round", "--base", "smol", "--mix", "none"]):
        told = past(*words, code=2).stderr
        assert "unexpected" not in told and "round" in told
    assert "no workspace can be there" in past("runs", "list", env={"PAST_WORKSPACE": "q.jsonl"}, code=2).stderr


def test_a_folder_that_was_removed_under_ones_feet(workspace):
    (workspace / "here").mkdir()
    script = f"cd here && rmdir ../here && {sys.executable} -m pastcli runs list"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=workspace)
    assert done.returncode == 2 and "the current folder was removed" in done.stderr, done.stderr


def test_ctrl_c_before_the_command_is_read_is_told_in_one_line(tmp_path):
    """The first import that `cli` makes interrupts itself, which is as early as a hand can be."""
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n")
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pastcli.__main__ import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 130 and done.stderr == "error: interrupted\n", done.stderr


KERNEL = {
    **{name: words for name, words in REFUSED.items() if "index" not in name and "prompts" not in name},
    "documents": ("ingest", "ODD"),
    "documents to learn": ("sft", "ODD", "--base", "sft"),
    "documents of a study": ("study", "init", "ODD"),
    "questions": ("eval", "--questions", "ODD", "--model", "sft"),
    "a model": ("ask", "Who?", "--model", "ODD"),
    "a model to extract from": ("extract", "--sft", "sft", "--rl", "ODD"),
    "a skill": ("inject", "--vector", "ODD", "--target", "sft"),
    "a transcript": ("agent", "--replay", "ODD"),
}


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="Linux alone has these")
@pytest.mark.parametrize("words", KERNEL.values(), ids=KERNEL)
def test_what_the_kernel_makes_as_it_is_read_is_no_file(ready, past, words):
    """/proc/kmsg is one of them: it calls itself a regular file of no bytes, and whoever reads it waits for ever."""
    for odd in ("/proc/version", "/proc/kmsg"):
        told = past(*[odd if word == "ODD" else word for word in words], code=None, timeout=60)
        assert told.returncode in (2, 3) and "error:" in told.stderr and "--debug" not in told.stderr, told.stderr
    assert not list((ready / "runs" / ".partial").glob("*"))


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="Linux alone has it")
def test_an_output_where_nothing_can_be_written_is_the_users_mistake(ready, past):
    (ready / "docs").mkdir()
    (ready / "docs" / "good.txt").write_text("The bridge over the river was founded in 1843.")
    assert "/proc/x cannot be written" in past("ingest", "docs", "-o", "/proc/x", code=2).stderr


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="Linux alone has it")
def test_one_link_into_the_kernel_spoils_only_itself(ready, past):
    (ready / "docs").mkdir()
    (ready / "docs" / "good.txt").write_text("The bridge over the river was founded in 1843.")
    (ready / "docs" / "log.txt").symlink_to("/proc/kmsg")
    assert "log.txt: made by the kernel as it is read, not a file" in past("ingest", "docs", timeout=60).stderr
