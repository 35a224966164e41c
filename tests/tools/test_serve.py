"""`past serve` as a process: StableToolBench's protocol, hostile clients, a graceful end, MCP, the page, the toolenv."""

import asyncio
import concurrent.futures
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from pastcli.tools.load import open_environment, read_tools
from pastcli.tools.server.directory import Directory, spelled_category

ORDER = {
    "category_name": "Video, Images",
    "tool_name": "Shop & Co. (v2)",
    "api_name": "From",
    "api_description": "One order.",
    "method": "GET",
    "required_parameters": [{"name": "orderId", "type": "STRING", "description": "such as FT-2088", "default": ""}],
    "optional_parameters": [{"name": "tags", "type": "ARRAY", "description": "", "default": ""}],
    "template_response": {"orderId": "str", "total": "float", "items": [{"name": "str", "_list_length": 2}]},
}
OTHERS = [
    {
        **ORDER,
        "api_name": "2. List Orders!",
        "required_parameters": [],
        "optional_parameters": ORDER["required_parameters"],
    },
    {**ORDER, "tool_name": "查询 Tool", "api_name": "Größe", "category_name": "Data"},
    {**ORDER, "tool_name": "a^b", "api_name": "c^d", "category_name": "eCommerce"},
]
QUERIES = [{"query": "Where is FT-2088?", "query_id": 1, "api_list": [ORDER, *OTHERS], "relevant APIs": []}]

