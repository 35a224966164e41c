"""Live MCP servers that do not keep to the protocol: what is wrong is said, and costs no more than it must."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pastcli.errors import PastError
from pastcli.tools.environments import mcp_sessions
from pastcli.tools.load import read_tools

SERVER = """
import json, sys

mode = sys.argv[1]
add = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
odd = [{"name": "forgot", "inputSchema": {"properties": {}}}, {"name": "text", "inputSchema": {"type": "string"}},
       {"name": "list", "inputSchema": {"type": "object", "properties": ["a"]}}, {"name": " ", "inputSchema": {}}, 7, add]
results = {"null": {"content": None}, "text": {"content": "42"}, "hologram": {"content": [{"type": "hologram"}]},
           "promised": {"content": [{"type": "text", "text": "42"}]}}
if mode == "promised":
    add["outputSchema"] = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}

def send(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

if mode == "deaf":
    import os, time
    open("pid", "w").write(str(os.getpid()))
    time.sleep(600)
if mode == "chatty":
    print("Starting server...\\nListening on stdio", flush=True)
if mode == "noise":
    while True:
        print("tick")
for line in sys.stdin:
    asked = json.loads(line)
    number, method = asked.get("id"), asked["method"]
    if number is None:
        continue
    if method == "initialize":
        version = asked["params"]["protocolVersion"]
        send(id=number, result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
    elif method == "tools/list":
        send(id=number, result={"tools": [add, *odd] if mode == "odd" else [add]})
    elif method == "tools/call":
        if mode == "chatty":
            print("INFO handling a call", flush=True)
        send(id=number, result=results.get(mode, {"content": [{"type": "text", "text": "42"}]}))
    else:
        send(id=number, error={"code": -32601, "message": "no such method"})
"""

TURNS = [' A.\nAction: add\nAction Input: {"a": 40}', ' D.\nAction: Finish\nAction Input: {"final_answer": "42"}']


@pytest.fixture
def ask(workspace, past):
    """`past agent` with the tools of a server in this mode, and its figures: or of the configuration given."""
    Path("server.py").write_text(SERVER)
    Path("model.json").write_text(json.dumps(TURNS))

    def run(mode, code=0, **configuration):
        server = configuration or {"command": sys.executable, "args": ["server.py", mode]}
        Path("mcp.json").write_text(json.dumps({"mcpServers": {"it": server}}))
        words = ("agent", "--tools", "mcp.json", "--query", "40 + 2?", "--backend", "echo", "--model", "model.json")
        done = past(*words, "--json", "--force", code=code)
        assert "Traceback" not in done.stderr
        shown = json.loads(done.stdout)
        if code:
            return shown, done.stderr, None
        rows = Path(shown["outputs"]["transcript"]).read_text(encoding="utf-8").splitlines()
        [step] = [row for row in map(json.loads, rows) if row.get("observation")]
        return shown, done.stderr, step["observation"]

    return run


def test_a_server_that_prints_to_its_stdout_is_understood_and_told_of(ask):
    shown, said, observation = ask("chatty")
    assert observation == {"error": "", "response": "42"} and shown["tool_warnings"] == {"T16": 1}
    assert "'Starting server...', and 1 more" in said


def test_a_server_that_says_nothing_else_is_not_waited_for(ask):
    shown, _, _ = ask("noise", code=1)
    assert "'tick', and 999 more" in shown["error"]


def test_one_odd_tool_does_not_cost_the_others(ask):
    shown, said, observation = ask("odd")
    assert observation == {"error": "", "response": "42"}, "the tool has its own name, though it is listed twice"
    assert shown["tool_warnings"]["T15"] == 4 and "'text': inputSchema.type: Input should be 'object'" in said
    warnings = Path(shown["outputs"]["summary"]).with_name("tools_warnings.json").read_text()
    assert "forgot" not in warnings, "arguments are an object, whether the schema says so or not"


@pytest.mark.parametrize("mode, place", [("null", "content"), ("text", "content"), ("hologram", "content.0")])
def test_an_answer_that_is_no_result_is_an_error_of_the_call_and_says_where(ask, mode, place):
    shown, _, observation = ask(mode)
    assert observation["error"].startswith(f"the server's answer is no result of a call: {place}")
    assert observation["response"] == "" and shown["statuses"] == {"finished": 1}


def test_an_answer_that_breaks_the_tools_own_promise_is_an_error_of_the_call(ask):
    _, _, observation = ask("promised")
    assert observation["error"].startswith("the server's answer is not what it documents: ")


@pytest.mark.parametrize(
    "configuration, said",
    [
        ({"command": ["npx", "server"]}, "command must be a text"),
        ({"command": " "}, "command must be a text"),
        ({"command": "x", "args": "-y"}, "args must be a list of texts"),
        ({"command": "x", "args": [1]}, "args must be a list of texts"),
        ({"command": "x", "env": ["A=1"]}, "env must be an object of texts"),
        ({"command": "x", "cwd": 3}, "cwd must be a folder"),
        ({"url": "localhost:80"}, "url must be an http or https address"),
        ({"url": 5}, "url must be an http or https address"),
        ({"url": "http://127.0.0.1:9/mcp", "headers": {"k": 1}}, "headers must be an object of texts"),
    ],
)
def test_a_configuration_that_none_can_be_is_told_before_anything_starts(ask, configuration, said):
    shown, _, _ = ask("", code=2, **configuration)
    assert shown["error"].startswith("server it in ") and said in shown["error"]


def test_a_server_that_never_answers_is_ended_with_the_error(workspace, monkeypatch):
    Path("server.py").write_text(SERVER)
    server = {"command": sys.executable, "args": ["server.py", "deaf"]}
    Path("mcp.json").write_text(json.dumps({"mcpServers": {"it": server}}))
    monkeypatch.setattr(mcp_sessions, "START_SECONDS", 3.0)
    with pytest.raises(PastError, match="did not answer in 3 seconds"):
        read_tools(Path("mcp.json"))
    assert not Path("/proc", Path("pid").read_text()).exists(), "it would sit there for good"
