"""Environments: the user's functions, live MCP servers over stdio and HTTP, a simulator by a model, a stranger's."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pastcli import cache, registry
from pastcli.api import Completion, Observation, Parameter, Task, ToolSpec, object_schema
from pastcli.errors import PastError, UsageError
from pastcli.installed import EntryPoint
from pastcli.tools.environments import llm
from pastcli.tools.environments.simulator import Checked
from pastcli.tools.load import load_tools, open_environment, read_tools

MODULE = '''
"""Tools of mine."""
from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import date
from os.path import join
from typing import Annotated, Literal

from pydantic import Field


@dataclass
class Stop:
    name: str
    minutes: int = 0


def add(a: int, b: Annotated[int, Field(ge=1, le=7)] = 2) -> int:
    """Add two numbers.

    Args:
        a: The first
            number.
    """
    print("noise")
    return a + b


def route(stops: list[Stop], day: date, mode: Literal["bus", "train"] = "bus", copy: bool = False) -> dict:
    """Plan.

    :param day: When.
    """
    return {"minutes": sum(stop.minutes for stop in stops), "day": day, "nan": float("nan"), "set": {1}, "bytes": b"x"}


async def later(x: float):
    """Wait.

    Parameters
    ----------
    x : float
        A number.
    """
    await asyncio.sleep(0)
    return x


def boom() -> None:
    """Fail."""
    raise KeyError("no")


def more(**others: int):
    """Anything."""
    return others


def _private():
    return os


class Other:
    def method(self): ...
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mytools.py"
    path.write_text(MODULE)
    return path


@pytest.fixture
def opened(request):
    def call(path, **options):
        found = read_tools(path)
        env = open_environment(found, path, **options)
        request.addfinalizer(env.close)
        return {spec.api: spec for spec in found.specs}, env

    return call


def test_functions_become_tools_by_their_annotations_and_docstrings(module, opened):
    specs, _ = opened(module)
    assert list(specs) == ["add", "route", "later", "boom", "more"]
    add, route = specs["add"], specs["route"]
    assert (add.key, add.description) == (("functions", "mytools", "add"), "Add two numbers.")
    assert [(p.name, p.type, p.required, p.default, p.description) for p in add.parameters] == [
        ("a", "integer", True, None, "The first number."),
        ("b", "integer", False, 2, ""),
    ]
    assert add.response_schema == {"type": "integer"} and specs["later"].parameter("x").description == "A number."
    assert route.schema["$defs"]["Stop"]["required"] == ["name"] and route.parameter("mode").enum == ("bus", "train")
    assert route.parameter("day").description == "When." and "title" not in json.dumps(route.schema)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "response"),
    [
        ("add", {"a": 1}, "", 3),
        ("add", {"a": 1, "b": 9}, 'parameter "b" must be at most 7', ""),
        ("add", {"a": "1"}, 'parameter "a" must be an integer, not a string', ""),
        ("add", {"a": 1, "c": 1}, 'unknown parameter "c"', ""),
        ("add", [1], "the input must be a JSON object, not an array", ""),
        (
            "route",
            {"stops": [{"name": "x", "minutes": 3}], "day": "2024-02-29"},
            "",
            {"minutes": 3, "day": "2024-02-29", "nan": None, "set": [1], "bytes": "x"},
        ),
        (
            "route",
            {"stops": [{"nme": 1}], "day": "2024-02-30"},
            'missing required parameter "stops[0].name"; parameter "day" must be a date that exists, as YYYY-MM-DD',
            "",
        ),
        ("later", {"x": 1.5}, "", 1.5),
        ("boom", {}, "KeyError: 'no'", ""),
        ("more", {"z": 1}, "", {"z": 1}),
    ],
)
def test_functions_are_called_with_what_their_annotations_mean(module, opened, capfd, name, arguments, error, response):
    specs, env = opened(module)
    assert env.call(specs[name], arguments) == Observation(error, response)
    assert "noise" not in capfd.readouterr().out


def test_names_that_are_none_are_told(tmp_path):
    for names in ("5", "[1, None]", "'f'"):
        (tmp_path / "tools.py").write_text(f"__all__ = {names}\ndef f(x: int) -> int: return x\n")
        with pytest.raises(PastError, match="__all__ is no list of names"):
            read_tools(tmp_path / "tools.py")


def test_modules_that_cannot_be_tools_say_why(tmp_path):
    cases = [
        ("1/0", "ZeroDivisionError"),
        ("x = 1", "no public function"),
        ("def f(x: 'Gone'): ...", "annotations"),
        ("def f(x, /): ...", "no name"),
        ("raise SystemExit", "SystemExit"),
    ]
    for number, (text, words) in enumerate(cases):
        path = (
            tmp_path / f"bad{number}.py"
        )  # Python takes a file of the same size and second for the one it has the bytecode of
        path.write_text(text)
        with pytest.raises(PastError, match=words):
            read_tools(path)


def test_an_agent_uses_the_users_functions(module, past_json, workspace):
    script = workspace / "script.json"
    script.write_text(
        json.dumps(
            [
                ' Add.\nAction: add\nAction Input: {"a": 40}',
                ' Done.\nAction: Finish\nAction Input: {"final_answer": "42"}',
            ]
        )
    )
    summary = past_json("agent", "--tools", module, "--query", "40 + 2?", "--backend", "echo", "--model", script)
    assert summary["valid_call_rate"] == 1.0 and summary["statuses"] == {"finished": 1}


def test_functions_named_in_any_script_keep_their_names(past, past_json, workspace):
    """A name is all that a model is told: of one in Cyrillic nothing was left, and it was shown as a hash."""
    (workspace / "meine.py").write_text(
        'def größe(straße: str) -> dict:\n    """Größe."""\n    return {"m": 3, "straße": straße}\n\n'
        'def погода(город: str) -> str:\n    """Погода."""\n    return "дождь"\n\n'
        'def मौसम(a: int) -> int:\n    """X."""\n    return a\n',
        encoding="utf-8",
    )
    calls = [("größe", {"straße": "Hauptstraße"}), ("погода", {"город": "Киев"}), ("मौसम", {"a": 1}), ("grösse", {})]
    said = [f" A.\nAction: {name}\nAction Input: {json.dumps(given, ensure_ascii=False)}" for name, given in calls]
    ends = ' Done.\nAction: Finish\nAction Input: {"final_answer": "3"}'
    (workspace / "model.json").write_text(json.dumps([*said, ends]))
    words = ("agent", "--tools", "meine.py", "--query", "Größe?", "--backend", "echo", "--model", "model.json")
    done = past_json(*words)
    assert done["calls"] == 4 and done["valid_call_rate"] == 0.75 and done["hallucinated_calls"] == 1
    shown = past(*words, "--force", "--show").stdout
    assert 'unknown function "grösse"; the functions are: größe, погода, मौसम, Finish' in shown.replace('\\"', '"')


LOUD = """
import asyncio, os, sys
import chatter