SLOW = '''
import time
from pathlib import Path
def nap(until: str) -> str:
    """Sleep."""
    with open("napping", "a") as naps:
        naps.write("x")
    while not Path(until).exists():
        time.sleep(0.02)
    return "slept"
def boom() -> str:
    """Fail."""
    raise ValueError("no")
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    (folder / "tools.json").write_text(json.dumps(QUERIES))
    (folder / "slow.py").write_text(SLOW)
    return folder


class Server:
    def __init__(self, folder, *words):
        command = [sys.executable, "-m", "pastcli", "serve", "--port", "0", "--json", *map(str, words)]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        text = ""
        while not text.rstrip().endswith("\n}"):
            line = self.process.stdout.readline()
            assert line, self.process.stderr.read()
            text += line
        self.url = json.loads(text)["url"]
        self.port = int(self.url.rpartition(":")[2])

    def get(self, path, **headers):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as answer:
            return answer.status, answer.read(), answer.headers

    def post(self, body, path="/virtual", **headers):
        """(status, answer) of one request; `body` as bytes goes out as it is."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as answer:
            return answer.code, json.loads(answer.read() or b"null")

    def raw(self, data, wait=20):
        """What comes back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(data)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except TimeoutError:
                pass
            return b"".join(parts)


@pytest.fixture(scope="module")
def server(files):
    one = Server(files, "--tools", "tools.json", "--max-body", "100000", "--body-seconds", "1")
    yield one
    one.process.terminate()
    assert one.process.wait(20) == 0 and one.process.stdout.read() == ""


def theirs(text):
    """`standardize` of StableToolBench's client, in our words: it keeps `^` and has its own CJK range."""
    text = re.sub(r"[^\u4e00-\u9fa5^a-zA-Z0-9_]", "_", text)
    text = re.sub(r"_+", "_", text).lower().strip("_")
    return f"get_{text}" if text[:1].isdigit() else text


def changed(name):
    return f"is_{name}" if name in ("from", "class", "return", "false", "true", "id", "and") else name


def body(row=ORDER, tool_input='{"orderId": "FT-2088"}', **changes):
    return {
        "category": row["category_name"],
        "tool_name": theirs(row["tool_name"]),
        "api_name": changed(theirs(row["api_name"])),
        "tool_input": tool_input,
        "strip": "truncate",
        "toolbench_key": "key",
        **changes,
    }


# ---------------------------------------------------------------- the protocol


@pytest.mark.parametrize("row", [ORDER, *OTHERS], ids=lambda row: row["api_name"])
@pytest.mark.parametrize("path", ["/virtual", "/rapidapi"])
def test_every_api_answers_as_the_client_spells_it(server, row, path):
    status, said = server.post(body(row), path)
    assert (
        status == 200
        and set(said) == {"error", "response"}
        and said["error"] == ""
        and said["response"]["orderId"] == "FT-2088"
    )
    exact = body(row, category=row["category_name"], tool_name=row["tool_name"], api_name=row["api_name"])
    assert server.post(exact)[1] == said
    whole = f"{exact['api_name']}_for_{exact['tool_name']}"
    assert server.post({**exact, "api_name": whole, "category": spelled_category(row["category_name"])})[1] == said


@pytest.mark.parametrize(
    ("tool_input", "error"),
    [
        ('{"orderId": "FT-2088"}', ""),
        ({"orderId": "FT-2088"}, ""),
        ('{"order_id": 1}', 'unknown parameter "order_id"; missing required parameter "orderid"'),
        ("", 'missing required parameter "orderid"'),
        ("{}", 'missing required parameter "orderid"'),
        (" ", "Tool input parse error...\n"),
        ("{bad", "Tool input parse error...\n"),
        ("orderId=FT-2088", "Tool input parse error...\n"),
        ('{"orderId": NaN}', "Tool input parse error...\n"),
        (json.dumps({"orderId": "FT-2088", "tags": "[" * 500}), ""),
        ('{"orderId": "a", "orderId": "b"}', "Tool input parse error...\n"),
        ("[" * 100_00, "Tool input parse error...\n"),
        ('{"a":' * 200 + "1" + "}" * 200, "Tool input parse error...\n"),
        ('"FT-2088"', "the input must be a JSON object, not a string"),
        ("[1]", "the input must be a JSON object, not an array"),
        (None, "the input must be a JSON object, not null"),
        (7, "the input must be a JSON object, not an integer"),
        ({"orderId": "x"}, 'no order with orderid "x" was found'),
        ({"orderId": "FT-2088", "tags": "a,b"}, ""),
        ({"orderId": "FT-2088", "tags": ["a"]}, ""),
        ({"orderId": "FT-2088", "tags": 3}, 'parameter "tags" must be an array or a string, not an integer'),
    ],
)
def test_the_models_text_is_read_as_the_original_server_reads_it(server, tool_input, error):
    status, said = server.post(body(tool_input=tool_input))
    assert (status, said["error"], set(said)) == (200, error, {"error", "response"})
    assert (said["response"] == "") == bool(error)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"category": 1}',
        b'{"category": "a", "tool_name": "b"}',
        b"[" * 90_000,
        b"x" * 99_999,
        b'{"a": "\\ud800"}',
        b"1" * 5000,
        json.dumps(body(api_name="nobody")).encode(),
        json.dumps(body(category="No")).encode(),
        json.dumps(body(tool_name="../../etc")).encode(),
    ],
)
def test_anything_else_gets_two_keys_and_status_200(server, sent):
    status, said = server.post(sent)
    assert status == 200 and set(said) == {"error", "response"} and said["error"] and said["response"] == ""


def test_extra_and_missing_fields_change_nothing(server):
    plain = server.post(body())[1]
    less = {key: value for key, value in body().items() if key not in ("strip", "toolbench_key")}
    assert server.post(less)[1] == server.post({**body(), "strip": None, "rapidapi_key": 1, "more": {}})[1] == plain


def test_served_and_in_process_answers_are_equal(server, files):
    found = read_tools(files / "tools.json")
    env, directory = open_environment(found, files / "tools.json"), Directory(found.specs)
    for row in [ORDER, *OTHERS]:
        for given in (
            {"orderId": "FT-2088"},
            {"orderid": "FT-2088", "tags": ["\ud800", "é"]},
            {},
            {"orderId": 3},
            {"z": 1},
        ):
            spec = directory.find(row["category_name"], row["tool_name"], row["api_name"])
            assert server.post(body(row, tool_input=json.dumps(given)))[1] == env.call(spec, given).to_dict()


# ---------------------------------------------------------------- hostile clients


def test_a_huge_request_is_refused_before_it_is_read(server):
    head = b"POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000000\r\n\r\n"
    answer = server.raw(head + b"x" * 200_000)
    assert answer.startswith(b"HTTP/1.1 200") and b"longer than 100000 bytes" in answer


def test_a_slow_request_is_answered_and_let_go(server):
    start = time.perf_counter()
    answer = server.raw(b'POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"a"')
    assert b"longer than 1 seconds" in answer and time.perf_counter() - start < 8


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"\x00\x01\x02\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, b"431"),
        (b"DELETE /virtual HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"405"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"403"),
        (b"GET /health HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n", b"403"),
        (
            b"GET /tools?limit=-1&offset=99999999999999999999&q=%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            b"200",
        ),
    ],
)
def test_malformed_http_gets_an_answer(server, sent, status):
    assert server.raw(sent, wait=15).split(b" ", 2)[1] == status
    assert server.post(body())[1]["error"] == ""


def test_a_head_that_never_ends_is_answered_and_closed(server):
    start = time.perf_counter()
    assert server.raw(b"POST /virtual HTTP/1.1\r\nHost: local", wait=30).startswith(b"HTTP/1.1 408")
    assert 5 < time.perf_counter() - start < 25


def test_a_page_of_another_site_cannot_call_tools(server):
    assert server.post(body(), Origin="https://evil.example")[0] == 403
    assert server.post(body(), Origin="null")[0] == 403
    assert server.post(body(), Host="evil.example")[0] == 403
    assert server.post(body(), Origin=server.url)[0] == 200
    assert server.post(body(), Host=f"0.0.0.0:{server.port}")[0] == 200


def test_a_server_open_to_the_network_says_so_and_still_refuses_other_sites(files):
    server = Server(files, "--tools", "tools.json", "--host", "0.0.0.0")
    assert server.post(body(), Host="some.name")[0] == 200
    assert server.post(body(), Host="some.name", Origin="https://evil.example")[0] == 403
    server.process.terminate()
    assert server.process.wait(20) == 0 and "everybody who can reach" in server.process.stderr.read()


def test_two_hundred_connections_lose_nothing(server):
    request = json.dumps(body()).encode()
    head = f"POST /virtual HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(request)}\r\n\r\n".encode()

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        good = 0
        for _ in range(5):
            writer.write(head + request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", answer)[1])
            good += json.loads(await reader.readexactly(length))["error"] == ""
        writer.close()
        return good

    async def everybody():
        return sum(await asyncio.gather(*(one() for _ in range(200))))

    assert asyncio.run(everybody()) == 1000


# ---------------------------------------------------------------- its life


def test_calls_under_way_are_answered_when_the_server_is_stopped(files):
    server = Server(files, "--tools", "slow.py")
    call = {"category": "functions", "tool_name": "slow", "api_name": "nap", "tool_input": '{"until": "morning"}'}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(server.post, call) for _ in range(6)]
        end = time.monotonic() + 60
        while not (files / "napping").exists() or len((files / "napping").read_text()) < 6:
            assert time.monotonic() < end, "not all calls came"
            time.sleep(0.02)
        health = server.get("/health")[0]  # a slow tool holds nobody up
        server.process.send_signal(signal.SIGINT)
        (files / "morning").touch()
        assert [one.result(30) for one in waiting] == [(200, {"error": "", "response": "slept"})] * 6 and health == 200
    assert server.process.wait(20) == 0
    with pytest.raises(OSError):
        server.post(call)


def test_a_tool_that_fails_is_an_answer(files):
    server = Server(files, "--tools", "slow.py")
    call = {"category": "functions", "tool_name": "slow", "api_name": "boom", "tool_input": ""}
    assert server.post(call) == (200, {"error": "ValueError: no", "response": ""})
    server.process.terminate()
    assert server.process.wait(20) == 0


def test_an_address_that_is_taken_and_sources_that_are_none(server, past, files):
    assert "--port 0" in past("serve", "--tools", files / "tools.json", "--port", server.port, code=2).stderr
    assert "--tools" in past("serve", code=2).stderr
    assert "no tools file" in past("serve", "--tools", "gone.json", code=2).stderr
    assert "llm" in past("serve", "--tools", files / "tools.json", "--environment", "llm", "--port", 0, code=2).stderr
    assert "mcp" in past("serve", "--tools", files / "tools.json", "--environment", "mpc", "--port", 0, code=2).stderr


def test_dry_run_starts_nothing(past_json, files):
    plan = past_json("serve", "--tools", files / "tools.json", "--dry-run")
    assert (plan["tools"], plan["environment"], plan["format"]) == (4, "simulator", "ToolBench queries")


# ---------------------------------------------------------------- the page, the list, the tree, MCP


def test_the_page_is_one_file_and_lists_come_in_parts(server):
    status, page, headers = server.get("/")
    text = page.decode()
    assert status == 200 and "default-src 'none'" in headers["content-security-policy"]
    assert not re.search(r"https?://|src=|@import|innerHTML|insertAdjacent|document\.write", text)
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    listed = json.loads(server.get("/tools?limit=2&offset=1&q=orderid")[1] or b"{}")
    assert listed == {"total": 0, "tools": []}
    listed = json.loads(server.get("/tools?limit=2&offset=1&q=SHOP")[1])
    assert listed["total"] == 2 and [tool["api"] for tool in listed["tools"]] == ["2. List Orders!"]
    assert json.loads(server.get("/health")[1])["tools"] == 4


def test_the_tree_of_documentation_is_what_the_client_opens(past_json, past, workspace, files):
    made = past_json("serve", "--tools", files / "tools.json", "--write-toolenv", "tools")
    assert made["files"] == 3
    for row in [ORDER, *OTHERS]:
        tool = json.loads((workspace / "tools" / row["category_name"] / f"{theirs(row['tool_name'])}.json").read_text())
        api = next(api for api in tool["api_list"] if changed(theirs(api["name"])) == changed(theirs(row["api_name"])))
        assert isinstance(tool["tool_description"], str) and isinstance(api["description"], str)
        assert all(
            {"name", "type", "description", "default"} <= p.keys()
            for p in api["required_parameters"] + api["optional_parameters"]
        )
    again = {spec.key: spec for spec in read_tools(workspace / "tools").specs}
    for spec in read_tools(files / "tools.json").specs:
        assert (again[spec.key].schema, again[spec.key].aliases, again[spec.key].response_template) == (
            spec.schema,
            spec.aliases,
            spec.response_template,
        )
    assert "exists" in past("serve", "--tools", files / "tools.json", "--write-toolenv", "tools", code=2).stderr
    past("serve", "--tools", files / "tools.json", "--write-toolenv", "tools", "--force")
    (workspace / "tools" / "mine.txt").write_text("keep")
    past("serve", "--tools", files / "tools.json", "--write-toolenv", "tools", "--force", code=2)
    assert (workspace / "tools" / "mine.txt").read_text() == "keep"


def test_a_tree_is_written_whatever_the_tools_are_called_and_replaces_no_other_folder(past_json, past, workspace):
    names = [("x" * 300, "ä" * 300), ("博物馆" * 90, "门" * 200), ("../../evil", "../b"), ("..", "."), ("", "")]
    rows = [{**ORDER, "category_name": category, "tool_name": tool} for category, tool in names]
    (workspace / "odd.json").write_text(json.dumps([{"query": "q", "query_id": 1, "api_list": rows}]))
    made = past_json("serve", "--tools", "odd.json", "--write-toolenv", "tree/here")
    written = [path for path in (workspace / "tree").rglob("*") if path.is_file()]
    assert made["files"] == len(written) >= 4 and all(path.parent.parent.name == "here" for path in written)
    for folder in ("/", "/proc", "."):  # none of them is looked through: one file that is no such tree is enough
        said = past("serve", "--tools", "odd.json", "--write-toolenv", folder, "--force", code=2).stderr
        assert "exists" in said and "new folder" in said


def test_the_same_tools_over_mcp(files):
    from mcp import Client, StdioServerParameters

    found = read_tools(files / "tools.json")
    env = open_environment(found, files / "tools.json")
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "pastcli", "serve", "--tools", str(files / "tools.json"), "--mcp"]
    )

    async def talk():
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            good = await client.call_tool(found.specs[0].name, {"orderid": "FT-2088"})
            bad = await client.call_tool(found.specs[0].name, {"orderid": "x"})
            gone = await client.call_tool("nobody", {})
            return tools, good, bad, gone

    tools, good, bad, gone = asyncio.run(talk())
    assert [(tool.name, tool.input_schema) for tool in tools] == [(spec.name, spec.schema) for spec in found.specs]
    assert (
        json.loads(good.content[0].text) == env.call(found.specs[0], {"orderId": "FT-2088"}).response
        and not good.is_error
    )
    assert bad.is_error and "was found" in bad.content[0].text and gone.is_error


def test_what_a_tool_prints_does_not_come_between_mcp_messages(files, tmp_path):
    from mcp import Client, StdioServerParameters

    (tmp_path / "loud.py").write_text(
        'import sys\nprint("at import")\nsys.stdout.write("raw")\ndef loud() -> str:\n    """Loud."""\n    print("noise")\n    sys.stdout.write("more noise")\n    return "ok"\n'
    )
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "pastcli", "serve", "--tools", str(tmp_path / "loud.py"), "--mcp"]
    )

    async def talk():
        async with Client(server) as client:
            return await client.call_tool("loud", {})

    assert asyncio.run(talk()).content[0].text == "ok"


READY = """
import gc, os, signal, sys
from pathlib import Path
from pastcli.tools.load import load_tools, open_environment
from pastcli.tools.server.directory import Directory
from pastcli.tools.server.run import listen, serve

def started(url):
    print(gc.get_freeze_count() > 1000, "jsonschema.validators" in sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

path = Path(sys.argv[1])
tools = load_tools(path)
serve(Directory(tools.specs), open_environment(tools, path), listen("127.0.0.1", 0), "127.0.0.1", started)
"""


def test_nothing_is_left_for_the_first_request_to_wait_for(files):
    """The modules of the validator are there, and what was loaded is not looked through for garbage between requests."""
    ran = subprocess.run([sys.executable, "-c", READY, str(files / "tools.json")], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "True True\n"), ran.stderr
