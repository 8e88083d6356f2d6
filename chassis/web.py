"""A service's HTTP port: /healthz says it lives, /readyz whether it takes work."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.connections import IDLE_SECONDS, BoundedConnection, Limits, refusal
from chassis.server import CannotBind

DRAIN_SECONDS = 5  # what open responses get on the way out
LIMITS = Limits()


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: `until_signalled` owns the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Apart:
    def __init__(self, prefix: str, inner: ASGIApp, rest: ASGIApp) -> None:
        self._prefix, self._inner, self._rest = prefix, inner, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._inner if scope["path"].startswith(self._prefix) else self._rest
        await app(scope, receive, send)


@asynccontextmanager
async def serving_http(
    address: str,
    not_ready: Callable[[], str],
    routes: Sequence[BaseRoute] = (),
    limits: Limits = LIMITS,
    apart: tuple[str, ASGIApp] | None = None,
) -> AsyncIterator[int]:
    """HTTP on `address` while open; yields the port. `not_ready` gives why no work is taken, empty when it is. `apart`:
    an application with all paths below a prefix, which does without what routes have around them."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(request: Request) -> Response:
        reason = not_ready()
        return JSONResponse({"ready": not reason, "reason": reason}, status_code=503 if reason else 200)

    app = Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), *routes],
        exception_handlers={404: _no_such_route, 405: _other_method},
    )
    app.router.redirect_slashes = False  # a path that is not served is not guessed at
    config = uvicorn.Config(
        _Apart(*apart, app) if apart else app,
        http=partial(BoundedConnection, limits=limits),  # type: ignore[arg-type]
        ws="none",
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
    )
    listener = _listener(address)  # bound here: uvicorn leaves the process when it cannot
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve([listener]), name=f"HTTP on {address}")
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _no_such_route(request: Request, error: Exception) -> Response:
    return JSONResponse(refusal("there is no such route on this port", "ROUTE_NOT_FOUND"), status_code=404)


async def _other_method(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None) or {}
    said = refusal(f"this route takes {allowed.get('Allow', 'another method')} only", "HTTP_METHOD_NOT_ALLOWED")
    return JSONResponse(said, status_code=405, headers=allowed)


def _listener(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, int(port)), family=family)
        # What is accepted inherits it; without, a body waits up to 40 ms for the caller to acknowledge its header.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotBind(f"{address} is taken: stop what listens there, or set STRONGROOM_PORT_BASE") from None
        said = os.strerror(error.errno or errno.EIO)
        raise CannotBind(f"{address} cannot be listened on ({said}): check STRONGROOM_BIND") from None
