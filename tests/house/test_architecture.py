"""The shape of the house: imports only go down, start-up stays light, and every command explains itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache

import pytest
from conftest import ROOT

STAGES = {"ingest", "rewards", "evals", "tools", "agent", "vectors"}
ROOMS = ("numbers", "files", "checks", "deltas", "probe")
"""The rooms of `pastcli.vectors`, each of which uses only those before it; the commands beside them use all."""
LOWEST = {"errors", "regular", "api", "config", "__init__"}
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "llama_cpp",
    "numpy",
    "openai",
    "matplotlib",
    "huggingface_hub",
    "safetensors",
)
SOURCES = sorted(path for top in ("pastcli", "plugins") for path in (ROOT / top).rglob("*.py"))
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file())


def shown(path):
    return str(path.relative_to(ROOT))


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path):
    """`pastcli.ingest.readers` for the file of that module."""
    base = ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Every module that a file imports, wherever in it, by absolute name; annotations-only imports left out."""
    package = module_of(path).split(".") if path.name == "__init__.py" else module_of(path).split(".")[:-1]
    skipped = {
        inner
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(path)):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            head = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*head, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(module):
    """The part of `pastcli` that a module belongs to: `ingest`, `runs`, `commands`, ..."""
    parts = module.split(".")
    if parts[0] != "pastcli":
        return None
    name = parts[1] if len(parts) > 1 else "__init__"
    known = (ROOT / "pastcli" / name).is_dir() or (ROOT / "pastcli" / f"{name}.py").is_file()
    return name if known else "__init__"


def layer(part):
    if part in LOWEST:
        return 1
    if part in STAGES:
        return 3
    if part in ("study", "report"):  # work on what several stages made: above them, below the commands
        return 3.5
    return {"commands": 4, "cli": 5, "__main__": 6}.get(part, 2)


@pytest.mark.parametrize("path", [p for p in SOURCES if "plugins" not in p.relative_to(ROOT).parts[0]], ids=shown)
def test_imports_only_go_down(path):
    here = part_of(module_of(path))
    for module in imports(path):
        there = part_of(module)
        if there is None or there == here:
            continue
        assert layer(there) <= layer(here), f"{shown(path)} imports {module}, which lies above it"
        assert not (layer(here) == 3 and layer(there) == 3), (
            f"{shown(path)} imports {module}: layer 3 meets through files"
        )


def room_of(module):
    """Place in `ROOMS` of a module of `pastcli.vectors`; beyond the last for what lies beside the rooms."""
    parts = module.split(".")
    if parts[:2] != ["pastcli", "vectors"] or len(parts) < 3:
        return None
    return ROOMS.index(parts[2]) if parts[2] in ROOMS else len(ROOMS)


@pytest.mark.parametrize("path", sorted((ROOT / "pastcli" / "vectors").rglob("*.py")), ids=shown)
def test_the_rooms_of_vectors_use_only_those_before_them(path):
    here = room_of(module_of(path))
    for module in imports(path) if here is not None else ():
        there = room_of(module)
        assert there is None or there <= here, f"{shown(path)} imports {module}, a room after its own"


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_every_room_of_vectors_says_what_is_in_it(room):
    """A newcomer finds each module named in the docstring of its room."""
    folder = ROOT / "pastcli" / "vectors" / room
    said = set(re.findall(r"`([\w.]+)`", ast.get_docstring(tree(folder / "__init__.py"))))
    found = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.glob("*.c")}
    assert found - {"__init__"} <= said, f"{room or 'vectors'} does not name {found - said - {'__init__'}}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "plugins")], ids=shown)
def test_plugins_use_the_core_and_never_each_other(path):
    own = path.relative_to(ROOT / "plugins").parts[0]
    for module in imports(path):
        assert module.split(".")[0] not in set(PLUGINS) - {own}, f"{shown(path)} imports {module}"
        there = part_of(module)
        if there is not None:
            assert layer(there) <= 2 or there == "vectors", f"{shown(path)} imports {module}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "pastcli")], ids=shown)
def test_core_names_no_plugin_and_only_vectors_imports_torch(path):
    text = path.read_text(encoding="utf-8")
    for plugin in PLUGINS:
        assert plugin not in text, f"{shown(path)} names {plugin}; use registry.load(role, name)"
    if part_of(module_of(path)) != "vectors":
        torch = [module for module in imports(path) if module.split(".")[0] == "torch"]
        assert not torch, f"{shown(path)} imports torch"