def ask(a: int, b: object = object()) -> int:
    "Ask."
    print("printed"); sys.stdout.write("written\\n"); os.system("echo started"); chatter.say()
    return a + 2

async def cancelled(a: int) -> int:
    "Ask."
    raise asyncio.CancelledError
"""


@pytest.mark.parametrize("name, error", [("ask", ""), ("cancelled", "CancelledError: ")])
def test_stdout_is_one_document_whatever_tools_write_there(workspace, past, name, error):
    (workspace / "loud.py").write_text(LOUD)
    (workspace / "chatter.py").write_text("def say(): print('said')\n")
    turns = [
        f' A.\nAction: {name}\nAction Input: {{"a": 40}}',
        ' D.\nAction: Finish\nAction Input: {"final_answer": "42"}',
    ]
    (workspace / "script.json").write_text(json.dumps(turns))
    done = past("agent", "--tools", "loud.py", "--query", "?", "--backend", "echo", "--model", "script.json", "--json")
    shown = json.loads(done.stdout)
    [step] = [
        row
        for row in map(json.loads, Path(shown["outputs"]["transcript"]).read_text().splitlines())
        if row.get("observation")
    ]
    assert step["observation"]["error"] == error and "Traceback" not in done.stderr and "Pydantic" not in done.stderr
    heard = [word for word in ("printed", "written", "started", "said") if word in done.stderr]
    assert len(heard) == (0 if error else 4)


# ---------------------------------------------------------------- MCP

SERVER = """
import os, sys, time
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

