"""stdout is data, stderr the rest; text is shown as it is, JSON is JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pastcli import output


def test_json_is_strict_whatever_numbers_come(capsys):
    data = {
        "path": Path("/x"),
        "nan": float("nan"),
        "inf": [np.float32("inf")],
        "f": np.float32(0.5),
        "i": np.int64(3),
        "ok": np.bool_(True),
        "none": None,
        1: {"set": {2}},
        "text": "é [x]",
    }
    output.emit(data, as_json=True)
    got = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert got == {
        "path": "/x",
        "nan": None,
        "inf": [None],
        "f": 0.5,
        "i": 3,
        "ok": True,
        "none": None,
        "1": {"set": [2]},
        "text": "é [x]",
    }


def test_brackets_and_colons_are_text_not_markup(capsys):
    output.table("t [bold]", ["name"], [["[red]x[/red] :smile: [/]"]])
    output.pairs({"[a]": "[/b]"})
    output.note("[/note]")
    output.error("[/bad]", "[hint]")
    shown = capsys.readouterr()
    assert "[red]x[/red] :smile: [/]" in shown.out and "[a]  [/b]" in shown.out
    assert "[/note]" in shown.err and "error: [/bad]" in shown.err and "hint: [hint]" in shown.err


def test_a_table_in_a_pipe_keeps_its_lines_whole(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "/a/path/" + "x" * 300
    output.table("", ["path", "n"], [[long, 1.23456]])
    line = next(line for line in capsys.readouterr().out.splitlines() if "/a/path" in line)
    assert long in line and "1.235" in line


def test_a_table_in_a_pipe_is_columns_of_plain_text(capsys):
    output.table("title", ["name", "n"], [["a\nb", 1.5], ["long name", None]], "caption", style=lambda text: "red")
    assert capsys.readouterr().out.splitlines() == [
        "title",
        "name         n",
        "a b        1.5",
        "long name    -",
        "caption",
    ]


def test_a_terminal_gets_colour_and_a_pipe_none(capsys, monkeypatch):
    output.line("text", "bold red", label="label: ")
    assert capsys.readouterr().out == "label: text\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    output._new_console.cache_clear()  # rich looks at the environment once
    output.table("", ["n"], [["+1"], ["-1"]], style=lambda text: "red" if text[0] == "+" else "", boxed=False)
    output._new_console.cache_clear()
    shown = capsys.readouterr().out
    assert "\x1b[31m" in shown and shown.index("\x1b[31m") < shown.index("+1") < shown.index("-1")
    assert "\x1b[31m" not in shown[shown.index("-1") - 5 : shown.index("-1")]


def test_a_command_in_a_pipe_starts_without_rich():
    code = "import sys\nfrom pastcli import cli, output\noutput.table('t', ['a'], [[1]])\nprint('rich' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()[-1] == "False"
    )


def test_progress_is_silent_in_a_pipe_and_speaks_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with output.progress("train", "step") as update:
        for done in range(50, 60):  # a resumed run: the rate must not count the first fifty
            update(done, 100, {"loss": 1.5})
    shown = capsys.readouterr()
    assert shown.out == "" and 1 <= len(shown.err.splitlines()) <= 8
    assert "0.05 step/s" in shown.err and "loss 1.5" in shown.err


def test_progress_lets_errors_through():
    with pytest.raises(ValueError), output.progress("x") as update:
        update(1, 2)
        raise ValueError
