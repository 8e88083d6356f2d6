"""A service's HTTP port: /healthz says it lives, /readyz whether it takes work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: `until_signalled` owns the signals."""

    @asynccontextmanager
    async def _no_signals(self) -> AsyncIterator[None]:
        yield

    async def serve(self, sockets: object = None) -> None:
        await self._serve(None)


@asynccontextmanager
async def serving_http(
    address: str, not_ready: Callable[[], str], routes: Sequence[BaseRoute] = ()
) -> AsyncIterator[None]:
    """HTTP on `address` while open. `not_ready` gives the reason why no work is taken, empty when it is."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(request: Request) -> Response:
        reason = not_ready()
        return JSONResponse({"ready": not reason, "reason": reason}, status_code=503 if reason else 200)

    app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), *routes])
    host, _, port = address.rpartition(":")
    config = uvicorn.Config(app, host=host, port=int(port), log_config=None, access_log=False, lifespan="off")
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task