class Stop(BaseModel):
    name: str
    minutes: int = Field(ge=0, le=7)

server = MCPServer("clock")

@server.tool()
def add(a: int, b: int = 2) -> int:
    "Add two numbers."
    return a + b

@server.tool(name="Plan.Route", structured_output=False)
def plan(stops: list[Stop]) -> str:
    "Plan a route."
    return '{"stops": %d}' % len(stops)

@server.tool(structured_output=False)
def fail(why: str) -> str:
    raise ValueError(why)

@server.tool(structured_output=False)
def die() -> str:
    print("last words", file=sys.stderr, flush=True)
    os._exit(3)

@server.tool(structured_output=False)
def slow() -> str:
    time.sleep(30)
    return "late"

@server.tool(structured_output=False)
def secret() -> str:
    return os.environ.get("TOKEN", "none")

if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run()
"""


@pytest.fixture
def server_file(tmp_path):
    path = tmp_path / "clock_server.py"
    path.write_text(SERVER)
    return path


def configuration(path, **servers):
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def test_a_live_server_over_stdio(tmp_path, server_file, opened, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    clock = {
        "command": sys.executable,
        "args": [str(server_file)],
        "env": {"TOKEN": "${SECRET}", "OTHER": "${GONE:-x}"},
    }
    path = configuration(tmp_path / "mcp.json", clock=clock, off={"command": "nope", "disabled": True})
    specs, env = opened(path, timeout=2.0)
    assert specs["add"].key == ("mcp", "clock", "add") and specs["Plan.Route"].name == "Plan.Route"
    assert specs["Plan.Route"].schema["$defs"]["Stop"]["properties"]["minutes"]["maximum"] == 7
    assert env.call(specs["add"], {"a": 1}) == Observation("", {"result": 3})
    assert env.call(specs["Plan.Route"], {"stops": [{"name": "x", "minutes": 3}]}) == Observation("", {"stops": 1})
    assert (
        env.call(specs["Plan.Route"], {"stops": [{"name": "x", "minutes": 8}]}).error
        == 'parameter "stops[0].minutes" must be at most 7'
    )
    assert env.call(specs["secret"], {}).response == "s3cret" and env.call(specs["fail"], {"why": "x"}).error
    assert "timed out" in env.call(specs["slow"], {}).error
    with pytest.raises(PastError, match="clock could not answer"):
        env.call(specs["die"], {})
    assert env.call(specs["add"], {"a": 2}).response == {"result": 4}  # started again for the next call
    env.close()
    with pytest.raises(PastError, match="closed"):
        env.call(specs["add"], {"a": 1})


def test_a_server_that_dies_stops_the_run_which_goes_on_from_there(tmp_path, server_file, past, past_json):
    """What was answered before is kept, and asked of nobody a second time."""
    configuration(tmp_path / "mcp.json", clock={"command": sys.executable, "args": [str(server_file)]})
    first = {"match": r"two\?", "reply": ' Add.\nAction: add\nAction Input: {"a": 40}'}
    dies = {"match": r'"a": 40}\s+Observation', "reply": " On.\nAction: die\nAction Input: {}"}
    done = {
        "match": r"Input: {}\s+Observation",
        "reply": ' Done.\nAction: Finish\nAction Input: {"final_answer": "42"}',
    }
    (tmp_path / "model.json").write_text(json.dumps([done, dies, first]))
    ask = (
        "agent",
        "--tools",
        "mcp.json",
        "--query",
        "What is 40 and two?",
        "--backend",
        "echo",
        "--model",
        "model.json",
    )
    failed = past(*ask, code=1)
    assert "clock could not answer a call of die" in failed.stderr and "--resume" in failed.stderr
    [begun] = (tmp_path / "runs" / ".partial").glob("*/transcript.jsonl")
    kept = begun.read_text().splitlines()
    assert [json.loads(line)["event"] for line in kept] == ["run", "episode", "step"]
    server_file.write_text(server_file.read_text().replace("os._exit(3)", 'return "alive"'))
    ended = past_json(*ask, "--resume")
    whole = (tmp_path / "runs" / ended["run"] / "transcript.jsonl").read_text().splitlines()
    assert whole[: len(kept)] == kept and '"alive"' in "".join(whole)


def test_a_live_server_over_http_called_from_many_threads(tmp_path, server_file, opened):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(server_file), str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        path = configuration(
            tmp_path / "mcp.json", web={"url": f"http://127.0.0.1:{port}/mcp", "headers": {"x-key": "1"}}
        )
        specs, env = opened(path)
        found = {}
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: env.call(specs["add"], {"a": n}).response}))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == {n: {"result": n + 2} for n in range(8)}
    finally:
        process.kill()
        process.wait()


def test_servers_that_cannot_be_used_say_why(tmp_path, server_file):
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('no licence')")
    for server, words in [
        ({"command": "no-such-command-here"}, "no-such-command-here"),
        ({"command": sys.executable, "args": [str(broken)]}, "cannot be used"),
        ({"command": "x", "env": {"A": "${NOT_SET_ANYWHERE}"}}, "NOT_SET_ANYWHERE"),
    ]:
        with pytest.raises(PastError, match=words) as caught:
            read_tools(configuration(tmp_path / "mcp.json", it=server))
    assert caught.value.hint


def test_two_servers_with_tools_of_one_name(tmp_path, server_file):
    one = {"command": sys.executable, "args": [str(server_file)]}
    names = [spec.name for spec in read_tools(configuration(tmp_path / "mcp.json", a=one, b=one)).specs]
    assert "a_add" in names and "b_add" in names and len(names) == len(set(names)) == 12


# ---------------------------------------------------------------- the simulator by a model

ORDER = ToolSpec(
    "get_order",
    "Shop",
    "Orders",
    "Get Order",
    "One order.",
    schema=object_schema(Parameter("order_id", required=True, description="such as FT-1")),
    response_template={"total": "float"},
)
TASKS = [Task("1", "Where is FT-1?", (ORDER,))]


class Says:
    """A chat model with its lines ready; it remembers what it was asked."""

    name = "says"

    def __init__(self, *lines):
        self.lines, self.asked = list(lines), []

    def chat(self, messages, sampling):
        self.asked.append((messages, sampling))
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return Completion(line)

    def close(self):
        pass


@pytest.fixture
def simulator(tmp_path, monkeypatch):
    monkeypatch.setenv("PAST_HOME", str(tmp_path / "home"))
    return lambda *lines, identity="m": llm.LlmSimulator(Says(*lines), identity, Checked([ORDER], TASKS))


GOOD = json.dumps({"error": "", "response": {"total": 12.5}})


def test_the_model_gets_the_whole_documentation_and_its_answers_are_kept(simulator):
    first = simulator(GOOD)
    assert first.call(ORDER, {"order_id": "FT-1"}) == Observation("", {"total": 12.5})
    asked = first._chat.asked[0][0][1].content
    assert all(
        words in asked for words in ("One order.", "such as FT-1", '"total": "float"', '"order_id": "FT-1"', "required")
    )
    assert first.call(ORDER, {"order_id": "FT-1"}).response == {"total": 12.5} and len(first._chat.asked) == 1
    assert simulator().call(ORDER, {"order_id": "FT-1"}).response == {
        "total": 12.5
    }  # another process would find it on disk
    with pytest.raises(IndexError):
        simulator(identity="other").call(ORDER, {"order_id": "FT-1"})  # another model has said nothing yet


def test_what_code_can_decide_is_not_left_to_the_model(simulator):
    silent = simulator()
    for arguments in ({}, {"order_id": 3}, {"order_id": "x"}, {"order_id": "FT-1", "z": 1}, "x"):
        assert silent.call(ORDER, arguments).error
    assert silent._chat.asked == []


@pytest.mark.parametrize(
    "bad",
    [
        "no JSON",
        "[1]",
        "{}",
        '{"error": ""}',
        '{"error": 1, "response": 2}',
        '{"error": "", "response": ""}',
        '{"error": "", "response": NaN}',
        '{"error": "", "response": 1, "more": 2}',
        "[" * 100_000,
        PastError("the server is down"),
    ],
)
def test_bad_answers_are_asked_again_and_failures_never_kept(simulator, bad):
    asked_again = simulator(bad, f"<think>{{}}, or</think>\n```json\n{GOOD}\n```")
    assert asked_again.call(ORDER, {"order_id": "FT-1"}).response == {"total": 12.5}
    assert [one[1].temperature for one in asked_again._chat.asked] == [0.0, llm.TEMPERATURE]
    failing = simulator(bad, bad, bad, GOOD, identity="failing")
    assert failing.call(ORDER, {"order_id": "FT-1"}).error.startswith("the simulator gave no answer")
    assert failing.call(ORDER, {"order_id": "FT-1"}).error == ""
    refusing = simulator(json.dumps({"error": "no stock", "response": "x"}), GOOD, identity="refusing")
    assert refusing.call(ORDER, {"order_id": "FT-1"}) == Observation("no stock", "")
    assert refusing.call(ORDER, {"order_id": "FT-1"}).error == ""
    assert len(list((cache.home() / "llm_simulator").iterdir())) == 3


def test_calls_that_are_equal_at_the_same_moment_get_one_answer(simulator):
    """Eight such calls of a server that takes them at once were eight questions, and eight different answers."""

    class Slow:
        concurrent, name, asked = True, "slow", 0

        def chat(self, messages, sampling):
            self.asked += 1
            said = self.asked
            time.sleep(0.05)
            return Completion(json.dumps({"error": "", "response": {"total": said}}))

    chat = Slow()
    env = llm.LlmSimulator(chat, "slow", Checked([ORDER], TASKS))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: env.call(ORDER, {"order_id": "FT-1"}).response, range(8)))
    assert answers == [{"total": 1}] * 8 and chat.asked == 1 and not env._turns


def test_the_environment_of_a_model_is_opened_by_name(tmp_path):
    tools = tmp_path / "t.json"
    tools.write_text(json.dumps([{"name": "f", "description": "", "parameters": {}}]))
    found = load_tools(tools, ["q"])
    with pytest.raises(UsageError, match="needs a model"):
        open_environment(found, tools, "llm")
    script = tmp_path / "script.json"
    script.write_text(json.dumps([GOOD]))
    env = open_environment(found, tools, "llm", model=str(script), backend="echo")
    assert env.call(found.specs[0], {}).response == {"total": 12.5}
    env.close()


def test_a_strangers_environment_brings_its_own_tools(tmp_path, monkeypatch):
    class Desk:
        NAME = "desk"

        def claims(self, path):
            return path.suffix == ".desk"

        def tools(self, path, warnings):
            return [ToolSpec("bell", "desk", "", "bell")]

        def open(self, path, tools, tasks, **options):
            return self

        def call(self, spec, arguments):
            return Observation("", "ding")

        def close(self):
            pass

    real, real_load = registry.names, registry.load
    plugins = [
        EntryPoint("past.environments", "desk", "x:y", "stranger"),
        EntryPoint("past.environments", "broken", "no_such_module_at_all", "stranger"),
    ]
    monkeypatch.setattr(
        registry, "names", lambda role: [*plugins, *real(role)] if role == "environment" else real(role)
    )
    monkeypatch.setattr(registry, "load", lambda role, name: Desk() if name == "desk" else real_load(role, name))
    (tmp_path / "a.desk").write_text("x")
    found = read_tools(tmp_path / "a.desk")
    assert (found.format, found.environment) == ("desk", "desk")
    assert open_environment(found, tmp_path / "a.desk").call(found.specs[0], {}).response == "ding"
    # the tools of a file can be answered by any environment that is named
    other = tmp_path / "t.json"
    other.write_text(json.dumps([{"name": "f", "description": "", "parameters": {}}]))
    assert open_environment(read_tools(other), other, "desk").call(None, {}).response == "ding"
