"""kill -9 between any two steps of publishing, for every command that publishes: nothing is lost, mistaken or left about.

What a kill leaves is on the disk: a run of the command gives a still of its workspace before each step (`stills`), and in a copy
of each of them a user goes on. `test_never_destroy` kills the processes of two commands for real, at every step.
"""

from __future__ import annotations

import json
import shutil

import agent_tools
import pytest
from documents import pdf_bytes
from gguf_tools import reference_gguf

from pastcli import models
from pastcli.hashing import hash_path
from pastcli.records import read

SETTINGS = """
[sft]
mix = ["none"]
epochs = 1
precision = "fp32"
[rl]
steps = 1
prompts_per_step = 2
num_generations = 2
max_new_tokens = 2
"""
SHORT = ("--max-new-tokens", "2")
SKILL = ("--vector", "skill.safetensors", "--target")

COMMANDS = {
    "ingest": (("ingest", "docs", "-o", "c.jsonl"), ("--max-chars", "60"), "c.jsonl"),
    "extract": (("extract", "--sft", "base", "--rl", "tuned", "-o", "v.safetensors"), ("--rank", "2"), "v.safetensors"),
    "inject": (("inject", *SKILL, "base", "-o", "model"), ("--scale", "0.5"), "model"),
    "inject adapter": (
        (
            "inject",
            "--vector",
            "thin.safetensors",
            "--target",
            "base",
            "--as",
            "adapter",
            "--scales",
            "embed_tokens=0",
            "-o",
            "adapter",
        ),
        ("--scale", "0.5"),
        "adapter",
    ),
    "inject gguf": (("inject", *SKILL, "base.gguf", "-o", "made.gguf"), ("--scale", "0.5"), "made.gguf"),
    "export hf": (("export", "--model", "base", "--to", "hf", "-o", "out"), ("--dtype", "bf16"), "out"),
    "export gguf": (("export", "--model", "base", "--to", "gguf", "-o", "out.gguf"), ("--dtype", "q8_0"), "out.gguf"),
    "probe": (
        ("probe-orthogonality", "--base", "base", "--sft", "tuned", "--rl", "third", "-o", "figures"),
        ("--sft2", "third"),
        "figures",
    ),
    "study init": (("study", "init", "docs", "--base", "base", "-o", "study"), ("--per-document", "2"), "study"),
    "generate": (("generate", "docs", "--kind", "cloze"), ("--kind", "recall"), ""),
    "eval": (("eval", "--questions", "q.jsonl", "--model", "base", *SHORT), ("--limit", "1"), ""),
    "sweep": (("sweep", "--questions", "q.jsonl", *SKILL, "base", "--grid", "1", *SHORT), ("--seed", "3"), ""),
    "agent": (("agent", "--tools", "tools.json", "--backend", "echo", "--model", "script.json"), ("--limit", "1"), ""),
    "sft": (("sft", "docs", "--base", "base"), ("--lr", "0.01"), ""),
    "rl": (("rl", "--sft", "warm", "--questions", "q.jsonl"), ("--seed", "3"), ""),
    "distill": (
        ("distill", "docs", "--base", "warm", "--questions", "q.jsonl", "--rounds", "1", "-o", "d.safetensors"),
        ("--config", "other.toml"),
        "d.safetensors",
    ),
}
"""Words, those that make the same command another work (the old result), and what it makes with -o, if anything."""

AT_ONCE = ("ingest",)
"""Commands that are tried by the fast tests too; the others take a minute or two each."""


