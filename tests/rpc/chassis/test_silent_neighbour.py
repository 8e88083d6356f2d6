"""A neighbour whose process is stopped, or behind a network that swallows everything: connected, and silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chassis.failures import Unavailable
from chassis.server import PING_SECONDS

ANSWER_SECONDS = 5
SLACK_SECONDS = 25  # a loaded machine; without the bound on a ping's answer it is over a minute


class Relay:
    """Passes bytes on in both directions until it falls silent. It closes nothing then."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.silent = False
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        yield server.sockets[0].getsockname()[1]
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65_536):
            if not self.silent:
                sink.write(piece)


async def test_a_silent_neighbour_is_noticed_though_nobody_asks_it_anything(guard, serve, stream_to, item):
    """gRPC's own bound is a minute: `keepalive_timeout_ms` alone does not end a connection."""
    async with serve() as port:
        relay = Relay(port)
        async with relay.listening() as through:
            stream = await stream_to(through)
            await asyncio.wait_for(stream.send(item("heard")), 10)
            relay.silent = True
            async with asyncio.timeout(PING_SECONDS + ANSWER_SECONDS + SLACK_SECONDS):
                while stream.connected.is_set():
                    await asyncio.sleep(0.1)
            with pytest.raises(Unavailable):
                stream.require_connected()
