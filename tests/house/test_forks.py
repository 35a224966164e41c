"""The server that commands are forked from (tests/support/forks.py) stays of use whatever the test's own process did before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forks_server
import pytest
from typer.testing import CliRunner

from pastcli import cli


def test_what_runs_in_the_tests_own_process_sends_no_later_command_to_a_cold_start(forks, workspace, tiny_model):
    """Imports set variables of their own, for ever: once TORCHINDUCTOR_CACHE_DIR alone made each tiny training load torch anew."""
    import bitsandbytes  # noqa: F401
    from past_hf.quiet import quiet

    quiet()
    CliRunner().invoke(cli.app, ["runs", "list"])
    assert forks is None or not forks.unlike(dict(os.environ))


def test_a_variable_that_imports_read_starts_a_command_from_nothing(forks):
    assert forks is None or forks.unlike({**os.environ, "HF_HUB_CACHE": "elsewhere"}) == {"HF_HUB_CACHE"}
    assert forks is None or forks.unlike({k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"})


BEGINS = """
import importlib, json, os, sys
from forks_server import own_modules
from pastcli import cli

for title in [*cli.COMMANDS, ""]:
    if os.fork() == 0:
        cli._load(title) if title else [importlib.import_module(name) for name in sys.argv[1:]]
        print(json.dumps([title, sorted(own_modules())]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, title
"""


def test_what_the_server_has_of_past_is_what_every_command_imports_by_itself():
    """In a new interpreter, with nothing of the command's imported before: so none of them needs what only the server gave it."""
    path = os.pathsep.join([str(Path(forks_server.__file__).parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-c", BEGINS, *forks_server.BEGINNING]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True)
    imported = dict(map(json.loads, done.stdout.splitlines()))
    given = set(imported.pop(""))
    assert len(given) > 40 and imported.keys() == cli.COMMANDS.keys()
    for title, modules in imported.items():
        assert given <= set(modules), title


def test_a_folder_of_plugins_is_searched_as_in_a_new_interpreter(past, workspace):
    """PYTHONPATH comes before what is installed and after the command's own folder; nothing of the tests' is in reach."""
    place = workspace / "plugins"
    info = place / "seen-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: seen\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[past.rewards]\nseen = seen:reward\n")
    (place / "seen.py").write_text("def reward(prompts, completions, **_):\n    return [1.0] * len(completions)\n")
    environment = {"PYTHONPATH": str(place)}
    forked = past("plugins", "--json", env=environment)
    words = [sys.executable, "-m", "pastcli", "plugins", "--json"]
    cold = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=True)
    assert forked.stdout == cold.stdout and "seen" in forked.stdout


def test_what_a_command_sets_for_those_that_it_starts_sends_none_of_them_to_a_cold_start(forks, past, workspace):
    """Once a single variable that `past` had come to set made every step of a study load torch anew, for weeks."""
    (workspace / "seen.py").write_text("import json, os\njson.dump(dict(os.environ), open('environment.json', 'w'))\n")
    (workspace / "t.py").write_text("import seen\n\n\ndef tool(x: int) -> int:\n    return x\n")
    (workspace / "script.json").write_text("[]")
    past("agent", "--tools", "t.py", "--query", "What?", "--backend", "echo", "--model", "script.json", code=None)
    environment = json.loads((workspace / "environment.json").read_text())
    assert environment["TQDM_DISABLE"] == "1" and (forks is None or not forks.unlike(environment))


def test_what_a_command_starts_comes_from_the_server_and_dies_with_it(forks, workspace, begin):
    """Steps of a study are `sys.executable -m pastcli` in the study's own process; other modules need a new interpreter."""
    if forks is None:
        pytest.skip("no server")
    python = forks.python
    place = dict(capture_output=True, text=True, env=os.environ)  # without what torch sets behind Python's back, here
    began = subprocess.run([python, "-m", "pastcli", "doctor", "--fast", "--json"], **place)
    assert began.returncode == 0 and str(python) in began.stdout, "its own sys.executable is the server's again"
    error = subprocess.run([python, "-m", "pastcli", "runs", "show", "nothing"], **place)
    assert error.returncode == 2 and "no run" in error.stderr
    assert subprocess.run([python, "-c", "print(6 * 7)"], **place).stdout == "42\n"
    with begin("serve", "--help") as command:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(command.pid, 0)
