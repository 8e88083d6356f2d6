"""The caller: keep-alive HTTP/1.1 connections in a closed loop, in a process of its own.

As thin as it can be, because it shares the machine's cores with what it measures: the floor's row of the result says
how many requests per second it can make at all.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import dataclass, field

import uvloop

from benchmarks.edges.upstream import message_end


@dataclass
class Tally:
    """What one round brought."""

    until: float
    expected: bytes
    latencies: list[float] = field(default_factory=list)  # milliseconds
    failures: int = 0
    failure: str = ""


class Caller(asyncio.Protocol):
    """Asks again as soon as it is answered, until the time is over."""

    def __init__(self, request: bytes, tally: Tally, over: asyncio.Future[None]) -> None:
        self._request, self._tally, self._over = request, tally, over
        self._received, self._began = b"", 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if message_end(self._received) is None:
            return
        now = time.perf_counter()
        if self._received.startswith(b"HTTP/1.1 200") and self._tally.expected in self._received:
            self._tally.latencies.append((now - self._began) * 1000)
        else:
            self._tally.failures += 1
            self._tally.failure = self._tally.failure or self._received[:400].decode("latin-1")
        self._received = b""
        if now < self._tally.until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)


async def load(port: int, request: bytes, expected: bytes, callers: int, seconds: float) -> Tally:
    """A connection that a gateway closes is over: what was not asked again is missing in the result."""
    loop = asyncio.get_running_loop()
    tally = Tally(time.perf_counter() + seconds, expected)
    over = [loop.create_future() for _ in range(callers)]
    for each in over:
        await loop.create_connection(lambda each=each: Caller(request, tally, each), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*over), seconds + 60)
    return tally


class Line(asyncio.Protocol):
    """One kept-alive connection that somebody else paces: an answer a question."""

    @classmethod
    async def open(cls, port: int) -> Line:
        _, line = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return line

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._received = transport, b""
        self._answer: asyncio.Future[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is not None and message_end(self._received) is not None:
            self._answer.set_result(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection ended before the answer"))

    async def ask(self, request: bytes) -> bytes:
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


def ask_once(port: int, request: bytes) -> bytes:
    """What one request is answered with; nothing where nobody listens yet."""
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request)
            while message_end(received) is None and (data := connection.recv(65536)):
                received += data
    except OSError:
        pass
    return received


def main() -> None:
    """One JSON object on standard input says what to do; one on standard output, what came of it."""
    told = json.load(sys.stdin)
    cpu = time.process_time()
    tally = uvloop.run(
        load(told["port"], told["request"].encode(), told["expected"].encode(), told["callers"], told["seconds"])
    )
    cpu = time.process_time() - cpu
    said = {"latencies": tally.latencies, "failures": tally.failures, "failure": tally.failure, "cpu": cpu}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
