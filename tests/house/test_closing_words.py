"""Every command that makes or measures something ends with one sentence of judgement and one `next:` line."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import agent_tools
import pytest
from conftest import ROOT
from vectors_tools import moved, weights, write_model

from pastcli import narration, verdict

BY_COMMAND = {"eval": verdict.evaluated, "agent": verdict.attempted, "probe": verdict.probed, "study": verdict.studied}
"""Stages whose words are made of more than their manifest."""


def test_no_stage_that_makes_a_run_is_without_words():
    files = (ROOT / "pastcli" / "commands").glob("*.py")
    started = {stage for path in files for stage in re.findall(r'runs\.start\(\s*"(\w+)"', path.read_text("utf-8"))}
    assert started >= {"agent", "probe", "eval", "sft", "rl", "ingest", "study", "sweep", "inject", "export"}
    assert started <= narration._STAGES.keys() | BY_COMMAND.keys()


def attempt(**changed):
    known = {"queries": 40, "sopr": 0.5, "sopr_low": 0.35, "sopr_high": 0.65, "calls": 9, "know_nothing": {"sopr": 0.1}}
    return verdict.attempted(known | changed, "a-1")


@pytest.mark.parametrize(
    ("changed", "told", "after"),
    [
        (
            {},
            "50% of 40 queries solved [35%, 65%], more than the 10% of a program that knows nothing",
            "runs report a-1",
        ),
        ({"know_nothing": {"sopr": 0.4}}, "not shown to be more than the 40%", "runs report"),
        ({"know_nothing": {"sopr": 0.9}}, "fewer than the 90%", "runs report"),
        (
            {"know_nothing": {"sopr": 0.9}, "sopr_at_most": 0.95, "ungraded": 0.45},
            "not shown to be more",
            "runs report",
        ),
        ({"know_nothing": {"sopr": 0.1, "ungraded": 0.5}}, "not shown to be more than the 10%", "runs report"),
        ({"know_nothing": None}, "solved [35%, 65%]", "runs report"),
        ({"queries": 1}, "1 query tell", "runs report"),
        (
            {"judge_error": {"judge": "rules/12", "answers": 200, "false_solved": 0.207, "false_not_solved": 0.562}},
            ". Of 200 answers that it had never met the judge rules/12 called 21% of the wrong ones solved, and 56% of the right ones not",
            "runs report",
        ),
        ({"calls": 0}, "nothing was called", "--replay a-1"),
        ({"sopr": None, "sopr_low": None, "sopr_high": None}, "no answer to 40 queries could be graded", "runs report"),
    ],
)
def test_the_words_after_an_agent_claim_no_more_than_a_program_without_a_model_leaves(changed, told, after):
    end = attempt(**changed)
    assert told in end.judgement and after in end.next
    assert ("tell little" in end.judgement) == (changed.get("queries") == 1)


def ends(done, document, after):
    """The last line on stderr is `next:`, the one before a sentence; --json has both."""
    lines = done.stderr.rstrip().splitlines()
    assert lines[-1].startswith(f"next: past {after}") and len(lines[-2]) > 20 and "next:" not in done.stdout, lines
    assert document["next"].startswith(f"past {after}") and document["judgement"] in done.stderr.replace("\n", " ")


def test_an_evaluation_ends_with_the_page_that_shows_its_answers(past, past_json, workspace):
    (workspace / "q.jsonl").write_text('{"question": "Who?", "answer": "Ada"}\n')
    (workspace / "script.json").write_text('[{"match": "Who", "reply": "Ada"}]')
    words = ("eval", "--questions", "q.jsonl", "--backend", "echo", "--model", "one=script.json")
    ends(past(*words), past_json(*words, "--resume"), "runs report eval-")
    page = past(*past_json(*words, "--resume")["next"].split()[1:]).stdout
    assert "1 run, 0.0 MB" in page and "episode" not in page


def test_agent_probe_and_inspect_say_what_they_come_to_and_what_is_next(past, past_json, workspace):
    (workspace / "tools.json").write_text(json.dumps(agent_tools.queries(1)))
    (workspace / "script.json").write_text(json.dumps(agent_tools.script(1)))
    words = ("agent", "--tools", "tools.json", "--backend", "echo", "--model", "script.json")
    ends(past(*words), past_json(*words, "--resume"), "runs report agent-")
    base = weights()
    for name, seed in (("base", 0), ("sft", 1), ("rl", 2)):
        write_model(workspace / name, moved(base, seed, 1e-3) if seed else base)
    words = ("probe-orthogonality", "--base", "base", "--sft", "sft", "--rl", "rl", "--no-figures")
    ends(past(*words), past_json(*words, "--resume"), "extract --sft")
    past("extract", "--sft", "sft", "--rl", "rl", "-o", "v.safetensors")
    ends(past("inspect", "v.safetensors"), past_json("inspect", "v.safetensors"), "inject --vector")
    done = past("probe-orthogonality", "--base", "base", "--sft", "base", "--rl", "rl", "--no-figures")
    assert "nothing to compare" in done.stderr and "next:" not in done.stderr


WITHOUT = {"ask", "serve", "study arms"}
"""An answer stands for itself, a server has no end, and what `arms` prints goes into a file."""


@pytest.fixture(scope="module")
def made(past_in, tmp_path_factory):
    """A workspace with a corpus and three evaluations, two of a model that is right."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "docs").mkdir()
    text = "\n\n".join(
        f"Ada wrote program number {number} in {1843 + number}, in London, with her mother." for number in range(60)
    )
    (folder / "docs" / "a.txt").write_text(text)
    past_in(folder, "ingest", "docs", "--name", "corpus")
    rows = [json.dumps({"question": f"Who, {number}?", "answer": "Ada"}) for number in range(12)]
    (folder / "q.jsonl").write_text("\n".join(rows))
    for name, reply in (("good", "Ada"), ("same", "Ada"), ("bad", "Bob")):
        (folder / f"{name}.json").write_text(json.dumps([{"match": "Who", "reply": reply}]))
        past_in(
            folder, "eval", "--questions", "q.jsonl", "--backend", "echo", "--model", f"m={name}.json", "--name", name
        )
    return folder


