"""Live MCP servers as tools: `--tools mcp.json`, the `mcpServers` file that other clients use.

    {"mcpServers": {"time": {"command": "mcp-server-time", "args": [], "env": {}}, "far": {"url": "https://…/mcp", "headers": {}}}}

A command is started and spoken to over its stdin and stdout; a `url` over HTTP, or over SSE with `"type": "sse"`. `${NAME}`
in a value stands for the environment variable. The tools' own schemas decide whether a call is valid before it is sent.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...api import Observation, Task, ToolSpec, ToolWarnings
from ...errors import UsageError
from ..formats.mcp_list import CATEGORY, tool_spec
from ..validate import check

NAME = "MCP servers"

_KEYS = ("mcpServers", "servers")
_REST = 4_096
"""Characters of an error from a server that are passed on."""


def claims(path: Path) -> bool:
    """True for a JSON file that lists servers to start or to call."""
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > 1_000_000:
        return False
    try:
        return bool(_servers(json.loads(path.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, RecursionError):
        return False


def tools(path: Path, warnings: ToolWarnings) -> list[ToolSpec]:
    """What the servers list, each server's tools under its name; two of one name are told apart by their servers'."""
    from .mcp_sessions import Sessions

    specs: list[ToolSpec] = []
    with Sessions(_configuration(path)) as sessions:
        for server in sessions.names:
            for tool in sessions.list_tools(server):
                specs.append(replace(tool_spec(tool, warnings), category=CATEGORY, tool=server))
            inbox = sessions.inbox(server)
            for text in inbox.left_out:
                warnings.add("T15", f"server {server}: {text}")
            if inbox.unreadable:
                warnings.add("T16", f"server {server}: {inbox.unreadable}")
    names = [name for _, name in {(spec.key, spec.name) for spec in specs}]
    return [
        spec if names.count(spec.name) == 1 else replace(spec, name=f"{spec.tool}_{spec.name}"[-64:]) for spec in specs
    ]


def open(path: Path, tools: Sequence[ToolSpec], tasks: Sequence[Task], timeout: float = 60.0, **_: Any) -> McpEnv:
    """Servers are started when a tool of theirs is first called; `timeout` is that of one call, in seconds."""
    return McpEnv(path, timeout)


class McpEnv:
    """A `ToolEnv` over live servers. A server that is gone stops the run (`PastError`): that is not the model's doing."""

    name = "mcp"
    deterministic = False

    def __init__(self, path: Path, timeout: float = 60.0):
        from .mcp_sessions import Sessions

        self._sessions = Sessions(_configuration(path))
        self._timeout = timeout

    def call(self, spec: ToolSpec, arguments: Any) -> Observation:
        if spec.tool not in self._sessions.names:
            return Observation(f"unknown API {spec.tool} / {spec.api}", "")
        error, given = check(spec, arguments)
        if error:
            return Observation(error, "")
        return observation(self._sessions.call_tool(spec.tool, spec.api, given, self._timeout))

    def close(self) -> None:
        """Stop the servers that were started."""
        self._sessions.close()


def observation(result: Mapping[str, Any]) -> Observation:
    """What a tool said (the protocol's CallToolResult): its structured content, else its text, read as JSON if it is JSON."""
    said = [_block(block) for block in result.get("content") or []]
    if result.get("isError"):
        text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in said)
        return Observation(text[:_REST] or "the tool failed without a word", "")
    if result.get("structuredContent") is not None:
        return Observation("", result["structuredContent"])
    read = [_read(one) for one in said]
    return Observation("", read[0] if len(read) == 1 else read)


def _block(block: Mapping[str, Any]) -> Any:
    """A block of content: a text as it is, anything else by what it is and how long."""
    if block.get("type") == "text":
        return block.get("text", "")
    if block.get("type") == "resource" and "text" in block.get("resource", {}):
        return block["resource"]["text"]
    shown = {key: value for key, value in block.items() if key in ("type", "uri", "name", "mimeType", "description")}
    return shown | ({"characters": len(block["data"])} if isinstance(block.get("data"), str) else {})


def _read(said: Any) -> Any:
    if isinstance(said, str) and said.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(said, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return said
    return said


def _servers(content: Any) -> dict[str, Any]:
    """The servers of a configuration; {} if it is none."""
    if not isinstance(content, dict):
        return {}
    found: dict[str, Any] = next((content[key] for key in _KEYS if isinstance(content.get(key), dict)), {})
    entries = [value for value in found.values() if isinstance(value, dict)]
    return found if entries and all("command" in value or "url" in value for value in entries) else {}


def _configuration(path: Path) -> dict[str, dict[str, Any]]:
    """The servers that are not disabled, with variables filled in. Raises `UsageError` for what none of them can be."""
    servers = _servers(json.loads(path.read_text(encoding="utf-8-sig")))
    wanted = {name: value for name, value in servers.items() if isinstance(value, dict) and not value.get("disabled")}
    if not wanted:
        raise UsageError(f"{path} names no server that is not disabled")
    filled = {name: _filled(value, f"server {name} in {path}") for name, value in wanted.items()}
    for name, value in filled.items():
        for key, (holds, what) in _FIELDS.items():
            if value.get(key) is not None and not holds(value[key]):
                raise UsageError(f"server {name} in {path}: {key} must be {what}, not {json.dumps(value[key])[:60]}")
    return filled


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_named_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_FIELDS = {
    "command": (_is_text, "a text: the program, and its words in args"),
    "args": (_are_texts, "a list of texts"),
    "env": (_are_named_texts, "an object of texts"),
    "cwd": (_is_text, "a folder"),
    "url": (_is_address, "an http or https address"),
    "headers": (_are_named_texts, "an object of texts"),
}


def _filled(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        name, _, otherwise = found[1].removeprefix("env:").partition(":-")
        if name not in os.environ and not otherwise:
            raise UsageError(f"{where} needs the environment variable {name}", f"export {name}=…")
        return os.environ.get(name, otherwise)

    return re.sub(r"\$\{([^}]+)\}", variable, value)
