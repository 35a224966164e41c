"""No space left: the folder is named, what can be resumed is said, nothing half-written is taken for a result."""

from __future__ import annotations

import errno
import json
import os
import subprocess

import pytest

from pastcli import diskspace, runs
from pastcli.config import IngestConfig
from pastcli.errors import FullDisk, PastError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [FULL, RuntimeError("I/O error: No space left on device (os error 28)")])
def test_a_full_disk_is_called_so_whoever_noticed(workspace, error):
    with pytest.raises(FullDisk, match=f"^no space left in {workspace}"), runs.start("ingest", IngestConfig()) as run:
        run.external("out", workspace / "out.txt").write_text("half")
        raise error
    assert not runs.records(partial=True) and not list(workspace.glob("*.past-*"))


def test_the_folder_is_that_of_the_file_or_the_one_with_the_least_room(workspace, monkeypatch):
    for name in ("roomy", "tight", "home"):
        (workspace / name).mkdir()
    free = {"roomy": 1 << 40, "tight": 4096, "home": 1 << 30}
    monkeypatch.setattr(diskspace, "_free", lambda folder: free.get(folder.name, 1 << 40))
    monkeypatch.setenv("PAST_HOME", str(workspace / "home"))
    places = [workspace / "roomy", workspace / "tight" / "not yet there"]
    assert str(diskspace.full(FULL, places)) == f"no space left in {workspace / 'tight'}"
    named = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(workspace / "roomy" / "file"))
    assert str(diskspace.full(named, places)) == f"no space left in {workspace / 'roomy'}"
    free["home"] = 0
    assert str(diskspace.full(FULL, places)) == f"no space left in {workspace / 'home'}"


def test_who_knows_what_can_be_resumed_says_so_and_words_of_others_are_not_ours():
    told = FullDisk("checkpoint of step 3 cannot be written: no space left in /x", "then --resume")
    with pytest.raises(FullDisk) as caught, diskspace.full_disk_named(list):
        raise told
    assert caught.value is told
    quoted = PastError("the tool answered: No space left on device")
    with pytest.raises(PastError) as caught, diskspace.full_disk_named(list):
        raise quoted
    assert caught.value is quoted
    with pytest.raises(FullDisk), diskspace.full_disk_named(list):
        raise PastError("out.jsonl cannot be written") from FULL


@pytest.fixture
def tiny_disk(tmp_path):
    """`tiny_disk(kilobytes)` is a folder with so much room, and a function that makes more."""
    mounted = []

    def make(kilobytes):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        done = subprocess.run(words, capture_output=True) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip("only root can mount a small disk, and not in every container")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def more(place, kilobytes):
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place)], check=True)


def nothing_left(place):
    assert not [path for path in place.rglob("*") if path.is_file() and (".past-" in str(path) or ".tmp" in path.name)]


@pytest.fixture
def docs(workspace):
    (workspace / "docs").mkdir()
    for number in range(60):
        text = " ".join(f"The bridge {number} over a river {n} founded in {1500 + n}." for n in range(20))
        (workspace / "docs" / f"m{number}.txt").write_text(text)
    return workspace / "docs"


def test_ingest(past, workspace, docs, tiny_disk):
    for place, words in ((disk := tiny_disk(40), ("-o", disk / "c.jsonl")), (small := tiny_disk(40), ("-C", small))):
        before = ("-C", small) if words[0] == "-C" else ()
        command = (*before, "ingest", docs, *(() if before else words))
        told = past(*command, code=1).stderr
        assert f"no space left in {place}" in told and "free some space there" in told, told
        nothing_left(place)
        more(place, 4000)
        past(*command)


@pytest.mark.timeout(600)
def test_a_checkpoint(past, workspace, docs, tiny_model, tiny_disk):
    """The training stops with the folder's name, and `--resume` goes on from the checkpoint before."""
    disk = tiny_disk(1200)
    words = (
        "-C",
        disk,
        "sft",
        docs / "m1.txt",
        "--base",
        tiny_model,
        "--mix",
        "none",
        "--epochs",
        6,
        "--save-every",
        2,
    )
    told = past(*words, "--batch-tokens", 200, code=1).stderr
    assert "cannot be written: no space left in" in told and str(disk) in told and "--resume" in told, told
    more(disk, 40_000)
    again = past(*words, "--batch-tokens", 200, "--resume").stderr
    assert "going on from step" in again, again
    nothing_left(disk)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_training_whose_result_would_not_fit_is_refused_before_its_first_step(past, docs, tiny_model, tiny_disk, dry):
    disk = tiny_disk(100)
    words = ("-C", disk, "sft", docs / "m1.txt", "--base", tiny_model, "--mix", "none", "--epochs", 2, *dry)
    told = past(*words, code=1).stderr
    assert f"{disk}" in told and "GB free" in told and "-C WORKSPACE" in told and "loss" not in told, told
    if not dry:
        assert "resume" not in told
        more(disk, 40_000)
        past(*words)


def test_inject(past, workspace, make_tiny, tiny_model, tiny_disk):
    make_tiny(workspace / "tuned", seed=1)
    past("extract", "--sft", tiny_model, "--rl", "tuned", "-o", "skill.safetensors")
    disk = tiny_disk(100)
    words = ("inject", "--vector", "skill.safetensors", "--target", tiny_model, "-o", disk / "made")
    told = past(*words, code=1).stderr
    assert str(disk) in told and ("no space left in" in told or "GB free" in told), told
    nothing_left(disk)
    more(disk, 4000)
    past(*words)


def test_a_study(past, workspace, docs, tiny_model, tiny_disk):
    disk = tiny_disk(90)
    words = ("-C", disk, "study", "init", docs, "--base", tiny_model, "-o", disk / "study")
    told = past(*words, code=1).stderr
    assert str(disk) in told and ("no space left in" in told or "GB free" in told), told
    nothing_left(disk)
    more(disk, 100_000)
    assert json.loads(past(*words, "--json").stdout)["documents"] == 60


def test_what_lies_where_nothing_can_be_written_is_looked_at_and_not_removed(past, docs, tiny_disk):
    disk = tiny_disk(4000)
    past("-C", disk, "ingest", docs / "m1.txt", "--name", "one")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for words in (("runs", "list"), ("runs", "show", "one"), ("runs", "clean"), ("inspect",)):
        past("-C", disk, *words)
    for words in (("runs", "rm", "one"), ("ingest", docs / "m2.txt"), ("runs", "report", "one", "-o", disk / "r.html")):
        told = past("-C", disk, *words, code=2).stderr
        assert f"cannot write in {disk}" in told and "choose another place" in told, told
