"""`--force` replaces what `past` wrote and nothing else; of two writers one wins; no kill leaves anything half done."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pastcli import runs
from pastcli.hashing import hash_path

CONFLICT, USAGE = 3, 2


@pytest.fixture
def docs(workspace):
    """A folder with a document and a photo that nobody may lose."""
    (workspace / "docs").mkdir()
    (workspace / "docs" / "a.md").write_text("# Velmora\n\nVelmora was founded in 1583.\n")
    (workspace / "docs" / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    return workspace / "docs"


def snapshot(folder):
    """Every file and link below `folder` with its contents; the workspace's own runs left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "runs" not in path.relative_to(folder).parts and (path.is_file() or path.is_symlink()):
            found[str(path.relative_to(folder))] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def refused(past, workspace, words, *says, code=USAGE):
    """The command is refused, saying so, and not a byte of the workspace changes."""
    before = snapshot(workspace)
    error = past(*words, code=code).stderr
    assert snapshot(workspace) == before
    for text in says:
        assert text in error, error


# ---------------------------------------------------------------- what --force may replace


def test_a_file_never_replaces_a_folder(past, workspace, docs):
    (workspace / "p").mkdir()
    (workspace / "p" / "photo.jpg").write_bytes(b"photo")
    refused(past, workspace, ("ingest", "docs", "-o", "p", "--force"), "p is a folder, and the output is a file")
    refused(past, workspace, ("ingest", "docs", "-o", "docs", "--force"), "docs")


def test_what_past_did_not_write_is_refused_by_name(past, workspace, docs):
    (workspace / "mine.jsonl").write_text("my own work\n")
    words = ("ingest", "docs", "-o", "mine.jsonl")
    refused(past, workspace, words, "already exists", "no run of this workspace wrote it")
    refused(
        past, workspace, (*words, "--force"), "mine.jsonl already exists", "--force replaces only what `past` wrote"
    )


def test_its_own_output_is_still_known_when_its_run_is_gone(past, workspace, docs):
    words = ("ingest", "docs", "-o", "c.jsonl")
    past(*words, "--name", "first")
    past("runs", "rm", "first")
    assert "add --force" in past(*words, code=USAGE).stderr
    past(*words, "--name", "second", "--force")
    past("ingest", "docs", "-o", "other.jsonl", "--name", "second", "--force")  # the run that wrote c.jsonl is replaced
    past(*words, "--force")
    past("runs", "rm", *[record.id for record in runs.records()])
    with open(workspace / "c.jsonl", "a") as file:
        file.write("my own line\n")
    refused(past, workspace, (*words, "--force"), "has changed since run")
    assert (workspace / "other.jsonl").exists()


def test_its_own_output_is_replaced_until_somebody_edits_it(past, workspace, docs):
    words = ("ingest", "docs", "-o", "c.jsonl")
    past(*words)
    assert "add --force" in past(*words, code=USAGE).stderr
    past(*words, "--force")
    with open(workspace / "c.jsonl", "a") as file:
        file.write("my own note\n")
    refused(past, workspace, (*words, "--force"), "c.jsonl already exists, and has changed since run ingest-")


def test_a_link_is_never_written_through(past, workspace, docs):
    (workspace / "precious.txt").write_text("precious")
    (workspace / "link.jsonl").symlink_to("precious.txt")
    (workspace / "dangling.jsonl").symlink_to("nowhere.txt")
    for name, target in (("link.jsonl", "precious.txt"), ("dangling.jsonl", "nowhere.txt")):
        for force in ((), ("--force",)):
            refused(past, workspace, ("ingest", "docs", "-o", name, *force), f"{name} is a link to {target}")
    assert not (workspace / "nowhere.txt").exists()


def test_a_link_to_past_s_own_output_is_refused_too(past, workspace, docs):
    past("ingest", "docs", "-o", "c.jsonl")
    (workspace / "link.jsonl").symlink_to("c.jsonl")
    refused(past, workspace, ("ingest", "docs", "-o", "link.jsonl", "--force"), "is a link to c.jsonl")


def test_devices_and_pipes_are_no_outputs(past, workspace, docs):
    os.mkfifo(workspace / "pipe")
    for name in ("pipe", "/dev/null"):
        refused(past, workspace, ("ingest", "docs", "-o", name, "--force"), "neither a file nor a folder")


def test_runs_belong_to_the_runs(past, workspace, docs):
    past("ingest", "docs", "--name", "first")
    kept = sorted(path.read_bytes() for path in (workspace / "runs" / "first").rglob("*") if path.is_file())
    for place in (
        "runs",
        "runs/first",
        "runs/first/corpus.jsonl",
        "runs/new.jsonl",
        "runs/.partial/x",
        "./runs/../runs",
    ):
        refused(past, workspace, ("ingest", "docs", "-o", place, "--force"), "belongs to the runs")
    assert kept == sorted(path.read_bytes() for path in (workspace / "runs" / "first").rglob("*") if path.is_file())
    assert not (workspace / "runs" / "new.jsonl").exists()


