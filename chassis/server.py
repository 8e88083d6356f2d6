"""Serves gRPC until told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from chassis.boundary import Boundary
from chassis.deadlines import within_deadline
from chassis.errors import reporting_errors
from chassis.identity import AllowList, Principal, identified
from chassis.tracing import traced

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
PING_SECONDS = 10  # both sides agree on it: a server that is pinged more often than it allows hangs up
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

KEEPALIVE = [
    ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),  # else an idle connection is soon pinged once in a minute only
    ("grpc.http2.ping_timeout_ms", 5_000),  # 60 s by default, and it is this one that ends a connection
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]
SERVER_OPTIONS = [
    *KEEPALIVE,
    ("grpc.so_reuseport", 0),  # else a second process shares the port's traffic silently
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS * 500),
    ("grpc.http2.max_ping_strikes", 0),
]


class Health:
    """What the standard health service answers; NOT_SERVING until told otherwise."""

    def __init__(self) -> None:
        self.servicer = health.HealthServicer()
        self.reason = "starting"

    async def ready(self) -> None:
        await self.set("")

    async def set(self, reason: str) -> None:
        """An empty reason means that the service takes work."""
        if self.reason == reason:
            return
        self.reason = reason
        await self.servicer.set("", NOT_SERVING if reason else SERVING)


class CannotBind(Exception):
    """The address is taken."""


@asynccontextmanager
async def serving(
    address: str,
    register: Callable[[grpc.aio.Server], None],
    *,
    known: Mapping[str, Principal],
    allowed: AllowList,
    health: Health | None = None,
    reflected: Sequence[str] = (),
    default_deadline_seconds: float = 30,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    grace_seconds: float = 5,
    from_outside: bool = False,
) -> AsyncIterator[int]:
    """A server on `address` while the context is open; yields the port. On the way out: health off, drain, stop.

    `from_outside`: its callers are none of our services, so whether a call is traced is decided here."""
    layers = [traced, reporting_errors, identified(known, allowed), within_deadline(default_deadline_seconds)]
    boundary = Boundary(layers, from_outside=from_outside)
    server = grpc.aio.server(interceptors=[boundary], options=_options(max_message_bytes))
    register(server)
    status = health or Health()
    await status.servicer.set("", NOT_SERVING if status.reason and health else SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status.servicer, server)
    if reflected:
        reflection.enable_server_reflection([*reflected, reflection.SERVICE_NAME, "grpc.health.v1.Health"], server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise CannotBind(f"{address} is taken: stop what listens there, or set STRONGROOM_PORT_BASE") from None
    await server.start()
    try:
        yield port
    finally:
        await status.servicer.enter_graceful_shutdown()
        boundary.drain()
        await server.stop(grace_seconds)


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    """gRPC takes the first of an option that is given twice."""
    return [("grpc.max_receive_message_length", max_message_bytes), *SERVER_OPTIONS]


async def until_signalled() -> None:
    """Returns at the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
