"""The HTTP edge of the whole suite among hostile callers: each is answered as documented, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.hostile.attacks import OK, PATH, attacks
from benchmarks.hostile.judging import play

MEBIBYTE = 2**20
ROOM = 96 * MEBIBYTE  # for what an allocator keeps; a hundred megabytes kept by mistake are above it
PATIENCE = 60


@pytest.fixture
def key(suite):
    return (suite.home / "keys" / "development-api-key").read_text().strip()


@pytest.fixture
def port(suite):
    return suite.port_base + 10


@pytest.fixture
async def unharmed(suite, key, port):
    """While the test runs, somebody else asks over and over, and the gateway's memory is watched."""
    gateway = psutil.Process(suite.running["gateway"].pid)
    url, headers = f"http://127.0.0.1:{port}", {"authorization": f"Bearer {key}"}
    told = []

    async def ask():
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE) as client:
            while True:
                told.append((await client.post(PATH.decode(), json=OK)).status_code)
                await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    before = gateway.memory_info().rss
    yield told
    until = len(told) + 2
    async with asyncio.timeout(PATIENCE):
        while len(told) < until and not asking.done():
            await asyncio.sleep(0.05)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert set(told) == {200}
    assert gateway.memory_info().rss - before < ROOM


async def test_whatever_is_sent_is_answered_as_documented(port, key, unharmed):
    """Fails if `Endpoint` lets an exception's text out, or `BoundedConnection` answers in plain text."""
    loop = asyncio.get_running_loop()

    async def play_all(batch):
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(play(port, attack) for attack in batch))

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(attacks(key), min_size=4, max_size=8))
    def check(batch):
        asyncio.run_coroutine_threadsafe(play_all(batch), loop).result()

    await asyncio.to_thread(check)


async def test_a_hundred_megabytes_are_refused_and_kept_nowhere(port, key, unharmed):
    async def body():
        for _ in range(100):
            yield b" " * MEBIBYTE

    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE) as client:
        for content in (b" " * 100 * MEBIBYTE, body()):
            with contextlib.suppress(httpx.WriteError):  # hung up on in the middle of it
                assert (await client.post(PATH.decode(), content=content)).status_code == 413


async def test_callers_who_send_a_byte_at_a_time_are_hung_up_on_and_harm_nobody(port, key, unharmed):
    async def drip(head, byte):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            reading = asyncio.create_task(reader.read())
            while not reading.done():
                writer.write(byte)
                await asyncio.sleep(0.2)
        writer.transport.abort()
        return reading.exception() or reading.result()

    line = b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n" % (PATH, key.encode())
    async with asyncio.timeout(PATIENCE):
        heads = [drip(line, b"x") for _ in range(100)]
        bodies = [drip(line + b"content-length: 1000\r\n\r\n", b" ") for _ in range(100)]
        said = await asyncio.gather(*heads, *bodies)
    assert set(said[:100]) == {b""} or all(isinstance(one, ConnectionError) for one in said[:100])
    assert all(b"BODY_TOO_SLOW" in one for one in said[100:] if isinstance(one, bytes))


async def test_more_connections_than_there_is_room_for_leave_those_that_are_there_alone(port, unharmed):
    held, refused = [], 0
    for _ in range(600):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        held.append((reader, writer))
    async with asyncio.timeout(PATIENCE):
        for reader, _ in held[512:]:
            with contextlib.suppress(ConnectionError):
                refused += b"TOO_MANY_CONNECTIONS" in await reader.read()
    assert refused >= 80
    for _, writer in held:
        writer.transport.abort()