def test_the_runs_of_another_workspace_are_as_safe(past, workspace, docs):
    past("-C", workspace / "other", "ingest", "docs", "--name", "theirs")
    kept = (workspace / "other" / "runs" / "theirs" / "corpus.jsonl").read_bytes()
    for place in ("other/runs/theirs/corpus.jsonl", "other/runs/theirs/new.jsonl"):
        assert "lies in the run theirs" in past("ingest", "docs", "-o", place, "--force", code=USAGE).stderr
    assert "is a folder" in past("ingest", "docs", "-o", "other/runs", "--force", code=USAGE).stderr
    assert (workspace / "other" / "runs" / "theirs" / "corpus.jsonl").read_bytes() == kept


def test_an_input_is_never_the_output(past, workspace, docs):
    past("ingest", "docs", "-o", "c.jsonl")
    refused(past, workspace, ("ingest", "c.jsonl", "-o", "c.jsonl", "--force"), "is an input of this very command")


def test_a_run_that_holds_more_than_it_made_is_not_replaced(past, workspace, docs):
    past("ingest", "docs", "--name", "mine")
    (workspace / "runs" / "mine" / "notes.md").write_text("what I found")
    error = past("ingest", "docs", "--name", "mine", "--force", code=USAGE).stderr
    assert "holds notes.md, which `past` did not write" in error
    assert (workspace / "runs" / "mine" / "notes.md").read_text() == "what I found"
    (workspace / "runs" / "mine" / "notes.md").unlink()
    past("ingest", "docs", "--name", "mine", "--force")
    (workspace / "runs" / "folder").mkdir()
    (workspace / "runs" / "folder" / "photo.jpg").write_bytes(b"photo")
    assert "holds photo.jpg" in past("ingest", "docs", "--name", "folder", "--force", code=USAGE).stderr


def test_a_run_is_not_named_like_a_model(past, workspace, docs):
    for name in ("smol", "SMOL", "qwen-0.5b"):
        assert "alias of a model" in past("ingest", "docs", "--name", name, code=USAGE).stderr
    assert not list((workspace / "runs").glob("[a-z]*")) and not list((workspace / "runs" / ".partial").iterdir())


def test_a_model_folder_with_a_photo_in_it_is_refused_by_the_photo_s_name(past, workspace, tiny_skill):
    words = ("inject", "--vector", tiny_skill.skill, "--target", tiny_skill.base, "-o", "model")
    past(*words)
    past(*words, "--force")
    (workspace / "model" / "photo.jpg").write_bytes(b"photo")
    refused(past, workspace, (*words, "--force"), "holds photo.jpg, which `past` did not write")
    refused(past, workspace, (*words[:-1], tiny_skill.base, "--force"), "is an input of this very command")
    (workspace / "model" / "photo.jpg").unlink()
    (workspace / "model" / "config.json").write_text("{}")
    refused(past, workspace, (*words, "--force"), "has changed since run inject-")


@pytest.fixture(scope="session")
def tiny_skill(make_tiny, tmp_path_factory):
    """Two tiny models (base, tuned) and the skill between them."""
    from types import SimpleNamespace

    from pastcli.vectors import extract_skill

    folder = tmp_path_factory.mktemp("skill")
    base, tuned = make_tiny(folder / "base"), make_tiny(folder / "tuned", seed=1)
    extract_skill(base, tuned, folder / "skill.safetensors")
    return SimpleNamespace(base=base, tuned=tuned, skill=folder / "skill.safetensors")


# ---------------------------------------------------------------- two writers


