"""Leaving a stream early, and what runs beside it: threads on one client, tasks on the other."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from strongroom.client import AsyncClient, Client, Piece, Question, Started, Stream

from services.gateway.requests import outcome

WHY = Question.of("Why?")
UNFINISHED = (outcome.Started("r-1", "tiny", "ab" * 16), outcome.Delta("The "))


def test_many_threads_share_one_client(gateway: Any) -> None:
    with Client(address=gateway.address, api_key="key") as client, ThreadPoolExecutor(8) as threads:
        texts = [f"question {number}" for number in range(40)]
        answers = list(threads.map(lambda text: client.ask(Question.of(text)).text, texts))
        streams = list(threads.map(lambda text: len(list(client.stream(Question.of(text)))), texts[:16]))
    assert answers == ["The vault is closed."] * 40 and streams == [4] * 16
    assert len(gateway.peers) == 1
    assert sorted(question.messages[0].content for question in gateway.conductor.asked[:40]) == sorted(texts)


def _close(stream: Stream) -> None:
    stream.close()


def _leave_with(stream: Stream) -> None:
    with stream:
        pass


@pytest.mark.parametrize("leave", [_close, _leave_with])
def test_a_stream_that_is_left_cancels_its_request(gateway: Any, leave: Callable[[Stream], None]) -> None:
    gateway.conductor.events = UNFINISHED
    with Client(address=gateway.address, api_key="key") as client:
        stream = client.stream(WHY)
        assert isinstance(next(stream), Started) and stream.request_id == "r-1"
        assert not gateway.conductor.left.is_set()
        leave(stream)
        assert gateway.conductor.left.wait(10)
        assert list(stream) == []


def test_a_stream_that_is_dropped_cancels_its_request(gateway: Any) -> None:
    gateway.conductor.events = UNFINISHED
    with Client(address=gateway.address, api_key="key") as client:
        for event in client.stream(WHY):
            if isinstance(event, Piece):
                break
        gc.collect()
        assert gateway.conductor.left.wait(10)


def test_closing_from_another_thread_ends_the_readers_loop(gateway: Any) -> None:
    gateway.conductor.events = UNFINISHED
    with Client(address=gateway.address, api_key="key") as client:
        stream = client.stream(WHY)
        seen: list[Any] = []
        reader = threading.Thread(target=lambda: seen.extend(stream))
        reader.start()
        while stream.request_id == "":
            reader.join(0.01)
        stream.close()
        reader.join(10)
        assert not reader.is_alive() and isinstance(seen[0], Started)
        assert gateway.conductor.left.wait(10)


async def test_many_tasks_share_one_client(gateway: Any) -> None:
    async with AsyncClient(address=gateway.address, api_key="key") as client:
        answers = await asyncio.gather(*(client.ask(Question.of(str(number))) for number in range(40)))
    assert [answer.text for answer in answers] == ["The vault is closed."] * 40
    assert len(gateway.peers) == 1


async def test_an_async_stream_that_is_dropped_cancels_its_request(gateway: Any) -> None:
    gateway.conductor.events = UNFINISHED
    async with AsyncClient(address=gateway.address, api_key="key") as client:
        async for event in client.stream(WHY):
            if isinstance(event, Piece):
                break
        gc.collect()
        assert await asyncio.to_thread(gateway.conductor.left.wait, 10)


async def test_an_async_stream_that_is_left_cancels_its_request(gateway: Any) -> None:
    gateway.conductor.events = UNFINISHED
    async with AsyncClient(address=gateway.address, api_key="key") as client:
        async with client.stream(WHY) as stream:
            assert isinstance(await anext(stream), Started)
        assert await asyncio.to_thread(gateway.conductor.left.wait, 10)
        assert [event async for event in stream] == []


@pytest.mark.parametrize("word", ["ask", "stream"])
async def test_cancelling_a_task_cancels_its_request(gateway: Any, word: str) -> None:
    gateway.conductor.events = UNFINISHED
    async with AsyncClient(address=gateway.address, api_key="key") as client:

        async def reading() -> None:
            if word == "ask":
                await client.ask(WHY)
            async for _ in client.stream(WHY):
                pass

        task = asyncio.create_task(reading())
        while not gateway.conductor.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gateway.conductor.left.wait, 10)


async def test_closing_from_another_task_ends_the_readers_loop(gateway: Any) -> None:
    gateway.conductor.events = UNFINISHED
    async with AsyncClient(address=gateway.address, api_key="key") as client:
        stream = client.stream(WHY)

        async def reading() -> int:
            return len([event async for event in stream])

        task = asyncio.create_task(reading())
        while not stream.request_id:
            await asyncio.sleep(0.01)
        stream.close()
        async with asyncio.timeout(10):
            assert await task >= 1


async def test_a_client_may_be_made_before_there_is_a_loop(gateway: Any) -> None:
    client = await asyncio.to_thread(lambda: AsyncClient(address=gateway.address, api_key="key"))
    async with client:
        assert (await client.ask(WHY)).text == "The vault is closed."
