"""What the machine itself takes: a bare call, over gRPC or HTTP, and making a few bytes durable."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.edges.contenders import chat_completion
from benchmarks.path.doors import Ask, posting
from benchmarks.path.loops import closed, paced, summary

SYNC_EVERY_SECONDS = 0.1  # often enough for a median, seldom enough not to be a load of its own


@contextmanager
def echo_server() -> Iterator[int]:
    """A bare grpc.aio server in a process of its own; yields its port."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=_serve_echo, args=(ports,), daemon=True)
    process.start()
    try:
        yield ports.get(timeout=20)
    finally:
        process.terminate()


def _serve_echo(ports: Any) -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def serve() -> None:
        server = grpc.aio.server()
        methods: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", methods),))
        ports.put(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


@asynccontextmanager
async def bare_grpc(port: int) -> AsyncIterator[Ask]:
    """A caller of the echo server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo: Any = channel.unary_unary("/floor/Echo")
        yield lambda: echo(b"x" * 80, timeout=60)


@asynccontextmanager
async def bare_http(port: int) -> AsyncIterator[Ask]:
    """A caller of a server that answers every POST at once."""
    async with posting(port, chat_completion("x" * 80, {})) as ask:
        yield ask


async def closed_floor(bare: AbstractAsyncContextManager[Ask], callers: int, seconds: float) -> dict[str, float]:
    """One round of bare calls."""
    async with bare as ask:
        await closed(ask, callers, 0.5)
        return summary(await closed(ask, callers, seconds), seconds)


async def paced_floor(
    bare: AbstractAsyncContextManager[Ask], callers: int, per_second: float, seconds: float
) -> dict[str, float]:
    """The same at so many a second: seldom calls find everything asleep, so each takes much longer."""
    async with bare as ask:
        await paced(ask, callers, per_second, 1.0)
        return summary(await paced(ask, callers, per_second, seconds), seconds)


class Syncing:
    """fdatasync of so many bytes on the disk of `folder`, now and again while open, and how long each took."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path, self._bytes = folder / "floor", b"x" * size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sync)
        self.milliseconds: list[float] = []

    def __enter__(self) -> Syncing:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()
        self._path.unlink()

    @property
    def p50(self) -> float:
        return sorted(self.milliseconds)[len(self.milliseconds) // 2]

    def _sync(self) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while not self._over.wait(SYNC_EVERY_SECONDS):
            os.write(file, self._bytes)
            began = time.perf_counter()
            os.fdatasync(file)
            self.milliseconds.append((time.perf_counter() - began) * 1000)
        os.close(file)
