"""Sessions with MCP servers, for callers that wait: the `mcp` library's asynchronous clients in a thread of their own."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

from ...errors import PastError
from .mcp_inbox import Inbox, fault

START_SECONDS = 60.0
"""A server that a package runner has to fetch first is not quick."""

STOP_SECONDS = 10.0
MOST_PAGES = 100


class Sessions:
    """One session a server, made when it is first needed and kept. Safe to use from several threads."""

    def __init__(self, servers: Mapping[str, Mapping[str, Any]]):
        try:
            import mcp  # noqa: F401
        except ModuleNotFoundError as error:
            raise PastError(f"MCP servers need the module {error.name}", "pip install 'pastcli[mcp]'") from error
        logging.getLogger("mcp").addHandler(
            logging.NullHandler()
        )  # it logs tracebacks of what servers say; `inbox` tells
        self.names = tuple(servers)
        self._servers = servers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def list_tools(self, server: str) -> list[dict[str, Any]]:
        """Every page of a server's tools, as the protocol spells them."""
        return self._wait(self._list(self._session(server)), server, START_SECONDS, "list its tools")

    def call_tool(self, server: str, tool: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The protocol's CallToolResult; what the server refuses is one with `isError`. Raises `PastError` if it is gone."""
        return self._wait(
            self._call(self._session(server), tool, arguments, timeout), server, timeout + 5, f"answer a call of {tool}"
        )

    def inbox(self, server: str) -> Inbox:
        """What became of the messages of a server that was spoken to."""
        return self._kept[server].inbox

    def close(self) -> None:
        """End every session, and the processes that were started."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for kept in self._kept.values():
                self._loop.call_soon_threadsafe(kept.stop.set)
            for kept in self._kept.values():
                kept.ended.wait(
                    STOP_SECONDS
                )  # not its `task`: one that was cancelled is done before its process has ended
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SECONDS)

    def _session(self, server: str) -> _Kept:
        with self._lock:
            if self._closed:
                raise PastError(f"MCP server {server} was closed")
            kept = self._kept.get(server)
            if kept is None or kept.stop.is_set() or kept.task.done():
                kept = self._kept[server] = _Kept(server, self._servers[server], self._loop)
        kept.wait()
        return kept

    def _wait(self, work: Coroutine[Any, Any, Any], server: str, seconds: float, what: str) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except PastError:
            raise
        except TimeoutError as error:
            future.cancel()
            wrote = self._kept[server].inbox.unreadable
            raise PastError(
                f"MCP server {server} did not {what} in {seconds:g} seconds{wrote and f'; it wrote {wrote}'}"
            ) from error
        except Exception as error:
            said = self._kept[server].last_words()  # no hint: the run that this ends has its own, how to go on
            problem = f"{_reason(error)}; {said}" if said else _reason(error)
            raise PastError(f"MCP server {server} could not {what}: {problem}") from error

    async def _list(self, kept: _Kept) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await kept.client.list_tools(cursor=cursor)
            found.extend(tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in page.tools)
            cursor = page.next_cursor
            if not cursor:
                return found
        raise PastError(f"MCP server {kept.server} lists tools without end")

    async def _call(self, kept: _Kept, tool: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        try:
            result = await kept.client.call_tool(tool, arguments, read_timeout_seconds=timeout)
        except MCPError as error:
            if kept.task.done() or error.error.code == CONNECTION_CLOSED:
                kept.stop.set()
                raise
            late = error.error.code == REQUEST_TIMEOUT and kept.inbox.unreadable
            return _failed(f"{error}; the server wrote {late}" if late else str(error))
        except ValidationError as error:
            return _failed(f"the server's answer is no result of a call: {fault(error)}")
        except RuntimeError as error:  # the library's word for an answer that does not keep to the tool's outputSchema
            if kept.task.done():
                raise
            return _failed(f"the server's answer is not what it documents: {_reason(error)}")
        return result.model_dump(by_alias=True, exclude_none=True, mode="json")


class _Kept:
    """A client and the task that holds it open: a session must end in the task that began it."""

    def __init__(self, server: str, configuration: Mapping[str, Any], loop: asyncio.AbstractEventLoop):
        self.server = server
        self.client: Any = None
        self.inbox = Inbox()
        self._failure: BaseException | None = None
        self._configuration = configuration
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (the process writes on)
        self._ready = threading.Event()
        self.ended = threading.Event()
        self.stop = asyncio.Event()
        self.task = asyncio.run_coroutine_threadsafe(self._hold(), loop)

    def wait(self) -> None:
        """Until the session stands; raises `PastError` with the server's own last words if it does not come to that."""
        stands = self._ready.wait(START_SECONDS)
        if self.client is not None:
            return
        problem = _reason(self._failure) if self._failure else "it ended at once"
        if not stands:
            self.task.cancel()
            problem = f"it did not answer in {START_SECONDS:g} seconds"
        if self.inbox.unreadable:
            problem += f"; it wrote {self.inbox.unreadable}"
        raise PastError(f"MCP server {self.server} cannot be used: {problem}", self.last_words())

    def last_words(self) -> str | None:
        """The last line that the server wrote to stderr, if any."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read()[-4_000:].splitlines() if line.strip()]
        return f"its last words: {lines[-1][:300]}" if lines else None

    async def _hold(self) -> None:
        from mcp import Client

        try:
            async with Client(self.inbox.on(_transport(self._configuration, self._errors))) as client:
                self.client = client
                self._ready.set()
                await self.stop.wait()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._ready.set()
            self.ended.set()


def _failed(text: str) -> dict[str, Any]:
    """A CallToolResult of a call that failed."""
    return {"isError": True, "content": [{"type": "text", "text": text}]}


def _transport(configuration: Mapping[str, Any], errors: Any) -> Any:
    """How to reach a server: by its URL, or by starting its command."""
    from mcp import StdioServerParameters, stdio_client

    url, headers = configuration.get("url"), configuration.get("headers") or None
    if url is None:
        known = {
            key: configuration[key] for key in ("command", "args", "env", "cwd") if configuration.get(key) is not None
        }
        return stdio_client(StdioServerParameters(**known), errlog=errors)
    if configuration.get("type", configuration.get("transport")) == "sse":
        from mcp.client.sse import sse_client

        return sse_client(url, headers=headers)
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    return streamable_http_client(url, http_client=create_mcp_http_client(headers=headers))


def _reason(error: BaseException) -> str:
    """The innermost error of a group, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if type(error).__name__ == "ValidationError":
        return f"its answer is not of the protocol: {fault(error)}"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
