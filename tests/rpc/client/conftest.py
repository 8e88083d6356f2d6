"""A real gateway servicer on a loopback port, in a thread of its own, whose conductor follows a script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from strongroom.client import Answer, AsyncClient, Client, Event, Question
from strongroom.gateway.v1 import gateway_pb2_grpc

from chassis.failures import NotFound, ServiceError
from chassis.identity import Principal, digest
from chassis.server import serving
from services.gateway.asking import Deadlines
from services.gateway.requests import outcome
from services.gateway.requests.neighbours import ServedModel
from services.gateway.servicer import ALLOWED, GatewayServicer

KNOWN = {digest("key"): Principal("person", "developer", "development", frozenset({"caller"}))}
STARTED = outcome.Started("r-1", "tiny", "ab" * 16)
FINISHED = outcome.Outcome(
    request_id="r-1",
    model="tiny",
    trace_id="ab" * 16,
    choices=(outcome.Ended("STOP"),),
    receipt='{"version": 1}',
    verdict="FLAG",
    rule="conspiracy",
    policy_digest=b"p" * 32,
    findings=(outcome.Finding("BANK_CARD", 3, 19, "C2", "prompt"),),
    input_tokens=7,
    output_tokens=4,
    timings_ms={"total": 12.5},
)
WHOLE: tuple[outcome.Event, ...] = (STARTED, outcome.Delta("The vault "), outcome.Delta("is closed."), FINISHED)


@dataclass
class ScriptedLife:
    """Tells its events; after the last of an unfinished script it says nothing more."""

    events: list[outcome.Event]
    left: threading.Event
    done: bool = False

    async def next_event(self) -> outcome.Event:
        if not self.events:
            await asyncio.Event().wait()
        event = self.events.pop(0)
        self.done = isinstance(event, outcome.Outcome | outcome.Broken)
        return event

    async def all_events(self) -> list[outcome.Event]:
        told = [await self.next_event()]
        while not self.done:
            told.append(await self.next_event())
        return told

    def __enter__(self) -> ScriptedLife:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.done:
            self.left.set()


@dataclass
class ScriptedConductor:
    """Refuses with each of `refusals` in turn, then lets lives tell `events`."""

    refusals: list[ServiceError] = field(default_factory=list)
    events: tuple[outcome.Event, ...] = WHOLE
    asked: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)  # set by a caller who left a running request

    async def read_grammar(self, question: Any, caller: Any, trace_id: str) -> None: ...

    def start(
        self, question: Any, caller: Any, trace_id: str, seconds: float, *, streamed: bool = True
    ) -> ScriptedLife:
        self.asked.append(question)
        self.seconds.append(seconds)
        if self.refusals:
            raise self.refusals.pop(0)
        return ScriptedLife(list(self.events), self.left)

    def cancel(self, request_id: str, caller: Any) -> bool:
        self.cancelled.append(request_id)
        return True

    def models(self) -> dict[str, ServedModel]:
        return {"tiny": ServedModel("tiny", "echo", 64, 2, b"", 0, {"tone": b"d" * 32})}


class FakeAudit:
    """Has the receipt of one request."""

    async def receipt(self, request_id: str, party: Any) -> str:
        if request_id != "r-1":
            raise NotFound("no finished record of this caller has this id", field="record_id")
        return '{"version": 1, "later": true}'


class NotingServicer(GatewayServicer):
    """Also notes from which connections it is asked."""

    peers: set[str]

    async def Generate(self, request: Any, context: Any) -> Any:
        self.peers.add(context.peer())
        return await super().Generate(request, context)


@dataclass
class Gateway:
    """What a client connects to."""

    address: str
    conductor: ScriptedConductor
    peers: set[str]


@contextmanager
def running_gateway(address: str = "127.0.0.1:0") -> Iterator[Gateway]:
    conductor, peers = ScriptedConductor(), set[str]()
    loop, opened, leave = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        servicer = NotingServicer(conductor, FakeAudit(), None, Deadlines(10, 60))  # type: ignore[arg-type]
        servicer.peers = peers
        add = lambda server: gateway_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server)
        async with serving(address, add, known=KNOWN, allowed=ALLOWED, grace_seconds=0) as port:
            ports.append(port)
            opened.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert opened.wait(10)
        yield Gateway(f"127.0.0.1:{ports[0]}", conductor, peers)
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as gateway:
        yield gateway


@pytest.fixture
def start_gateway() -> Any:
    return running_gateway


class Blocking:
    """The sync client as the tests of both use it."""

    def __init__(self, address: str, api_key: str = "key", **how: Any) -> None:
        self.client = Client(address=address, api_key=api_key, **how)

    def ask(self, question: Question, **how: Any) -> Answer:
        return self.client.ask(question, **how)

    def do(self, word: str, *arguments: Any) -> Any:
        return getattr(self.client, word)(*arguments)

    def stream(self, question: Question) -> Iterator[Event]:
        return self.client.stream(question)

    def close(self) -> None:
        self.client.close()


class Awaited:
    """The asyncio client, each step run to its end."""

    def __init__(self, address: str, api_key: str = "key", **how: Any) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(address=address, api_key=api_key, **how)

    def ask(self, question: Question, **how: Any) -> Answer:
        return self.runner.run(self.client.ask(question, **how))

    def do(self, word: str, *arguments: Any) -> Any:
        return self.runner.run(getattr(self.client, word)(*arguments))

    def stream(self, question: Question) -> Iterator[Event]:
        async def opened() -> Any:
            return self.client.stream(question)

        stream = self.runner.run(opened())
        while True:
            try:
                yield self.runner.run(_next(stream))
            except StopAsyncIteration:
                return

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


async def _next(stream: Any) -> Event:
    event: Event = await anext(stream)
    return event


@pytest.fixture(params=[Blocking, Awaited])
def connect(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes a client of either kind."""
    made: list[Any] = []

    def connecting(address: str, **how: Any) -> Any:
        made.append(request.param(address, **how))
        return made[-1]

    yield connecting
    for client in made:
        client.close()
