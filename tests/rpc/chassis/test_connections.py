"""An HTTP port against callers who send too slowly, too much at once, or do not read."""

from __future__ import annotations

import asyncio

import pytest
from starlette.routing import Route

from chassis.connections import MAX_HEAD_BYTES, Limits
from chassis.web import serving_http

PATIENCE = 10  # of a test for what has to happen much sooner


class Endless:
    """Writes until its caller is gone."""

    def __init__(self):
        self.ended = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def write():
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                await asyncio.sleep(0)

        writer = asyncio.create_task(write())
        while (await receive())["type"] != "http.disconnect":
            pass
        writer.cancel()
        self.ended.set()


@pytest.fixture
async def endless():
    return Endless()


@pytest.fixture
async def port(endless):
    limits = Limits(connections=3, head_seconds=0.3, stalled_seconds=0.3)
    async with serving_http("127.0.0.1:0", lambda: "", [Route("/endless", endless)], limits) as port:
        yield port


async def rest(reader):
    """All until the other side closes, one way or another."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def ask(port, text=b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    return reader, writer


async def head(reader):
    async with asyncio.timeout(PATIENCE):
        return await reader.readuntil(b"\r\n\r\n")


async def test_a_head_that_drips_in_is_hung_up_on(port):
    reader, writer = await ask(port, b"GET /healthz HTTP/1.1\r\n")
    drip = asyncio.create_task(dripping(writer))
    assert await rest(reader) == b""
    drip.cancel()


async def dripping(writer):
    while True:
        writer.write(b"x: y\r\n")
        await asyncio.sleep(0.05)


async def test_a_second_head_that_drips_in_is_hung_up_on_too(port):
    reader, writer = await ask(port)
    assert b"200" in await head(reader)
    writer.write(b"GET /heal")
    assert b"HTTP" not in await rest(reader)


async def test_a_connection_between_requests_is_kept(port):
    reader, writer = await ask(port)
    await head(reader)
    await reader.readexactly(len(b'{"alive":true}'))
    await asyncio.sleep(0.5)  # longer than a head may take
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"200" in await head(reader)
    writer.close()


async def test_a_head_above_its_bound_is_refused(port):
    reader, _ = await ask(port, b"GET /healthz HTTP/1.1\r\nx: " + b"y" * (2 * MAX_HEAD_BYTES))
    assert (await rest(reader))[:12] in (b"HTTP/1.1 400", b"")


async def test_connections_above_the_bound_are_told_so_and_room_is_found_again(port):
    held = [await ask(port) for _ in range(3)]
    for reader, _ in held:
        await head(reader)
    reader, _ = await ask(port, b"")
    assert (await rest(reader)).startswith(b"HTTP/1.1 503")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    reader, writer = await ask(port)
    assert b"200" in await head(reader)
    writer.close()


async def test_a_caller_who_stops_reading_is_hung_up_on(port, endless):
    _, writer = await ask(port, b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
    writer.transport.pause_reading()
    async with asyncio.timeout(PATIENCE):
        await endless.ended.wait()
    writer.transport.abort()
