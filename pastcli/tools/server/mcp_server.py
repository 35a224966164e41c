"""The same tools as an MCP server on stdin and stdout, for any MCP client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...api import ToolEnv, ToolSpec
from ...errors import PastError
from .directory import Directory
from .protocol import Call, answer

PAGE = 200
"""Tools in one answer of tools/list; the client asks for the next ones by the cursor."""


def serve_stdio(specs: Sequence[ToolSpec], env: ToolEnv) -> None:
    """Speak MCP until the client closes stdin. What tools print goes to stderr meanwhile: the library sees to that."""
    try:
        import anyio
        from mcp.server.stdio import stdio_server
    except ModuleNotFoundError as error:
        raise PastError(f"--mcp needs the module {error.name}", "pip install 'pastcli[mcp]'") from error
    server = build(specs, env)

    async def run() -> None:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(run)


def build(specs: Sequence[ToolSpec], env: ToolEnv) -> Any:
    """The `mcp` library's server over these tools; calls run in threads."""
    import mcp_types as types
    from anyio.to_thread import run_sync
    from mcp.server.lowlevel import Server

    from ... import __version__

    directory = Directory(specs)

    async def list_tools(context: Any, params: Any) -> Any:
        start = _cursor(params.cursor if params else None)
        page = directory.specs[start : start + PAGE]
        following = str(start + PAGE) if start + PAGE < len(directory.specs) else None
        listed = [types.Tool(name=s.name, description=s.description, input_schema=dict(s.schema)) for s in page]
        return types.ListToolsResult(tools=listed, next_cursor=following)

    async def call_tool(context: Any, params: Any) -> Any:
        spec = directory.shown(params.name)
        if spec is None:
            return _result(types, {"error": f"unknown tool {params.name[:80]!r}", "response": ""})
        said = await run_sync(answer, env, Call(spec, params.arguments if params.arguments is not None else {}))
        return _result(types, said)

    return Server("past", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def _result(types: Any, said: dict[str, Any]) -> Any:
    """An answer as MCP has it: the response as JSON text, an error as text with `isError`."""
    error, response = said["error"], said["response"]
    text = error or (response if isinstance(response, str) else json.dumps(response, ensure_ascii=False))
    content = [types.TextContent(type="text", text=text.encode("utf-8", "replace").decode("utf-8"))]
    return types.CallToolResult(content=content, is_error=bool(error))


def _cursor(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0
