"""What a live MCP server says, on its way to the `mcp` library.

The library refuses a whole list of tools for one entry that is none, and drops without a word what is no message at all (a
program that prints to stdout). Here the entries are put aside one by one, and what is unreadable is remembered: whoever waits in
vain is told of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

MOST_UNREADABLE = 1_000
"""Messages in a row that are none; then the server is something else, and is not waited for."""

_SHOWN = 80


class Inbox:
    """Remembers what was put aside: `left_out` tools in words, and how much was `unreadable`."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._unreadable = self._in_a_row = 0
        self._first = ""

    @property
    def unreadable(self) -> str:
        """What was written that is no message, in words; "" if nothing."""
        if not self._unreadable:
            return ""
        more = f", and {self._unreadable - 1} more" if self._unreadable > 1 else ""
        return f"what is no message of the protocol: {self._first!r}{more}"

    @asynccontextmanager
    async def on(self, transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        """The transport, read through here."""
        async with transport as (read, write):
            yield _Read(read, self), write

    def take(self, item: Any) -> Any:
        """An item that the transport read: a message, or the error that it was read with."""
        if isinstance(item, Exception):
            self._unreadable += 1
            self._in_a_row += 1
            self._first = self._first or _begins(item)
            if self._in_a_row >= MOST_UNREADABLE:
                raise ConnectionError("it is no MCP server")
            return item
        self._in_a_row = 0
        result = getattr(item.message, "result", None)
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            result["tools"] = [tool for tool in result["tools"] if self._is_tool(tool)]
        return item

    def _is_tool(self, entry: Any) -> bool:
        """Whether the library takes the entry; arguments are always an object, so a schema that forgets to say so is let off."""
        from mcp_types.methods import validate_server_result
        from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
        from pydantic import ValidationError

        if isinstance(entry, dict) and isinstance(entry.get("inputSchema", {}), dict):
            schema = entry.setdefault("inputSchema", {})
            if schema.get("type") is None or (isinstance(schema["type"], list) and "object" in schema["type"]):
                schema["type"] = "object"
        try:
            validate_server_result("tools/list", HANDSHAKE_PROTOCOL_VERSIONS[-1], {"tools": [entry]})
        except ValidationError as error:
            name = entry.get("name") if isinstance(entry, dict) else entry
            self.left_out.append(f"{str(name)[:_SHOWN]!r}: {fault(error).removeprefix('tools.0.')}")
            return False
        if not entry["name"].strip():
            self.left_out.append("a tool without a name")
            return False
        return True


class _Read:
    """A read stream of the library's, whose items pass an inbox."""

    def __init__(self, stream: Any, inbox: Inbox):
        self._stream, self._inbox = stream, inbox

    async def receive(self) -> Any:
        return self._inbox.take(await self._stream.receive())

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> Any:
        return self._inbox.take(await self._stream.__anext__())

    async def __aenter__(self) -> _Read:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def fault(error: Any) -> str:
    """The first thing that the library's validation (pydantic's error) found wrong, and where."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _begins(error: Exception) -> str:
    """How a line that could not be read begins."""
    errors = getattr(error, "errors", None)
    given = errors(include_url=False)[0].get("input", "") if callable(errors) else error
    return " ".join((given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)).split())[:_SHOWN]
