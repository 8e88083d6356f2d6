"""Calls a neighbour: one channel, our own token, the current trace and always a deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from chassis.server import KEEPALIVE
from chassis.tracing import traceparent

CHANNEL_OPTIONS = [
    *KEEPALIVE,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


def connect(target: str, token: str, deadline_seconds: float = 10) -> grpc.aio.Channel:
    """A channel to `target`. The caller closes it. Batch streams get no deadline: their items carry them."""
    interceptors = [_Unary(token, deadline_seconds), _Streamed(token, deadline_seconds), _LongLived(token)]
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS, interceptors=interceptors)


def _outbound(details: Any, token: str, deadline_seconds: float | None) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    if metadata.get("authorization") is None:
        metadata.add("authorization", f"Bearer {token}")
    if parent := traceparent():
        metadata.add("traceparent", parent)
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout if details.timeout is not None else deadline_seconds,
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


# One class a shape: grpc.aio uses a class that is two shapes for the first one only, silently.


class _Unary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str, deadline_seconds: float) -> None:
        self._token, self._deadline = token, deadline_seconds

    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(_outbound(details, self._token, self._deadline), request)


class _Streamed(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, token: str, deadline_seconds: float) -> None:
        self._token, self._deadline = token, deadline_seconds

    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(_outbound(details, self._token, self._deadline), request)


class _LongLived(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await continuation(_outbound(details, self._token, None), requests)