def test_of_two_processes_with_one_output_one_wins_and_the_other_is_told(past, workspace, docs):
    """Really at the same time, again and again: the file is whole, and belongs to the one run that says it made it."""
    for number in range(300):
        (docs / f"{number}.md").write_text(f"# Title {number}\n\nSentence number {number} stands here.\n")
    command = [sys.executable, "-m", "pastcli", "ingest", "docs", "-o"]
    for race in range(4):
        out = f"c{race}.jsonl"
        racers = [
            subprocess.Popen([*command, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        ends = [(process.communicate(timeout=120)[1], process.returncode) for process in racers]
        winners = [error for error, code in ends if code == 0]
        losers = [error for error, code in ends if code != 0]
        assert len(winners) == 1, ends
        assert all("is being written by another process" in e or "already exists" in e for e in losers), losers
        made = [record for record in runs.records() if record.output("corpus") == workspace / out]
        assert len(made) == 1 and made[0].unchanged("corpus")
    assert not [path.name for path in workspace.iterdir() if path.name.startswith(".")]
    assert not list((workspace / "runs" / ".partial").iterdir())


def test_racing_for_one_name_gives_one_run(past, workspace, docs):
    command = [sys.executable, "-m", "pastcli", "ingest", "docs", "--name", "mine"]
    racers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in racers]
    assert sorted(code == 0 for _, code in ends) == [False, False, False, True], ends
    assert all("mine" in error and "Traceback" not in error for error, code in ends if code)
    assert [record.id for record in runs.records()] == ["mine"] and not list((workspace / "runs/.partial").iterdir())


def test_resume_does_not_call_an_overwritten_run_finished(past, workspace, docs):
    words = ("ingest", "docs", "-o", "c.jsonl")
    past(*words)
    past(*words, "--max-chars", "25", "--force")
    again = past(*words, "--resume", code=USAGE).stderr
    assert "already finished" not in again and "already exists" in again


def test_a_model_written_over_by_another_run_is_not_taken_for_the_old_one(past, workspace, tiny_skill):
    words = ("inject", "--vector", tiny_skill.skill, "--target", tiny_skill.base, "-o", "model")
    past(*words, "--name", "one")
    past(*words, "--name", "two", "--scale", "0.5", "--force")
    (workspace / "q.jsonl").write_text('{"question": "Who?", "answer": "fox"}\n')
    error = past("eval", "--questions", "q.jsonl", "--model", "one", code=CONFLICT).stderr
    assert "not what run one made" in error
    past("eval", "--questions", "q.jsonl", "--model", "two")


# ---------------------------------------------------------------- kill -9 at every step of publishing

DRIVER = """
import os, signal, sys
until, counted = int(sys.argv[1]), 0
def counting(real):
    def call(*words, **options):
        global counted
        if any(".past-" in str(word) or "/runs" in str(word) for word in words):
            counted += 1
            if counted == until:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **options)
    return call
for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
    setattr(os, name, counting(getattr(os, name)))
sys.argv = ["past", *sys.argv[2:]]
from pastcli.cli import main
main()
"""


def killed_at(step, *words):
    """Run `past words` and kill -9 it at its step-th change of names; False if it came to its end first."""
    done = subprocess.run([sys.executable, "-c", DRIVER, str(step), *map(str, words)], capture_output=True, text=True)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def in_order(workspace):
    """After a recovery: every run complete and with its outputs as recorded, and nothing lies about."""
    left = [path.name for path in (workspace / "runs" / ".partial").iterdir() if not path.name.startswith(".new-")]
    assert not left and not (workspace / "runs" / ".old").exists()
    assert not [path.name for path in workspace.iterdir() if path.name.startswith(".")]
    assert all(record.status == "complete" and "external" not in record.manifest for record in runs.records())


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("shape", "how", "first"),
    [("file", "resume", 1), ("file", "any other command", 2), ("folder", "resume", 3), ("folder", "clean", 4)],
)
def test_kill_9_at_every_step_of_publishing(past, workspace, docs, tiny_skill, shape, how, first, stride):
    """A named run with an output elsewhere, both replacing older ones: at no step is anything lost or half there."""
    if shape == "file":
        out, words = workspace / "c.jsonl", ("ingest", "docs", "-o", "c.jsonl")
        variant = ("--max-chars", "25")
    else:
        out, words = (
            workspace / "model",
            ("inject", "--target", tiny_skill.base, "--vector", tiny_skill.skill, "-o", "model"),
        )
        variant = ("--scale", "0.5")
    words = (*words, "--name", "mine")
    past(*words, *variant)
    old = hash_path(out)
    past(*words, "--force")
    new = hash_path(out)
    past(*words, *variant, "--force")
    killed = set()
    for step in range(first if stride > 1 else 1, 300, stride):
        if not killed_at(step, *words, "--force"):
            break
        state = hash_path(out) if out.exists() else None
        assert state in ((old, new) if shape == "file" else (old, new, None))  # two renames for a folder
        if how == "resume":
            past(*words, "--resume", "--force")
            assert hash_path(out) == new
        elif how == "clean":
            past("runs", "clean")
        else:
            past("-C", workspace, "ingest", "docs", "--name", f"other{step}")
            past("runs", "clean")  # what was not whole yet is only resumable
        in_order(workspace)
        (mine,) = [record for record in runs.records() if record.id == "mine"]
        assert hash_path(out) in (old, new) and mine.unchanged((mine.output("corpus") and "corpus") or "model")
        killed.add(hash_path(out) == new)
        past(*words, *variant, "--force")
        assert hash_path(out) == old
    assert 10 < step < 299 and True in killed
    in_order(workspace)


IN_THE_MIDDLE = """
import os, signal, sys
real = os.pwrite
def pwrite(*words):
    os.kill(os.getpid(), signal.SIGKILL)
os.pwrite = pwrite
sys.argv = ["past", *sys.argv[1:]]
from pastcli.cli import main
main()
"""


@pytest.mark.parametrize("how", ["resume", "clean"])
@pytest.mark.parametrize("out", [("-o", "made.gguf"), ()], ids=["elsewhere", "in the run"])
def test_a_gguf_whose_writer_was_killed_leaves_no_half_file(past, workspace, tiny_skill, tmp_path, how, out):
    """The writer grows a `.writing` file beside its output: nothing of it outlives the next command."""
    from gguf_tools import reference_gguf

    target = reference_gguf(tiny_skill.base, tmp_path / "target.gguf", "F32")
    words = ("inject", "--vector", tiny_skill.skill, "--target", target, *out, "--name", "mine")
    if not out:
        words = (*words, "--as", "model")
    command = [sys.executable, "-c", IN_THE_MIDDLE, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    torn = [path for path in workspace.rglob("*") if path.name.endswith(".writing")]
    assert len(torn) == 1 or not out  # a model directory is written under its own names
    if how == "resume":
        past(*words, "--resume")
        assert (workspace / "made.gguf").stat().st_size > 1000 if out else runs.find("mine").output("model").exists()
    else:
        past("runs", "clean")
        assert not (workspace / "made.gguf").exists()
    assert not [path for path in workspace.rglob("*") if path.name.endswith(".writing")], torn
    assert [path.name for path in workspace.iterdir() if path.name.startswith(".")] == []


# ---------------------------------------------------------------- a dry run changes nothing, by --force neither


def everything(folder):
    """Every file and folder with its contents; a lock that nobody holds locks nothing, and may go."""
    found = {}
    for path in folder.rglob("*"):
        if not path.name.endswith("lock"):
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def test_a_dry_run_with_force_leaves_the_unfinished_run_of_that_name(past, workspace, docs, begin):
    """Seen with a training: `sft --name long --force --dry-run` removed the checkpoints of hours."""
    words = ("ingest", "docs", "-o", "c.jsonl", "--name", "long")
    with begin(*words, env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        assert command.wait().returncode == -9
    before = everything(workspace)
    assert (workspace / "runs" / ".partial" / "long").is_dir() and list(workspace.glob(".past-long-*"))
    past(*words, "--force", "--dry-run")
    assert "unfinished run named long" in past(*words, "--dry-run", code=USAGE).stderr
    assert everything(workspace) == before
    assert "resuming long" in past(*words, "--resume").stderr


def test_a_dry_run_after_a_kill_at_publishing_changes_nothing_and_judges_as_if_it_were_finished(past, workspace, docs):
    words = ("ingest", "docs", "-o", "c.jsonl", "--name", "mine")
    past(*words, "--max-chars", "25")
    met = set()
    for step in range(4, 300):
        if not killed_at(step, *words, "--force"):
            break
        if [record.status for record in runs.records(partial=True)] != ["publishing"]:
            past("runs", "clean")
            continue
        met.add(step)
        before = everything(workspace)
        told = past("runs", "clean", "--dry-run").stderr
        assert "mine was killed while being published" in told and "nothing to clean" in told
        past(*words, "--force", "--dry-run")
        past("ingest", "docs", "-o", "other.jsonl", "--dry-run")
        assert "already exists" in past("ingest", "docs", "-o", "c.jsonl", "--dry-run", code=USAGE).stderr
        assert everything(workspace) == before
        assert "finished publishing mine" in past("runs", "list").stderr
        past(*words, "--max-chars", "25", "--force")
    assert len(met) >= 4


def test_a_dry_run_makes_no_folder_for_its_output(past, workspace, docs):
    past("ingest", "docs", "-o", "deep/er/c.jsonl", "--dry-run")
    assert sorted(path.name for path in workspace.iterdir()) == ["docs"]


def test_a_dry_run_makes_no_folder_for_a_workspace_that_is_not_there(past, workspace, docs):
    done = past("-C", "not/there", "ingest", "docs", "--dry-run")
    assert "nothing changed" in done.stderr
    assert sorted(path.name for path in workspace.iterdir()) == ["docs"]


@pytest.mark.parametrize(
    "words",
    ["ingest docs -o NAME", "ingest docs -o NAME --dry-run", "ingest NAME", "-C NAME ingest docs", "inspect NAME"],
)
def test_a_name_longer_than_files_can_have_is_a_word_typed_wrong(past, workspace, docs, words):
    done = past(*words.replace("NAME", "n" * 300).split(), code=2)
    assert done.stderr.startswith("error: ") and "--debug" not in done.stderr
    assert sorted(path.name for path in workspace.iterdir()) in (["docs"], ["docs", "runs"])
