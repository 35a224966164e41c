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
    assert "0.10 step/s" in shown.err and "left 0:07:00" in shown.err and "loss 1.5" in shown.err


def test_progress_lets_errors_through():
    with pytest.raises(ValueError), output.progress("x") as update:
        update(1, 2)
        raise ValueError


@pytest.mark.parametrize("width", [12, 20, 30, 40, 60, 80, 120, 200])
@pytest.mark.parametrize(("done", "total", "left"), [(0, 0, None), (7, 100, 3725.0), (100_000, 100_000, 0.0)])
def test_progress_fits_any_width_and_says_how_long_before_anything_else(width, done, total, left):
    from pastcli.progress import line_of

    shown = line_of("reinforcing the model", "steps", done, total, 65.0, 1.5, left, "loss 0.123", width)
    assert len(shown) <= width
    far = f"{done}/{total}" if total else str(done)
    assert far[:width] in shown and (width < len(far) + 8 or "0:01:05" in shown)
    if width >= 40 and left is not None:
        assert f"left {'1:02:05' if left else '0:00:00'}" in shown
    if width >= 120:
        assert "reinforcing the model" in shown and "1.50 steps/s" in shown and "loss 0.123" in shown


def test_what_is_left_is_reckoned_from_this_process_alone(monkeypatch):
    """A resumed run begins at step 900: what another process did before is no speed of ours."""
    from pastcli import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    read = progress.clock()
    assert read(900, 1000) == (0.0, 0.0, None)
    now[0] += 10
    assert read(905, 1000) == (10.0, 0.5, 190.0)


def test_large_figures_are_told_in_digits(capsys):
    from pastcli import output

    output.table("", ["", ""], [["train", 12_110.4], ["small", 0.000_012_34], ["mean", 7.123_456], ["loss", -54_321.9]])
    shown = capsys.readouterr().out
    assert "12,110" in shown and "1.234e-05" in shown and "7.123" in shown and "-54,322" in shown and "e+" not in shown
