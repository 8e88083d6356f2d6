"""The HTTP edge against bodies that are too large, too slow or nonsense: a clear answer, and the rest goes on."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATH = "/v1/chat/completions"
TOO_MUCH = 20_001  # the fixture's bound, and one byte
OK = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def still_answers(http):
    return (await http.post(PATH, json=OK)).status_code == 200


async def pieces(size, count, pause=0.0):
    for _ in range(count):
        yield b" " * size
        await asyncio.sleep(pause)


async def test_a_body_that_declares_too_much_is_refused_before_it_is_read(door, http, until):
    reply = await http.post(PATH, content=b" " * TOO_MUCH)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "BODY_TOO_LARGE")
    await until(lambda: door.audit.kinds() == ["reject"])
    assert await still_answers(http)


async def test_a_body_of_a_hundred_megabytes_is_refused(http):
    reply = await http.post(PATH, content=b" " * 100_000_000)
    assert reply.status_code == 413
    assert await still_answers(http)


async def test_a_body_that_does_not_declare_its_size_is_refused_at_the_bound(http):
    reply = await http.post(PATH, content=pieces(1_000, 1_000))
    assert reply.status_code == 413 and reply.headers["connection"] == "close"
    assert await still_answers(http)


async def test_a_body_that_drips_in_is_refused_in_time(door, http):
    """Over a plain socket: httpx reads nothing before it has sent everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.http_port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\ncontent-length: 1000\r\n\r\n"
    writer.write(head.encode())

    async def drip():
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"BODY_TOO_SLOW")).startswith(b"HTTP/1.1 408")
    dripping.cancel()
    writer.close()
    assert await still_answers(http)


async def test_a_stranger_is_refused_before_the_body_is_read(door, http):
    reply = await http.post(PATH, content=pieces(1_000, 1_000), headers={"authorization": "Bearer wrong"})
    assert reply.status_code == 401 and door.audit.entries == []


async def test_a_caller_who_waits_for_a_word_before_sending_gets_the_refusal_instead(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.http_port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\nexpect: 100-continue\r\n"
    writer.write(f"{head}content-length: {TOO_MUCH}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_caller_who_leaves_in_the_middle_of_its_body_leaves_no_entry(door, http):
    _, writer = await asyncio.open_connection("127.0.0.1", door.http_port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\ncontent-length: 1000\r\n\r\n"
    writer.write(head.encode() + b'{"model"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await still_answers(http)
    assert "reject" not in door.audit.kinds()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**80)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "user", "tiny", "text", "", "\x00", "system"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text") | VALUES, "text": VALUES}), max_size=3)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant"]) | VALUES, "content": PARTS | VALUES}
    ),
    max_size=4,
)
FIELDS = [
    "model", "stream", "stream_options", "stop", "seed", "temperature", "top_p", "max_tokens", "user", "n", "logprobs",
    "max_completion_tokens", "tools", "response_format", "audio", "strongroom", "messages", "unheard_of", "logit_bias",
    "top_logprobs", "min_p", "stop_token_ids",
]  # fmt: skip
OURS = st.fixed_dictionaries({}, optional={"priority": VALUES, "top_k": VALUES, "timeout_seconds": VALUES})
BODIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(FIELDS, VALUES) | {"messages": MESSAGES | VALUES, "strongroom": OURS | VALUES}
)
ONE_ODD = st.sampled_from(FIELDS).flatmap(lambda name: VALUES.map(lambda value: {**OK, name: value}))


def not_finite(value):
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(not_finite, value.values()))
    return isinstance(value, list) and any(map(not_finite, value))


FEW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("bodies", [BODIES, ONE_ODD], ids=["all-fields", "one-odd-field"])
async def test_no_json_whatever_makes_the_edge_fail_or_hang(door, http, bodies):
    """Values of every type in every field: a 200 or a 4xx in OpenAI's shape, within the time of a request."""
    loop = asyncio.get_running_loop()

    async def post(body):
        async with asyncio.timeout(5):
            return await http.post(PATH, content=body)

    @FEW
    @given(bodies)
    def check(body):
        reply = asyncio.run_coroutine_threadsafe(post(json.dumps(body).encode()), loop).result(10)
        status = reply.status_code
        assert status in (200, 504) or 400 <= status < 500, (status, reply.text)  # 504: a deadline may be anything
        assert status == 200 or {"message", "type", "param", "code"} <= reply.json()["error"].keys()
        assert not (not_finite(body) and status == 200)

    await asyncio.to_thread(check)  # Hypothesis calls a plain function; the loop stays free to answer it


@pytest.mark.parametrize("size", [0, 1, 500])
async def test_no_bytes_whatever_make_the_edge_fail(http, size):
    for seed in range(20):
        body = bytes((seed * 131 + place * place * 31) % 256 for place in range(size))
        reply = await http.post(PATH, content=body)
        assert 400 <= reply.status_code < 500
    assert await still_answers(http)