@pytest.fixture
def evaluated(made, workspace):
    shutil.copytree(made, workspace, dirs_exist_ok=True)
    return workspace


@pytest.mark.parametrize(
    ("words", "told", "after"),
    [
        ("runs list", "4 runs", "runs show bad"),
        ("runs show corpus", "passages of 1 document", "sft"),
        ("runs show good", "F1 1.00", "runs report good"),
        ("runs lineage good", "made from", "runs show good"),
        ("runs diff good bad", "they differ in 1 input", "runs compare good bad"),
        ("runs diff good good", "no difference", "runs show good"),
        ("runs compare bad good", "good is better than bad (f1 +1.000", "runs report bad good"),
        ("runs compare good same", "same is not shown to differ from good", "runs report good same"),
        ("runs report good bad", "report.html is one page", "runs compare good bad"),
        ("runs report good", "report.html is one page", "runs list"),
        ("runs rm good --dry-run", "1 run with 0.0 MB would be removed; nothing was touched", "runs rm good"),
        ("runs rm good", "1 run with 0.0 MB removed", "runs list"),
        ("runs clean", "nothing to clean", "runs list"),
        ("runs watch corpus --once", "passages of 1 document", "sft"),
        ("inspect", "no skills in", "study init FOLDER"),
        ("plugins", "was not tried", "plugins --check"),
        ("plugins --check", "each of them can be loaded", "doctor"),
        ("ingest docs --dry-run --min-chars 10", "a dry run: nothing was made", "ingest docs --min-chars 10"),
        ("study init docs --dry-run", "a dry run: nothing was made", "study init docs"),
    ],
)
def test_what_looks_or_tidies_up_says_what_it_came_to_as_well(past, evaluated, words, told, after):
    lines = past(*words.split()).stderr.rstrip().splitlines()
    assert lines[-1].startswith(f"next: past {after}") and told in lines[-2], lines


