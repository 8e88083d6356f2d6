"""A monitor on loopback ports, and a service that reports to it as services do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from strongroom.monitor.v1 import monitor_pb2_grpc

from chassis.client import connect
from chassis.identity import Principal, digest
from chassis.server import serving
from services.monitor.alerts.board import AlertBoard
from services.monitor.alerts.feed import AlertFeed
from services.monitor.definition.loading import shipped
from services.monitor.machine.gpus import Gpus
from services.monitor.machine.kernel import Kernel
from services.monitor.machine.machine import Machine
from services.monitor.scraping.scraper import ScrapeLimits, Scraper, http_client
from services.monitor.servicer import ALLOWED, MonitorServicer, TraceReceiver
from services.monitor.traces.store import Bounds, TraceStore
from services.monitor.watch import Own, Watch
from services.monitor.windows.windows import Sample, Target, WindowBounds, Windows

KNOWN = {
    digest(f"token-{name}"): Principal("service", name)
    for name in ("gateway", "guard", "inference", "audit", "monitor", "stack")
}
KNOWN[digest("key-caller")] = Principal("person", "dev", "development", frozenset({"caller"}))
KNOWN[digest("key-reviewer")] = Principal("person", "rev", "compliance", frozenset({"reviewer"}))
KNOWN[digest("key-operator")] = Principal("person", "op", "operations", frozenset({"operator"}))
KNOWN[digest("key-none")] = Principal("person", "guest", "development")


@dataclass
class Round:
    """What the next round is to see of the machine, and when it is."""

    at: float = 1_790_000_000.0
    memory: float = 0.3  # in use, of all

    def samples(self) -> list[Sample]:
        return [
            Sample("strongroom_monitor_memory_used_bytes", (), self.memory * 1e9),
            Sample("strongroom_monitor_memory_limit_bytes", (), 1e9),
        ]


@dataclass(frozen=True)
class Monitor:
    store: TraceStore
    port: int
    watch: Watch
    next_round: Round = field(default_factory=Round)

    async def rounds(self, seconds: float, memory: float) -> None:
        """Rounds of two seconds in which so much of the memory is in use."""
        self.next_round.memory = memory
        for _ in range(int(seconds / 2)):
            self.next_round.at += 2
            await self.watch.round()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
async def monitor() -> AsyncIterator[Monitor]:
    store = TraceStore(Bounds(traces=100, bytes=1 << 20, spans_per_trace=50, quiet_seconds=0.0))
    definition, next_round = shipped(), Round()
    windows = Windows(definition.selections, WindowBounds(definition.window_seconds))
    away = Target("strongroom-guard", "127.0.0.1:1")
    own = Own(Target("strongroom-monitor", "127.0.0.1:7414"), next_round.samples)
    board = AlertBoard(definition.rules)
    feed = AlertFeed(lambda: board.firing)

    async with http_client() as client:
        scraper = Scraper([away], windows, ScrapeLimits(starting_seconds=1e6), client, next_round.at)
        machine = Machine(Kernel(), Gpus())
        watch = Watch(definition, windows, scraper, machine, board, own, 2.0, lambda: next_round.at)
        watch.tell(feed.publish)

        def register(server: grpc.aio.Server) -> None:
            MonitorServicer(store, definition, watch, feed).register(server)
            TraceReceiver(store).register(server)

        async with serving("127.0.0.1:0", register, known=KNOWN, allowed=ALLOWED, grace_seconds=1) as port:
            yield Monitor(store, port, watch, next_round)


@pytest.fixture
async def channel_as(monitor: Monitor) -> AsyncIterator[Callable[[str], grpc.aio.Channel]]:
    """`channel_as("key-reviewer")`: a channel with that credential."""
    opened: list[grpc.aio.Channel] = []

    def open_channel(token: str) -> grpc.aio.Channel:
        opened.append(connect(monitor.address, token))
        return opened[-1]

    yield open_channel
    for channel in opened:
        await channel.close()


@pytest.fixture
async def traces(channel_as: Callable[[str], grpc.aio.Channel]) -> Any:
    """The monitor's service, as a developer calls it."""
    return monitor_pb2_grpc.MonitorServiceStub(channel_as("key-reviewer"))  # type: ignore[misc]


@pytest.fixture
def tracer_of(monitor: Monitor) -> Any:
    """`tracer_of("guard")`: a tracer whose spans travel as a service's do. They leave from threads of their own."""
    with ExitStack() as stack:

        def make(service: str, token: str = "") -> Any:
            exporter = OTLPSpanExporter(
                endpoint=monitor.address,
                insecure=True,
                headers=(("authorization", f"Bearer {token or 'token-' + service}"),),
                timeout=5,
            )
            resource = Resource.create({"service.name": f"{service}-by-its-own-word", "process.pid": 4242})
            provider = TracerProvider(resource=resource)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            stack.callback(provider.shutdown)
            return provider.get_tracer("test")

        yield make
