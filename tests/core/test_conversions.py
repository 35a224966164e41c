"""What is converted once is made once, appears whole, and does not fill the disk; locks that do not exist are called so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

MAKER = """
import os, sys, time
from pathlib import Path
from pastcli.conversions import kept
def make(path):
    path.mkdir()
    (path / "half").write_text("half")
    print("making", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.02)
    with open(sys.argv[3], "a") as made:
        made.write("x")
    (path / "whole").write_text("whole")
kept([Path(one) for one in sys.argv[4:]], lambda hashes: Path(sys.argv[1]), make)
print("done", flush=True)
"""


def maker(place, count, until="/", stderr=subprocess.PIPE, made_from=()):
    """Makes `place` once there is `until`, and leaves a mark in `count`."""
    words = [sys.executable, "-c", MAKER, str(place), str(until), str(count), *map(str, made_from)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_of_four_processes_one_makes_it_and_the_others_wait(tmp_path):
    place, count, go = tmp_path / "cache" / "model", tmp_path / "count", tmp_path / "go"
    processes = [maker(place, count, go, subprocess.STDOUT) for _ in range(4)]
    first = sorted(process.stdout.readline() for process in processes)
    assert first[0].startswith("another process is making model; waiting") and first[3] == "making\n", first
    assert first[0] == first[1] == first[2]
    go.touch()
    ends = [process.communicate(timeout=120) for process in processes]
    assert all("done" in out for out, _ in ends), ends
    assert count.read_text() == "x" and sorted(path.name for path in place.iterdir()) == ["half", "whole"]
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_kill_9_while_converting_leaves_nothing_that_could_be_taken_for_it(tmp_path):
    place, count = tmp_path / "cache" / "model", tmp_path / "count"
    process = maker(place, count, tmp_path / "never")
    assert process.stdout.readline() == "making\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not place.exists() and (place.parent / ".model.making" / "model" / "half").exists()
    other = maker(tmp_path / "cache" / "other", count)  # any next conversion clears it away
    assert "done" in other.communicate(timeout=60)[0]
    assert not (place.parent / ".model.making").exists()
    assert "done" in maker(place, count).communicate(timeout=60)[0]
    assert sorted(path.name for path in place.iterdir()) == ["half", "whole"]


def test_what_changed_while_it_was_converted_is_not_kept_for_what_it_was(tmp_path):
    place, count, go, source = tmp_path / "cache" / "model", tmp_path / "count", tmp_path / "go", tmp_path / "source"
    source.write_text("one model")
    process = maker(place, count, go, made_from=[source])
    assert process.stdout.readline() == "making\n"
    source.write_text("another model")
    go.touch()
    assert "source changed while it was being converted" in process.communicate(timeout=60)[1]
    assert not place.exists() and not list(place.parent.iterdir())
    assert "done" in maker(place, count, made_from=[source]).communicate(timeout=60)[0]


def test_what_nobody_used_for_a_month_is_removed_and_said(tmp_path):
    cache, count = tmp_path / "cache", tmp_path / "count"
    for name in ("old", "used", "fresh"):
        maker(cache / name, count).communicate(timeout=60)
    long_ago = time.time() - 40 * 86400
    for name in ("old", "used"):
        os.utime(cache / name, (long_ago, long_ago))
    maker(cache / "used", count).communicate(timeout=60)  # used, not made again
    _, error = maker(cache / "new", count).communicate(timeout=60)
    assert sorted(path.name for path in cache.iterdir()) == ["fresh", "new", "used"]
    assert "old, unused for 30 days" in error and count.read_text() == "xxxx"


NO_LOCKS = """
import errno, fcntl, os, sys
def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
sys.argv = ["past", *sys.argv[1:]]
from pastcli.cli import main
main()
"""


def test_a_file_system_without_locks_is_called_so(workspace, past):
    (workspace / "a.md").write_text("# T\n\nOne sentence.\n")
    past("ingest", "a.md", "--name", "before")

    def without(*words):
        return subprocess.run([sys.executable, "-c", NO_LOCKS, *words], capture_output=True, text=True, timeout=60)

    done = without("ingest", "a.md", "-o", "c.jsonl")
    assert done.returncode == 1 and "gives no locks: No locks available" in done.stderr
    assert "another process" not in done.stderr and "-C" in done.stderr
    assert not (workspace / "c.jsonl").exists() and not list((workspace / "runs" / ".partial").iterdir())
    assert "before" in without("runs", "list").stdout
