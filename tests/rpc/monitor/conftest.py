"""A monitor on loopback ports, and a service that reports to it as services do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
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
from chassis.web import serving_http
from services.monitor.pages import page_routes
from services.monitor.servicer import ALLOWED, MonitorServicer, TraceReceiver
from services.monitor.traces.store import Bounds, TraceStore

KNOWN = {
    digest(f"token-{name}"): Principal("service", name)
    for name in ("gateway", "guard", "inference", "audit", "monitor", "stack")
}
KNOWN[digest("key-caller")] = Principal("person", "dev", "development", frozenset({"caller"}))
KNOWN[digest("key-reviewer")] = Principal("person", "rev", "compliance", frozenset({"reviewer"}))
KNOWN[digest("key-none")] = Principal("person", "guest", "development")


@dataclass(frozen=True)
class Monitor:
    store: TraceStore
    port: int
    http_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"


@pytest.fixture
async def monitor() -> AsyncIterator[Monitor]:
    store = TraceStore(Bounds(traces=100, bytes=1 << 20, spans_per_trace=50, quiet_seconds=0.0))

    def register(server: grpc.aio.Server) -> None:
        MonitorServicer(store).register(server)
        TraceReceiver(store).register(server)

    async with (
        serving("127.0.0.1:0", register, known=KNOWN, allowed=ALLOWED, grace_seconds=1) as port,
        serving_http("127.0.0.1:0", lambda: "", page_routes(store)) as http_port,
    ):
        yield Monitor(store, port, http_port)


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
