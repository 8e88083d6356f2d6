"""The scraper against real servers: those that serve, and those that hang, lie, flood or trickle."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from chassis.metrics import Label, Metrics
from chassis.web import serving_http
from services.monitor.definition.selection import Selection
from services.monitor.scraping.scraper import ScrapeLimits, Scraper, http_client
from services.monitor.scraping.targets import job
from services.monitor.windows.windows import Target, WindowBounds, Windows

LIMITS = ScrapeLimits(timeout_seconds=1.0, max_bytes=1 << 20, max_series=200, starting_seconds=0)
JOBS = Selection("strongroom_test_jobs_total")
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[Target]:
    """A server that says what the test has it say."""
    begun: set[asyncio.Task[None]] = set()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield Target(job("guard"), f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


@asynccontextmanager
async def scraping(*targets: Target, limits: ScrapeLimits = LIMITS) -> AsyncIterator[tuple[Scraper, Windows]]:
    windows = Windows([JOBS, Selection("up")], WindowBounds(seconds=600, series_per_target=limits.max_series))
    async with http_client() as client:
        yield Scraper(targets, windows, limits, client, started=0.0), windows


def says(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return answer


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.05)


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A hundred megabytes, as fast as they are read."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")
    for _ in range(1600):
        writer.write(b"# " + b"x" * 65_533 + b"\n")
        await writer.drain()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nstrongroom_test_jobs_total 1\n")
    await writer.drain()


async def speaks_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01\x02 SSH-2.0-nothing\r\n\r\n")
    await writer.drain()


UNFOLDS = gzip.compress(b"strongroom_test_jobs_total 1\n" + b"#" * (64 << 20))
LABELS = b"".join(b'strongroom_test_jobs_total{kind="%d"} 1\n' % n for n in range(20_000))
BAD = {
    "hangs": (hangs, "timeout"),
    "trickles": (trickles, "timeout"),
    "a hundred megabytes": (floods, "too_large"),
    "twenty thousand label values": (says(LABELS), "too_many_series"),
    "breaks off": (breaks_off, "refused"),
    "no HTTP": (speaks_no_http, "refused"),
    "a page": (says(b"<html>It works</html>"), "garbage"),
    "an error": (says(b"strongroom_test_jobs_total 1\n", "500 Internal Server Error"), "status"),
    "sends elsewhere": (says(b"", "302 Found", "location: http://127.0.0.1:1/metrics\r\n"), "status"),
    "unfolds": (says(UNFOLDS, headers="content-encoding: gzip\r\n"), "garbage"),
}


@pytest.fixture
async def service() -> AsyncIterator[tuple[Target, Callable[[], None]]]:
    """A process as ours are: its /metrics and /readyz, and a job that it counts when told."""
    metrics = Metrics()
    jobs = metrics.counters("strongroom_test_jobs_total", "Jobs.", Label("kind", ("a",), room=10))
    async with serving_http("127.0.0.1:0", lambda: "the queue is away", [metrics.route()]) as port:
        yield Target(job("gateway"), f"127.0.0.1:{port}"), lambda: jobs.of("a").inc()


async def test_rounds_of_a_service_give_its_series_and_its_own_word(service):
    target, work = service
    async with scraping(target) as (scraper, windows):
        await scraper.round(10.0)
        work()
        await scraper.round(12.0)
        [(labels, points)] = windows.points(JOBS, 0, 12)
        assert labels == {"kind": "a", "job": "strongroom-gateway", "instance": target.instance}
        assert points == [(10, 0), (12, 1)]
        standing = scraper.targets[target]
        assert (standing.problem, standing.ready, standing.reason) == ("", False, "the queue is away")
        assert (scraper.scrapes, dict(scraper.failures)) == (2, {})


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_target_costs_a_counter_and_the_others_go_on(kind, service):
    answer, problem = BAD[kind]
    good, work = service
    async with listening(answer) as bad, scraping(bad, good) as (scraper, windows):
        for at in (10.0, 12.0):
            work()
            await asyncio.wait_for(scraper.round(at), 20)
        assert scraper.failures == {problem: 2}
        assert scraper.targets[bad].problem == problem
        assert (windows.is_up(bad), windows.is_up(good)) == (False, True)
        [(_, points)] = windows.points(JOBS, 0, 12)
        assert [value for _, value in points] == [1, 2]
        assert scraper.bytes < 2 * LIMITS.max_bytes + (1 << 20)


async def test_nobody_listens_is_refused_and_back_again_is_seen(service):
    target, _ = service
    async with scraping(target, Target(job("guard"), "127.0.0.1:1")) as (scraper, windows):
        await scraper.round(10.0)
        assert scraper.failures == {"refused": 1}
        assert {labels["job"]: value for labels, value in windows.current(Selection("up"))} == {
            "strongroom-gateway": 1,
            "strongroom-guard": 0,
        }


async def test_who_has_never_answered_is_starting_for_a_while(service):
    away = Target(job("inference"), "127.0.0.1:1")
    limits = ScrapeLimits(timeout_seconds=1.0, starting_seconds=60)
    async with scraping(away, limits=limits) as (scraper, windows):
        await scraper.round(30.0)
        assert list(windows.current(Selection("up"))) == []
        assert scraper.targets[away].problem == "refused"
        await scraper.round(60.0)
        assert [value for _, value in windows.current(Selection("up"))] == [0]


async def test_a_target_that_is_none_any_more_leaves_nothing_behind(service):
    """Fails if `ask_instead` keeps the windows of who is gone: a replica scaled away would count for ever."""
    target, _ = service
    away = Target(job("guard"), "127.0.0.1:1")
    async with scraping(target, away) as (scraper, windows):
        await scraper.round(10.0)
        standing, newcomer = scraper.targets[target], Target(job("guard"), "127.0.0.1:2")
        scraper.ask_instead([target, newcomer], 11.0)
        await scraper.round(12.0)
        assert scraper.targets[target] is standing
        instances = {labels["instance"] for labels, _ in windows.current(Selection("up"))}
        assert instances == {target.instance, newcomer.instance}


async def test_a_newcomer_is_starting_for_a_while_too(service):
    """Fails if the time is counted from the monitor's own start: each new replica would be down until it is up."""
    limits = ScrapeLimits(timeout_seconds=1.0, starting_seconds=60)
    async with scraping(service[0], limits=limits) as (scraper, windows):
        await scraper.round(100.0)
        scraper.ask_instead([service[0], Target(job("inference"), "127.0.0.1:1")], 100.0)
        await scraper.round(102.0)
        assert [labels["job"] for labels, _ in windows.current(Selection("up"))] == ["strongroom-gateway"]
        await scraper.round(160.0)
        assert [value for _, value in windows.current(Selection("up"))] == [1, 0]


