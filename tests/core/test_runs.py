"""Runs appear whole or not at all, can be taken up again, and never clobber what is there."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time

import pytest

import pastcli
from pastcli import config, environment, records, runs, sources
from pastcli.errors import Interrupted, PastError, UsageError

CONFIG = config.IngestConfig()


def make(name="x", stage="ingest", parent=None, **options):
    """A finished run that made runs/<id>/out.txt."""
    with runs.start(stage, CONFIG, extra={"name": name}, **options) as run:
        if parent is not None:
            run.add_input("in", parent)
        (run.dir / "out.txt").write_text(name)
        run.add_output("out", run.dir / "out.txt")
        run.metrics(score=1.0)
    return runs.read(run.final)


WRITER = """
import sys, time
from pathlib import Path
from pastcli import config, runs
flags = {name: f"--{name}" in sys.argv for name in ("resume", "force")}
with runs.start("ingest", config.IngestConfig(), extra={}, **flags) as run:
    state = run.dir / "state.txt"
    steps = len(state.read_text()) if state.exists() else 0
    out = run.external("out", Path("other.txt" if "--elsewhere" in sys.argv else "out.txt"))
    out.write_text("half")
    print(run.id, steps, flush=True)
    for step in range(steps, 20):
        if step == 5:
            print("under way", flush=True)
        with open(state, "a") as handle:
            handle.write(".")
        time.sleep(120 if "--slow" in sys.argv and step >= 5 else 0)
    out.write_text("whole")
"""


def writer(*words):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def begin(*words):
    """A process that is in the middle of its run; gives it and the run's id."""
    process = writer("--slow", *words)
    name = process.stdout.readline().split()[0]
    assert process.stdout.readline() == "under way\n"
    return process, name


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if ".past-" in path.name)


def test_a_run_is_published_whole_and_knows_its_parents(workspace):
    first = make("a")
    second = make("b", stage="sft", parent=first.output("out"))
    assert second.parents == [first.id] and second.status == "complete"
    entry = second.manifest["inputs"]["in"]
    assert entry["hash"].startswith("blake3:") and entry["run"] == first.id
    assert second.manifest["outputs"]["out"]["bytes"] == 1 and (second.path / "config.toml").exists()
    assert not (second.path / ".lock").exists() and not list((runs.runs_dir() / ".partial").iterdir())
    assert runs.newest("sft").id == second.id and runs.newest("rl") is None


def test_kill_9_then_resume_continues_and_leaves_no_trace(workspace):
    process, name = begin()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workspace / "out.txt").exists() and leftovers(workspace) and not runs.records()
    done = writer("--resume")
    out, err = done.communicate()
    assert done.returncode == 0, err
    assert out.split()[0] == name and int(out.split()[1]) > 0
    assert (workspace / "out.txt").read_text() == "whole" and not leftovers(workspace)
    assert runs.read(runs.runs_dir() / name).manifest["resumed"] == 1


def test_what_other_code_began_or_made_is_taken_up_with_a_word(workspace):
    """A checkout moves on (`git pull`) while its version number stays."""
    process, name = begin()
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun_by_other_code(runs.runs_dir() / ".partial" / name)
    err = writer("--resume").communicate()[1]
    assert f"{name} was begun by another state of past's code" in err and "without --resume it begins anew" in err