@pytest.fixture(scope="module")
def ready(make_tiny, warmed, past_in, tmp_path_factory):
    """A workspace with all that the commands take."""
    folder = tmp_path_factory.mktemp("ready")
    base = make_tiny(folder / "base")
    for seed, name in enumerate(("tuned", "third"), 1):
        make_tiny(folder / name, seed=seed)
    shutil.copytree(warmed, folder / "warm")
    models.write_note(base, models.ModelRef("tiny", base, "hf"), reference_gguf(base, folder / "base.gguf", "F32"))
    (folder / "docs").mkdir()
    for n in range(5):
        lines = [f"The bridge {n} over a river {k} founded in {1500 + 20 * n + k}." for k in range(3)]
        (folder / "docs" / f"m{n}.txt").write_text(" ".join(lines))
    (folder / "docs" / "m5.pdf").write_bytes(pdf_bytes(["The bridge 5 over a river founded in 1843.", "It jumps."]))
    (folder / "tools.json").write_text(json.dumps(agent_tools.queries(2)))
    (folder / "script.json").write_text(json.dumps(agent_tools.script(2)))
    rows = [{"question": f"Which river {n}?", "answer": ("fox", "dog")[n % 2], "doc": f"m{n}"} for n in range(4)]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "past.toml").write_text(SETTINGS)
    (folder / "other.toml").write_text(SETTINGS.replace("epochs = 1", "epochs = 2"))
    past_in(folder, "extract", "--sft", "base", "--rl", "tuned", "-o", "skill.safetensors")
    past_in(folder, "extract", "--sft", "base", "--rl", "tuned", "--rank", "2", "-o", "thin.safetensors")
    return folder


def made(folder, out):
    """The hash of what `-o` made, or else of all that the run made in its own folder but its record; None if it is not there."""
    place = folder / out if out else folder / "runs" / "mine"
    return (hash_path(place) if out else read(place).status) if place.exists() else None


def in_order(folder, out):
    """The run is whole, with its outputs as recorded, and nothing lies about."""
    runs = folder / "runs"
    left = [path.name for path in (runs / ".partial").iterdir() if not path.name.startswith(".new-")]
    assert not left and not (runs / ".old").exists() and not list(folder.glob(".*")), left
    assert not [path for path in folder.rglob("*") if path.name.endswith((".writing", ".tmp")) or ".past-" in path.name]
    (mine,) = [record for record in map(read, runs.glob("[!.]*")) if record.id == "mine"]
    assert mine.status == "complete" and "external" not in mine.manifest
    assert all(mine.unchanged(name) for name in mine.manifest["outputs"])
    listed, there = (
        mine.manifest["files"],
        {p.relative_to(mine.path).as_posix() for p in mine.path.rglob("*") if p.is_file()},
    )
    assert there - {".lock"} == {*listed} | {"manifest.json"}  # a lock that nobody holds locks nothing


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in AT_ONCE else pytest.mark.slow) for name in COMMANDS]
)
def test_what_a_kill_leaves_at_any_step_is_gone_on_from(past, ready, workspace, name):
    """A run that replaces an older one by --force. Going on are, in turn, the same command, with --resume, and with --force."""
    words, variant, out = COMMANDS[name]
    words = (*words, "--name", "mine")
    home, stills = workspace / "home", workspace / "stills"
    shutil.copytree(ready, home)
    stills.mkdir()
    past(*words, *variant, cwd=home)
    old = made(home, out)
    past(*words, "--force", cwd=home, env={"STILLS": str(stills)})
    new = made(home, out)
    taken = sorted(stills.iterdir())
    assert 5 <= len(taken) < 80 and (not out or old != new)
    for number, still in enumerate(taken):
        away = (None,) if out and (ready.joinpath(out).suffix == "") else ()  # a folder steps aside for a moment
        assert made(still, out) in (old, new, *away) or not out
        assert "Traceback" not in past("runs", "list", cwd=still).stderr
        way = ((), ("--resume", "--force"), ("--force",))[number % 3]
        code = None if not way else 0
        told = past(*words, *way, cwd=still, code=code)
        assert told.returncode in (0, 2) and "unexpected" not in told.stderr, told.stderr
        if told.returncode:
            assert "--force" in told.stderr or "--resume" in told.stderr, told.stderr
            assert made(still, out) in (old, new), "refused, and the result is whole"
            past(*words, "--resume", "--force", cwd=still)
        assert made(still, out) == new
        in_order(still, out)
        shutil.rmtree(still)
