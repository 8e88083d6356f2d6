"""Calls a neighbour: one channel, our own token, the current trace and always a deadline."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from chassis.server import KEEPALIVE
from chassis.tracing import traceparent

CHANNEL_OPTIONS = [
    *KEEPALIVE,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # 30 s by default: a neighbour may come back elsewhere
    ("grpc.min_reconnect_backoff_ms", 2_000),  # despite its name, the time that one attempt to connect gets
]


def connect(target: str, token: str, deadline_seconds: float = 10) -> grpc.aio.Channel:
    """A channel to `target`. The caller closes it. Batch streams get no deadline: their items carry them."""
    return _NamedChannel(grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS), token, deadline_seconds)


class _NamedChannel(grpc.aio.Channel):
    """A channel whose calls say who we are.

    Not interceptors: grpc.aio puts a task and a queue before each intercepted stream, and leaves them behind,
    pending, when a call is refused.
    """

    def __init__(self, inner: grpc.aio.Channel, token: str, deadline_seconds: float) -> None:
        self._inner, self._token, self._deadline = inner, token, deadline_seconds

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self._inner.unary_unary(*args, **kwargs), self._deadline)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self._inner.unary_stream(*args, **kwargs), self._deadline)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self._inner.stream_unary(*args, **kwargs), self._deadline)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self._inner.stream_stream(*args, **kwargs), None)

    def _named(self, calls: Callable[..., Any], deadline_seconds: float | None) -> Callable[..., Any]:
        def call(*request: Any, timeout: float | None = None, metadata: Any = None, **kwargs: Any) -> Any:
            outbound = grpc.aio.Metadata(*(metadata or ()))
            if outbound.get("authorization") is None:
                outbound.add("authorization", f"Bearer {self._token}")
            if parent := traceparent():
                outbound.add("traceparent", parent)
            return calls(
                *request, timeout=deadline_seconds if timeout is None else timeout, metadata=outbound, **kwargs
            )

        return call

    async def __aenter__(self) -> _NamedChannel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()