@pytest.mark.parametrize("said", [b"", b"[]", b'"x"', b"[" * 4000, b'{"ready": 1, "reason": ["x"]}', b"\xff"])
async def test_a_strange_word_on_readiness_is_no_word(said):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        metrics = b"strongroom_test_jobs_total 1\n"
        for body in (metrics, said):
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            if body is metrics:
                await reader.readuntil(b"\r\n\r\n")

    async with listening(answer) as target, scraping(target) as (scraper, windows):
        await scraper.round(10.0)
        standing = scraper.targets[target]
        assert windows.is_up(target)
        assert (standing.ready, standing.reason) == (None, "")


async def test_a_connection_is_used_again():
    accepted = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        while True:
            body = b"strongroom_test_jobs_total 1\n"
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")

    async with listening(answer) as target, scraping(target) as (scraper, _):
        for n in range(10):
            await scraper.round(10.0 + n)
        assert len(accepted) == 1


async def test_invariant_6_bad_targets_again_and_again_grow_nothing(service):
    """Fails if a connection of a target that was cut off stayed open."""
    async with AsyncExitStack() as opened:
        bad = [await opened.enter_async_context(listening(BAD[kind][0])) for kind in ("a hundred megabytes", "a page")]
        scraper, windows = await opened.enter_async_context(scraping(*bad, service[0]))
        for n in range(30):
            await scraper.round(10.0 + 2 * n)
        pool = scraper._client._transport._pool  # type: ignore[attr-defined]
        assert len(pool.connections) <= len(bad) + 1
        assert len(windows) == len(bad) + 2