def test_an_unfinished_run_is_shown_with_the_command_that_goes_on_with_it(begin, past, past_json, evaluated):
    with begin("ingest", "docs", "--name", "cut", env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    document = past_json("runs", "show", "cut")
    assert document["status"] == "killed" and document["next"] == "past ingest docs --name cut --resume"
    assert "1 of them unfinished" in past("runs", "list").stderr


def typed(folder, command, past, **options):
    """A suggested command, typed as it stands by a shell that is in `folder`."""
    words = shlex.split(command)
    assert words[0] == "past", command
    return past(*words[1:], cwd=folder, **options)


@pytest.mark.parametrize("flag", [["-C", "my work"], ["--workspace=my work"], ["-Cmy work"]])
def test_what_is_suggested_is_meant_for_the_workspace_that_was_named(past, past_json, made, workspace, flag):
    shutil.copytree(made, workspace / "my work")
    for words in (["list"], ["show", "good"], ["lineage", "good"], ["diff", "good", "bad"], ["compare", "good", "bad"]):
        after = past_json(*flag, "runs", *words)["next"] if words != ["list"] else ""
        shown = past(*flag, "runs", *words).stderr.rstrip().splitlines()[-1].removeprefix("next: ")
        assert after in ("", shown) and shlex.split(shown)[:3] == ["past", "-C", "my work"], shown
        typed(workspace, shown, past)
        typed(workspace, shown, past)
    shown = past(*flag, "runs", "rm", "bad", "--dry-run").stderr.splitlines()[-1].removeprefix("next: ")
    assert shown.count("my work") == 1
    typed(workspace, shown, past)
    assert not (workspace / "my work" / "runs" / "bad").exists()


def test_a_workspace_named_by_the_environment_is_not_named_again(past, made, workspace):
    done = past("runs", "list", env={"PAST_WORKSPACE": str(made)})
    assert done.stderr.endswith("next: past runs show bad\n")


@pytest.mark.parametrize(
    ("words", "told", "after"),
    [
        ("--stage sft", "no runs of the stage sft in", "past runs list"),
        ("--stage ingest", "1 run", "past runs show corpus"),
        ("-n 1", "1 run, the newest of 4", "past runs show bad"),
        ("-n 1 --stage eval", "1 run, the newest of 3", "past runs show bad"),
        ("-n 9", "4 runs", "past runs show bad"),
    ],
)
def test_a_list_that_leaves_runs_out_says_so(past, evaluated, words, told, after):
    lines = past("runs", "list", *words.split()).stderr.splitlines()
    assert lines[-1] == f"next: {after}" and lines[-2].startswith(told)
    assert told.startswith("no ") or lines[-2] == told


def test_what_is_added_to_a_command_stands_before_its_bare_dashes(past, begin, workspace):
    (workspace / "-a.txt").write_text("Ada wrote the first program in 1843.\n")
    done = past("ingest", "--dry-run", "--", "-a.txt")
    assert done.stderr.endswith("next: past ingest -- -a.txt\n")
    with begin("ingest", "--name", "cut", "--", "-a.txt", env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    shown = past("runs", "show", "cut").stderr.splitlines()[-1].removeprefix("next: ")
    assert shown == "past ingest --name cut --resume -- -a.txt"
    assert "1 passage" in typed(workspace, shown, past).stderr


def test_a_command_seen_from_another_folder_leads_to_the_files_that_it_was_typed_beside(
    begin, past, past_json, workspace
):
    """`past -C ws runs show` suggested `past ingest docs --resume`, which meant the docs of wherever it was typed."""
    (workspace / "ws").mkdir()
    (workspace / "docs").mkdir()
    (workspace / "docs" / "a.txt").write_text("Ada wrote the first program in 1843.\n")
    words = ("-C", "ws", "ingest", "docs", "-o", "made.jsonl", "--name", "cut")
    with begin(*words, env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    elsewhere = workspace / "else" / "where"
    elsewhere.mkdir(parents=True)
    shown = past_json("-C", "../../ws", "runs", "show", "cut", cwd=elsewhere)["next"]
    there, command = shown.split(" && ")
    assert there == "cd ../.." and command == "past -C ws ingest docs -o made.jsonl --name cut --resume"
    assert "going on" in typed(workspace, command, past).stderr or (workspace / "made.jsonl").is_file()
    assert past_json("-C", "../../ws", "runs", "show", "cut", cwd=elsewhere)["next"] == "past -C ../../ws sft"


def test_an_unfinished_run_is_cleaned_away_not_removed(begin, past, evaluated):
    with begin("ingest", "docs", "--name", "cut", env={"DYING": "pastcli.ingest:write_corpus 1"}) as command:
        command.wait()
    told = past("runs", "rm", "cut", code=2).stderr
    assert "cut is unfinished" in told and "past runs clean cut" in told
    past("runs", "clean", "cut")


def test_what_has_nothing_to_act_on_or_is_another_kind_of_file_is_said_so(past, evaluated):
    assert (
        "--scale without --vector"
        in past("ask", "Who?", "--model", "good.json", "--backend", "echo", "--scale", 2, code=2).stderr
    )
    told = past("inspect", "q.jsonl", code=3).stderr
    assert "q.jsonl is no safetensors file" in told and "bytes" not in told