@pytest.mark.parametrize("path", sorted((ROOT / "pastcli" / "commands").glob("*.py")), ids=shown)
def test_commands_import_what_is_heavy_only_when_called(path):
    top = ast.Module([node for node in tree(path).body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    for node in top.body:
        names = [alias.name for alias in node.names]
        module = getattr(node, "module", None) or ""
        assert not (STAGES | {"study", "report"}) & {*names, module.split(".")[0]}, (
            f"line {node.lineno}: layer 3 at the top of a command"
        )
        assert module.split(".")[0] not in HEAVY and not set(HEAVY) & {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_files_and_functions_can_be_seen_whole(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300, f"{shown(path)} has {len(lines)} lines"
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{shown(path)}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_nothing_is_left_for_later(path):
    left = re.findall(r"\b(?:TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8"))
    assert not left, f"{shown(path)}: {left}"
    assert ast.get_docstring(tree(path)) or not path.read_text(encoding="utf-8").strip(), (
        f"{shown(path)} has no docstring"
    )


# ---------------------------------------------------------------- the command line, in a fresh process

DRIVER = """
import json, sys
from pastcli import cli
sys.argv = ["past", *json.loads(sys.argv[1])]
try:
    cli.main()
except SystemExit as stop:
    code = stop.code or 0
print("\\n" + json.dumps({"code": code, "modules": sorted({name.split(".")[0] for name in sys.modules})}))
"""


def fresh(*words):
    """stdout of a command in a process of its own, its exit code, and what it imported."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(words)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip(), done.stderr
    text, _, last = done.stdout.rstrip("\n").rpartition("\n")
    return text, json.loads(last)


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["sft", "--help"], ["runs", "list"], ["plugins"]], ids=" ".join
)
def test_start_up_imports_nothing_heavy(workspace, words):
    text, report = fresh(*words)
    assert report["code"] == 0, text
    assert not set(HEAVY) & set(report["modules"])
    if words == ["--help"]:
        assert not set(PLUGINS) & set(report["modules"])


def commands():
    """(words, click command) of every subcommand, the ones inside groups included."""
    from pastcli import cli

    for title in cli.COMMANDS:
        if not (ROOT / "pastcli" / "commands" / f"{title.replace('-', '_')}.py").exists():
            continue
        command = cli._load(title)
        inner = getattr(command, "commands", None)
        yield from ([(f"{title} {name}", one) for name, one in inner.items()] if inner else [(title, command)])


@pytest.mark.parametrize(("words", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_has_a_description_an_example_and_help_for_every_option(words, command):
    assert command.help and len(command.help) > 20
    assert command.epilog and f"past {words.split()[0]}" in command.epilog, "an example command line under --help"
    for option in command.params:
        if option.name != "help":
            assert getattr(option, "help", None), f"{option.name} has no help"


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_the_help_of_every_command_can_be_shown(words, monkeypatch):
    from typer.testing import CliRunner

    from pastcli import cli

    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(cli.app, [*words.split(), "--help"])
    assert (
        shown.exit_code == 0
        and "Usage:" in shown.output
        and f"past {words.split()[0]}" in shown.output.split("Usage:")[1]
    )


def test_every_command_of_the_table_exists(workspace):
    from pastcli import cli

    for title, line in cli.COMMANDS.items():
        assert (ROOT / "pastcli" / "commands" / f"{title.replace('-', '_')}.py").is_file(), f"{title}: no such command"
        assert len(line) <= 90


def test_the_folder_of_commands_has_none_that_is_not_in_the_table():
    from pastcli import cli

    files = {path.stem for path in (ROOT / "pastcli" / "commands").glob("[a-z]*.py")}
    assert files == {title.replace("-", "_") for title in cli.COMMANDS} & files


def test_nothing_opts_out_of_the_formatter():
    """A line that the formatter may not touch is written by hand for ever, and each such line asks for the next."""
    marks = ("# fmt" + ": skip", "# fmt" + ": off")
    found = [f for top in ("pastcli", "plugins", "tests", "examples", "docs") for f in (ROOT / top).rglob("*.py")]
    assert not [shown(path) for path in found if any(mark in path.read_text(encoding="utf-8") for mark in marks)]