def begun_by_other_code(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["versions"]["code"] == sources.state()
    manifest["versions"]["code"] = "0123456789ab"
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_state_of_the_code_is_told_by_what_decides_results(tmp_path, monkeypatch):
    """A file more, one less, or another letter in one is another state; where it lies does not matter."""
    for place in ("here", "there"):
        for name, text in (("grading.py", "exact"), ("ingest/rules.py", "names"), ("report/page.py", "colours")):
            file = tmp_path / place / "pastcli" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    monkeypatch.setattr(sources, "DECISIVE", ("grading.py", "ingest"))

    def state(place):
        monkeypatch.setattr(sources, "__file__", str(tmp_path / place / "pastcli" / "sources.py"))
        return sources.state.__wrapped__()

    first = state("here")
    assert state("there") == first
    (tmp_path / "there/pastcli/report/page.py").write_text("other colours")
    assert state("there") == first
    (tmp_path / "there/pastcli/ingest/rules.py").write_text("names and figures")
    assert state("there") != first
    (tmp_path / "here/pastcli/ingest/more.py").write_text("")
    assert state("here") != first


def test_two_living_processes_never_share_a_run(workspace):
    process, name = begin()
    try:
        second = writer("--resume")
        _, err = second.communicate()
        assert second.returncode != 0 and f"{name} is being written by another process" in err
        rival = writer("--force")  # not a resumption: a run of its own, bound for the same file
        _, err = rival.communicate()
        assert rival.returncode != 0 and "out.txt is being written by another process" in err
        other = writer("--elsewhere")
        out, err = other.communicate()
        assert other.returncode == 0 and out.split()[0] != name
    finally:
        process.kill()
        process.wait()


def test_clean_removes_the_dead_and_spares_the_living(workspace, past_json):
    living, alive = begin()
    dead, gone = begin("--elsewhere")
    dead.kill()
    dead.wait()
    try:
        assert {row["id"]: row["status"] for row in past_json("runs", "list")} == {alive: "running", gone: "killed"}
        assert past_json("runs", "clean", "--dry-run")["removed"] == []
        assert [row["id"] for row in past_json("runs", "clean")["removed"]] == [gone]
        assert [row["id"] for row in past_json("runs", "list")] == [alive]
        assert leftovers(workspace) == [".out.txt.past-lock", f".past-{alive}-out"]
    finally:
        living.kill()
        living.wait()


def test_a_directory_that_is_being_made_is_not_cleaned_away(workspace):
    young, old = (runs.runs_dir() / ".partial" / name for name in (".new-young", ".new-old"))
    young.mkdir(parents=True)
    old.mkdir()
    os.utime(old, (1, 1))
    assert runs.unfinished() == [old]


def test_ctrl_c_says_how_to_continue(workspace, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/past", "sft", "my docs", "--epochs", "2"])
    with pytest.raises(Interrupted) as stop, runs.start("ingest", CONFIG, extra={}):
        raise KeyboardInterrupt
    assert stop.value.exit_code == 130 and stop.value.hint == "to continue: past sft 'my docs' --epochs 2 --resume"
    assert [record.status for record in runs.records(partial=True)] == ["interrupted"]
    with runs.start("ingest", CONFIG, extra={}, resume=True) as run:
        assert run.resumed


def test_an_unfinished_run_of_other_work_is_not_said_to_be_resumable(workspace):
    """Seen after an upgrade: `--resume` was answered by the hint to add --resume."""
    with pytest.raises(Interrupted), runs.start("ingest", CONFIG, extra={"of": "one"}, name="it"):
        raise KeyboardInterrupt
    for resume, hint in ((True, "cannot be resumed by this command; --force"), (False, "add --resume to continue it")):
        again = runs.start("ingest", CONFIG, extra={"of": "other"}, name="it", resume=resume)
        with pytest.raises(UsageError, match="an unfinished run named it") as stop, again:
            pass
        assert hint in stop.value.hint
    with runs.start("ingest", CONFIG, extra={"of": "other"}, name="it", resume=True, force=True) as run:
        assert not run.resumed


def test_interrupting_a_stage_inside_a_stage_interrupts_both(workspace):
    with pytest.raises(Interrupted), runs.start("distill", config.DistillConfig()), runs.start("ingest", CONFIG):
        raise KeyboardInterrupt
    assert [record.status for record in runs.records(partial=True)] == ["interrupted"] * 2


def folder_run(target, name, **options):
    """A run that makes the folder `target` with one file in it."""
    with runs.start("ingest", CONFIG, extra={"name": name}, **options) as run:
        made = run.external("out", target, folder=True)
        made.mkdir()
        (made / name).write_text(name)
        yield made


def test_existing_output_needs_force_and_is_replaced_whole(workspace):
    target = workspace / "out"
    list(folder_run(target, "old"))
    with pytest.raises(UsageError, match="already exists") as refused:
        list(folder_run(target, "new"))
    assert "--force" in refused.value.hint and not runs.records(partial=True)
    for _ in folder_run(target, "new", force=True):
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"] and not leftovers(workspace)


def test_a_failing_stage_leaves_nothing(workspace):
    with pytest.raises(RuntimeError), runs.start("ingest", CONFIG) as run:
        run.external("out", workspace / "deep" / "out.txt").write_text("half")
        raise RuntimeError
    assert not runs.records(partial=True) and not leftovers(workspace / "deep")


def test_output_in_an_impossible_place_is_a_usage_error(workspace):
    (workspace / "file").write_text("")
    for place in (workspace / "file" / "out", "/proc/nowhere/out"):
        with pytest.raises(UsageError, match="cannot write in"), runs.start("ingest", CONFIG) as run:
            run.external("out", place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_in_a_read_only_folder_is_a_usage_error(workspace):
    (workspace / "shut").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot write in"), runs.start("ingest", CONFIG) as run:
        run.external("out", workspace / "shut" / "out")


def test_force_never_replaces_the_folder_one_works_in(workspace, monkeypatch):
    (workspace / "inner").mkdir()
    monkeypatch.chdir(workspace / "inner")
    with pytest.raises(UsageError, match="holds this workspace"), runs.start("ingest", CONFIG, force=True) as run:
        run.external("out", workspace, folder=True)


def test_resume_refuses_inputs_that_changed(workspace):
    source = workspace / "in.txt"
    source.write_text("one")
    with pytest.raises(RuntimeError), runs.start("ingest", CONFIG) as run:
        run.add_input("in", source)
        (run.dir / "state").write_text("")
        raise RuntimeError
    source.write_text("two")
    with pytest.raises(UsageError, match="has changed since"), runs.start("ingest", CONFIG, resume=True) as run:
        run.add_input("in", source)


def test_finished_work_is_recognised_until_its_input_or_output_changes(workspace):
    source = workspace / "in.txt"
    source.write_text("one")
    record = make("a", parent=source)
    assert runs.finished("ingest", CONFIG, {"name": "a"}).id == record.id
    assert runs.finished("ingest", CONFIG, {"name": "b"}) is None
    source.write_text("two")
    assert runs.finished("ingest", CONFIG, {"name": "a"}) is None
    source.write_text("one")
    record.output("out").unlink()
    assert runs.finished("ingest", CONFIG, {"name": "a"}) is None


def test_a_broken_manifest_hides_only_itself(workspace):
    good = make()
    for number, text in enumerate(["", "[]", '{"id": 5, "stage": "sft", "status": "complete"}', '{"id": "x"']):
        folder = runs.runs_dir() / f"broken-{number}"
        folder.mkdir()
        (folder / "manifest.json").write_text(text)
    assert [record.id for record in runs.records()] == [good.id]
    with pytest.raises(PastError, match="not a readable run"):
        runs.find(str(runs.runs_dir() / "broken-0"))


def test_runs_of_the_same_second_have_different_names(workspace, monkeypatch):
    tokens = iter(["aaaa", "aaaa", "aaaa", "bbbb", "cccc"])
    real = secrets.token_hex
    monkeypatch.setattr("secrets.token_hex", lambda size: next(tokens) if size == 2 else real(size))
    assert len({make(str(number)).id for number in range(3)}) == 3


def test_find_takes_id_prefix_path_and_stage(workspace):
    first, second = make("a"), make("b")
    assert runs.find(first.id).id == runs.find(str(first.path)).id == runs.find("@ingest~1").id == first.id
    assert runs.find("@ingest").id == second.id
    for name in ("ingest-", "nothing", "@ingest~2", "@sft", "@ingest~x", ""):
        with pytest.raises(UsageError):
            runs.find(name)


def test_file_names_that_are_no_utf8_survive_the_manifest(workspace):
    source = workspace / os.fsdecode(b"caf\xe9.txt")
    source.write_text("x")
    record = make("a", parent=source)
    assert record.input("in") == str(source)
    assert runs.finished("ingest", CONFIG, {"name": "a"}).id == record.id


def test_a_thousand_runs_do_not_slow_a_command_down(workspace):
    template = make().manifest
    for number in range(1000):
        folder = runs.runs_dir() / f"ingest-{number:04}"
        folder.mkdir()
        text = json.dumps({**template, "id": folder.name, "started": f"2000-{number:04}"})
        (folder / "manifest.json").write_text(text)
        (folder / "out.txt").write_text("")
    began = time.process_time()
    assert runs.newest("ingest", output_name="out").id == template["id"]
    assert runs.owner_of(workspace / "elsewhere.txt") is None
    assert time.process_time() - began < 3.0


def test_a_command_reads_the_manifest_of_each_of_its_thousand_runs_once(workspace):
    made = make("first")
    for number in range(30):
        (workspace / "runs" / f"copy-{number}").mkdir()
        (workspace / "runs" / f"copy-{number}" / "manifest.json").write_text(
            json.dumps({**made.manifest, "id": f"copy-{number}"})
        )
    records._parsed.cache_clear()
    for _ in range(5):
        assert runs.owner_of(workspace / "elsewhere.txt") is None
        assert len(runs.records()) == 31
    assert records._parsed.cache_info().misses == 31


def test_a_manifest_written_anew_is_read_anew(workspace):
    made = make("first")
    file = made.path / "manifest.json"
    assert runs.read(made.path).stage == "ingest"
    file.write_text(json.dumps({**made.manifest, "stage": "probes"}))
    assert runs.read(made.path).stage == "probes"


def test_what_a_run_made_beside_its_directory_is_known_by_any_way_there(workspace):
    (workspace / "out").mkdir()
    with runs.start("ingest", CONFIG, extra={"name": "x"}) as run:
        (workspace / "out" / "made.txt").write_text("x")
    (workspace / "link").symlink_to(workspace / "out")
    made = run.final
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["outputs"]["out"] = {"path": "../../link/made.txt"}
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert runs.owner_of(workspace / "out" / "made.txt").id == manifest["id"]


def test_runs_commands_show_and_trace(workspace, past, past_json):
    (workspace / "doc.txt").write_text("text")
    first = make("a", parent=workspace / "doc.txt")
    second = make("b", stage="sft", parent=first.output("out"))
    assert [row["id"] for row in past_json("runs", "list", "--stage", "sft")] == [second.id]
    assert past_json("runs", "show", "sft-")["metrics"] == {"score": 1.0}
    tree = past_json("runs", "lineage")
    assert tree["id"] == second.id and tree["parents"][0]["inputs"] == {"in": str(workspace / "doc.txt")}
    text = past("runs", "lineage", "@sft").stdout
    assert text.index(second.id) < text.index(first.id) < text.index("doc.txt")
    assert second.id in past("runs", "list").stdout and "out.txt" in past("runs", "show", second.id).stdout
    assert "no run" in past("runs", "show", "rl-", code=2).stderr
    assert "nothing to clean" in past("runs", "clean").stderr


def test_every_way_to_look_at_a_run_finds_unfinished_ones_and_what_goes_on_from_a_run_names_them(
    workspace, past, past_json
):
    make("a", stage="rl")
    with pytest.raises(Interrupted), runs.start("rl", CONFIG, extra={"name": "b"}, name="halfway") as run:
        (run.dir / "log.jsonl").write_text('{"step": 1, "loss": 2.5, "reward": 0.5}\n')
        raise KeyboardInterrupt
    for name in ("@rl", "half", "halfway", "runs/.partial/halfway"):
        assert past_json("runs", "show", name)["status"] == "interrupted"
        watched = past_json("runs", "watch", name, "--once")
        assert (watched["run"], watched["step"]) == ("halfway", 1)
        assert past_json("runs", "lineage", name)["id"] == "halfway"
    assert past_json("runs", "show", "@rl~1")["status"] == "complete"
    refused = past("runs", "diff", "@rl", "halfway", code=2).stderr
    assert "no run of this workspace named 'halfway'" in refused and "past runs show halfway" in refused


def test_a_run_being_made_anew_under_its_name_is_watched_as_it_goes_and_shown_as_it_was(workspace, past_json):
    with runs.start("rl", CONFIG, name="mine"):
        pass
    with pytest.raises(Interrupted), runs.start("rl", CONFIG, name="mine", force=True) as run:
        (run.dir / "log.jsonl").write_text('{"step": 7}\n')
        raise KeyboardInterrupt
    assert past_json("runs", "watch", "mine", "--once")["step"] == 7
    assert past_json("runs", "show", "mine")["status"] == "complete"


def test_the_list_fits_sixty_columns_newest_last(workspace, past, past_json):
    first, second = make("a"), make("b", stage="sft")
    lines = past("runs", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert first.id in lines[-2] and second.id in lines[-1] and "just now" in lines[-1]
    assert "out" in past("runs", "list", "--long").stdout


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(5, "just now"), (70, "1 min ago"), (7000, "117 min ago"), (90000, "25 h ago"), (2e5, "2 d ago")],
)
def test_ages_are_told_in_a_unit_that_says_something(seconds, told):
    from datetime import UTC, datetime, timedelta

    from pastcli.commands.runs import _ago

    assert _ago((datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()[:19]) == told


def test_what_others_were_made_from_is_removed_with_them_or_by_force(workspace, past, past_json):
    (workspace / "doc.txt").write_text("text")
    first = make("a", parent=workspace / "doc.txt")
    second = make("b", stage="sft", parent=first.output("out"))
    assert f"{second.id} was made from {first.id}" in past("runs", "rm", first.id, code=2).stderr
    past("runs", "rm", first.id, second.id, "--dry-run")
    assert first.path.is_dir() and second.path.is_dir()
    past("runs", "rm", second.id)
    assert not second.path.exists() and first.path.is_dir()
    make("c", stage="sft", parent=first.output("out"))
    past("runs", "rm", first.id, "--force")
    assert [row["stage"] for row in past_json("runs", "list")] == ["sft"] and not (
        workspace / "runs" / ".trash"
    ).exists()


def test_diff_tells_settings_data_and_measurements_apart(workspace, past, past_json):
    for name, text in (("one", "text"), ("same", "text"), ("other", "changed")):
        (workspace / f"{name}.txt").write_text(text)
    first, same, other = (make("a", parent=workspace / f"{name}.txt") for name in ("one", "same", "other"))
    assert past_json("runs", "diff", first.id, same.id)["differences"] == []
    rows = past_json("runs", "diff", first.id, other.id)["differences"]
    assert [(row["in"], row["name"]) for row in rows] == [("inputs", "in")]
    with runs.start("ingest", config.IngestConfig(max_chars=99), extra={}) as run:
        run.metrics(score=2.0)
    rows = past_json("runs", "diff", first.id, run.id)["differences"]
    assert {(row["in"], row["name"]): row["b"] for row in rows} == {
        ("settings", "max_chars"): 99,
        ("inputs", "in"): None,
        ("metrics", "score"): 2.0,
    }
    assert "no difference" in past("runs", "diff", first.id, same.id).stderr


def named(name, text, **options):
    with runs.start("ingest", CONFIG, extra={}, name=name, **options) as run:
        (run.dir / "out.txt").write_text(text)
        run.add_output("out", run.dir / "out.txt")


def test_a_named_run_is_found_by_its_name_and_replaced_only_by_force(workspace):
    named("mine", "one")
    assert runs.find("mine").output("out").read_text() == "one"
    with pytest.raises(UsageError, match="there is a run named mine"):
        named("mine", "two")
    named("mine", "two", force=True)
    assert runs.find("mine").output("out").read_text() == "two"
    assert [record.id for record in runs.records()] == ["mine"]
    with pytest.raises(UsageError, match="cannot be the name"):
        named("../three", "three")


def test_versions_are_those_that_the_packages_give():
    from importlib.metadata import version

    found = environment.versions()
    assert found["past"] == pastcli.__version__ and {"torch", "numpy", "llama-cpp-python"} <= set(found)
    assert all(found[name] == version(name) for name in found if name not in ("past", "code"))


def test_of_a_package_that_is_there_twice_the_version_is_of_the_one_that_is_imported(tmp_path, monkeypatch):
    for folder, name, text in (
        ("first", "Llama.Cpp_Python-0.9.dist-info/METADATA", "Metadata-Version: 2.1\nVersion: 0.9+own\n\nVersion: 7\n"),
        ("second", "llama_cpp_python-1.0.dist-info/METADATA", "Version: 1.0\n"),
        ("second", "gguf-2.egg-info/PKG-INFO", "Version: 2\n"),
        ("second", "trl-3.dist-info/RECORD", "left behind by an uninstall\n"),
    ):
        file = tmp_path / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(
        "sys.path", [str(tmp_path / "not there"), *(str(tmp_path / name) for name in ("first", "second"))]
    )
    found = environment.versions()
    assert found.pop("code") and found == {"past": pastcli.__version__, "llama-cpp-python": "0.9+own", "gguf": "2"}


def test_a_command_that_makes_a_run_does_not_import_what_reads_all_metadata(workspace):
    """5 to 30 ms of each command."""
    (workspace / "a.txt").write_text("The river Oder flows north.\n")
    words = [sys.executable, "-X", "importtime", "-m", "pastcli", "ingest", "a.txt"]
    done = subprocess.run(words, cwd=workspace, capture_output=True, text=True, check=True)
    assert "pastcli.runs" in done.stderr and "importlib.metadata" not in done.stderr


@pytest.mark.parametrize(
    "broken", [{"outputs": []}, {"inputs": None}, {"metrics": 3}, {"config": "x"}, {"parents": {}}]
)
def test_a_manifest_of_another_shape_is_a_broken_one(workspace, past, broken):
    folder = workspace / "runs" / "A"
    folder.mkdir(parents=True)
    whole = {"id": "A", "stage": "sft", "status": "complete", "inputs": {}, "outputs": {}, "config": {}, "metrics": {}}
    (folder / "manifest.json").write_text(json.dumps({**whole, **broken}))
    for words in (("runs", "show", "A"), ("extract", "--sft", "A", "--rl", "A"), ("runs", "show", "runs/A")):
        told = past(*words, code=None)
        assert told.returncode in (1, 2) and "Error:" not in told.stderr and "unexpected" not in told.stderr, (
            told.stderr
        )
        assert "hint:" in told.stderr


def test_work_that_was_finished_after_a_killed_try_of_it_is_not_resumed(begin, past, workspace):
    """The killed one was taken up, and then refused: the output of the whole one was in its way."""
    (workspace / "a.txt").write_text("Ada wrote the first program in 1843.\n")
    words = ("ingest", "a.txt", "-o", "made.jsonl")
    with begin(*words, env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    past(*words)
    assert "already finished: ingest-" in past(*words, "--resume").stderr
    with begin(*words, "--force", env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    assert "resuming ingest-" in past(*words, "--resume", "--force").stderr, "begun once more since"
