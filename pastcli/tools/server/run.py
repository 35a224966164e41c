"""A server's life: a socket on this machine only unless told otherwise, requests, and an end that loses none."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from ...api import ToolEnv
from ...errors import PastError, UsageError
from ..validate import validator
from .directory import Directory

STOP_SECONDS = 10
"""What a request under way is given to end once the server is told to stop."""

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0"))
"""What a client on this machine may call it; 0.0.0.0 is how StableToolBench's own instructions write it."""


def is_local(host: str) -> bool:
    """True if only this machine can reach the address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises `UsageError` if the address is taken or not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(2048)
        return bound
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", "--port 0 takes a free port"
        ) from error


def serve(
    directory: Directory, env: ToolEnv, bound: socket.socket, host: str, started: Callable[[str], None], **limits: Any
) -> None:
    """Answer requests until SIGINT or SIGTERM; then finish those under way. `started` is told the address."""
    try:
        import uvicorn

        from .app import Limits, application
        from .http import BoundedProtocol
    except ModuleNotFoundError as error:
        raise PastError(f"past serve needs the module {error.name}", "pip install 'pastcli[serve]'") from error
    address = bound.getsockname()
    url = f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"
    hosts = _LOCAL | {host} if is_local(host) else None
    app = application(directory, env, Limits(**limits), hosts)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )

    class Server(uvicorn.Server):
        """To stop a server is how it ends, not a failure: the signal is not raised again."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
            started(url)
            try:
                yield
            finally:
                for one, handler in before.items():
                    signal.signal(one, handler)

    make_ready()
    Server(config).run(sockets=[bound])


def make_ready() -> None:
    """What would hold up some request once is done before the first: the validator's modules are read (50 ms), and what is
    loaded by now, which stays, is no more looked through for garbage (80 ms with 10,000 APIs)."""
    validator({})
    gc.collect()
    gc.freeze()
