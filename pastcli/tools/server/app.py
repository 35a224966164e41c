"""The HTTP application: StableToolBench's two addresses, health, the list of tools, the page.

A simulated answer is computed where the request is read: it takes less than a thread would. Everything that may wait
(a model, a live server, a user's function) is called in a thread, a bounded number at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ...api import ToolEnv, ToolSpec
from .directory import Directory
from .page import PAGE, PAGE_POLICY
from .protocol import BadRequest, answer, encode, read_body, refusal

INLINE = 16_384
"""Bytes of the longest request that is answered on the spot; validating a larger one may hold up the others."""

DISCARDED = 67_108_864
"""Bytes of a request that are read at most, even if only to throw them away."""

LISTED = 100
"""Tools in one answer of /tools, unless another number is asked for."""


@dataclass(frozen=True)
class Limits:
    """What one client may take: bytes of a request's body, seconds to send it, calls that wait at once."""

    body: int = 1_048_576
    seconds: float = 10.0
    waiting: int = 64


def application(
    directory: Directory, env: ToolEnv, limits: Limits, hosts: frozenset[str] | None, **extra: Any
) -> Starlette:
    """The app over these tools. `hosts` are the names a browser may know this server by; None lets any name pass."""
    service = _Service(directory, env, limits)
    routes = [
        Route("/virtual", service.virtual, methods=["POST"]),
        Route("/rapidapi", service.virtual, methods=["POST"]),
        Route("/health", service.health),
        Route("/tools", service.tools),
        Route("/", service.page),
    ]
    app = Starlette(routes=routes, **extra)
    app.add_middleware(SameSite, hosts=hosts)
    return app


class SameSite:
    """Refuses what a page of another site makes a browser send here: the tools may be real, and their user's own."""

    def __init__(self, app: Any, hosts: frozenset[str] | None):
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._is_own(dict(scope["headers"])):
            await _json(refusal("requests of other sites are refused"), 403)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return (self.hosts is None or name in self.hosts) and origin.partition("://")[2] == (host if origin else "")


class _Service:
    """The handlers; nothing in them changes with a request."""

    def __init__(self, directory: Directory, env: ToolEnv, limits: Limits):
        self.directory = directory
        self.env = env
        self.limits = limits
        self.quick = getattr(env, "deterministic", False)
        self.waiting = CapacityLimiter(limits.waiting)

    async def virtual(self, request: Request) -> Response:
        """One call; status 200 and two keys, whatever was sent."""
        try:
            body = await self._body(request)
            if self.quick and len(body) <= INLINE:
                return _json(self._answer(body))
            return _json(await run_sync(self._answer, body, limiter=self.waiting))
        except BadRequest as error:
            return _json(refusal(str(error)), close=True)

    def _answer(self, body: bytes) -> dict[str, Any]:
        try:
            return answer(self.env, read_body(body, self.directory))
        except BadRequest as error:
            return refusal(str(error))

    async def _body(self, request: Request) -> bytes:
        """The request's body, if it comes in time and is not too long.

        Of one that is too long the rest is read and thrown away, within bounds: a connection that is closed with bytes
        still unread is reset, and the client would never see why.
        """
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= self.limits.body:
                        parts.append(part)
                    elif size > DISCARDED:
                        break
        except TimeoutError:
            if size <= self.limits.body:
                seconds = f"{self.limits.seconds:g} seconds"
                raise BadRequest(f"the request took longer than {seconds} to arrive") from None
        except ClientDisconnect:
            raise BadRequest("the client went away") from None
        if size > self.limits.body:
            raise BadRequest(f"the request is longer than {self.limits.body} bytes")
        return b"".join(parts)

    async def health(self, request: Request) -> Response:
        return _json(
            {
                "status": "ok",
                "tools": len(self.directory.specs),
                "environment": getattr(self.env, "name", type(self.env).__name__),
            }
        )

    async def tools(self, request: Request) -> Response:
        """`?q=` words that all must occur, `?offset=` and `?limit=`."""
        words = request.query_params.get("q", "").casefold().split()
        offset = _number(request.query_params.get("offset"), 0)
        limit = _number(request.query_params.get("limit"), LISTED)
        found = [spec for spec in self.directory.specs if all(word in _searched(spec) for word in words)]
        return _json({"total": len(found), "tools": [described(spec) for spec in found[offset : offset + limit]]})

    async def page(self, request: Request) -> Response:
        return Response(PAGE, media_type="text/html; charset=utf-8", headers=PAGE_POLICY)


def described(spec: ToolSpec) -> dict[str, Any]:
    """A tool as /tools gives it."""
    return {
        "name": spec.name,
        "category": spec.category,
        "tool": spec.tool,
        "api": spec.api,
        "method": spec.method,
        "description": spec.description,
        "parameters": spec.schema,
    }


def _searched(spec: ToolSpec) -> str:
    return f"{spec.name} {spec.category} {spec.tool} {spec.api} {spec.description}".casefold()


def _number(text: str | None, otherwise: int) -> int:
    return min(int(text), 10**9) if text and text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def _json(document: Any, status: int = 200, close: bool = False) -> Response:
    """`close`: what is left of a refused request's body is not read, so the connection cannot be used again."""
    headers = {"connection": "close"} if close else {}
    return Response(encode(document), status, headers, media_type="application/json")
