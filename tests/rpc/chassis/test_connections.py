"""An HTTP port against callers who send too slowly, too much at once, or do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest
from starlette.routing import Route

from chassis.connections import MAX_HEAD_BYTES, Limits
from chassis.web import _listener, serving_http

PATIENCE = 10  # of a test for what has to happen much sooner


ONE = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


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


class Listener:
    """Takes what comes, and says nothing."""

    def __init__(self):
        self.ended = asyncio.Event()

    async def __call__(self, scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ended.set()


@pytest.fixture
async def endless():
    return Endless()


@pytest.fixture
async def listener():
    return Listener()


@pytest.fixture
async def port(endless, listener):
    routes = [Route("/endless", endless), Route("/listener", listener)]
    limits = Limits(connections=3, head_seconds=0.3, stalled_seconds=0.3)
    async with serving_http("127.0.0.1:0", lambda: "", routes, limits) as port:
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


BIG = b"y" * (2 * MAX_HEAD_BYTES)
CHUNKED = b"POST /listener HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nx: " + BIG,
        b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
        b"GET /healthz HTTP/1.1\r\n" + b"x: 3456789\r\n" * (MAX_HEAD_BYTES // 8) + b"\r\n",  # whole, in one piece
        b"GET /healthz?" + BIG,
        b"\r\n" * MAX_HEAD_BYTES,
    ],
    ids=["one-field", "fields", "whole", "path", "blank-lines"],
)
async def test_a_head_above_its_bound_is_refused(port, sent):
    reader, _ = await ask(port, sent)
    answer = await rest(reader)
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 431") and b"HEAD_TOO_LARGE" in answer)


@pytest.mark.parametrize(
    ("begun", "again"), [(b"1;x=", b"y"), (b"0\r\nx: ", b"y"), (b"0\r\n", b"x: y\r\n"), (b"", b"0")]
)
async def test_what_stands_between_the_pieces_of_a_body_is_bounded_too(port, listener, begun, again):
    """Fails if `data_received` does not count what the parser says nothing about."""
    _, writer = await ask(port, CHUNKED + b"1\r\na\r\n" + begun)
    with contextlib.suppress(ConnectionError):
        for _ in range(64):
            writer.write(again * 4096)
            await writer.drain()
            await asyncio.sleep(0.01)
    assert listener.ended.is_set()
    writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ],
    ids=lambda sent: sent[:24].decode("latin-1"),
)  # fmt: skip
async def test_what_is_not_http_is_told_so_and_hung_up_on(port, sent):
    reader, _ = await ask(port, sent)
    answer = await rest(reader)
    assert (
        answer.startswith(b"HTTP/1.1 400")
        and json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "MALFORMED_HTTP"
    )


@pytest.mark.parametrize("behind", [ONE * 50, b"\x00\x01"], ids=["requests", "nonsense"])
async def test_an_answer_that_is_due_is_given_whatever_comes_behind_its_request(port, behind):
    reader, _ = await ask(port, ONE + behind)
    answer = await rest(reader)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.endswith(b'{"alive":true}')


async def test_a_flood_of_requests_behind_one_is_hung_up_on(port):
    reader, _ = await ask(port, ONE * 20_000)
    assert (await rest(reader)).count(b"HTTP/1.1 ") <= 1
    reader, writer = await ask(port)
    assert b"200" in await head(reader)
    writer.close()


async def test_a_caller_who_sent_two_requests_at_once_and_left_is_known_to_have_left(port, endless):
    """Fails if `on_message_begin` lets a second request in before the first is answered."""
    _, writer = await ask(port, b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
    await asyncio.sleep(0.05)
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await endless.ended.wait()


async def test_an_offer_to_speak_another_protocol_is_passed_over(port):
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    reader, writer = await ask(port, b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + offer + b"\r\nhi")
    assert (await head(reader)).startswith(b"HTTP/1.1 405")
    writer.close()


@pytest.mark.parametrize(
    ("asked", "status"), [(b"GET /nothing", 404), (b"DELETE /healthz", 405), (b"GET /healthz/", 404)]
)
async def test_what_a_port_does_not_serve_is_an_error_of_one_shape(port, asked, status):
    reader, _ = await ask(port, asked + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await rest(reader)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert {"message", "type", "param", "code"} == json.loads(answer.partition(b"\r\n\r\n")[2])["error"].keys()


async def test_connections_above_the_bound_are_told_so_and_room_is_found_again(port):
    held = [await ask(port) for _ in range(3)]
    for reader, _ in held:
        await head(reader)
    reader, _ = await ask(port, b"")
    full = await rest(reader)
    assert full.startswith(b"HTTP/1.1 503") and b"TOO_MANY_CONNECTIONS" in full
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


def test_a_body_is_not_held_back_until_its_header_is_acknowledged():
    """On Linux that takes 40 ms. Fails if only asyncio is relied on: it leaves sockets alone that name no protocol."""
    with (
        _listener("127.0.0.1:0") as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
