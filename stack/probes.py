"""Whether a process takes work. A probe answers with the reason why not; an empty one means that it does."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

Probe = Callable[[], Awaitable[str]]

PROBE_SECONDS = 1.0


def service_probe(grpc_address: str, http_address: str) -> Probe:
    """gRPC's health service decides; /readyz says why not."""

    async def probe() -> str:
        state = await _grpc_health(grpc_address)
        if state in ("", "away"):
            return "not listening yet" if state else ""
        return await asyncio.to_thread(_readyz_reason, http_address) or state

    return probe


def redis_probe(address: str) -> Probe:
    """PING, in Redis's own inline form: no driver needed."""

    async def probe() -> str:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"PING\r\n")
                reply = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return "not listening yet"
        if reply.startswith(b"-LOADING"):
            return "loading its append-only file"
        return "" if reply == b"+PONG\r\n" else "answers, but not as Redis does"

    return probe


async def _grpc_health(address: str) -> str:
    """Empty: SERVING. "away": nobody answers."""
    import grpc
    from grpc_health.v1 import health_pb2

    async with grpc.aio.insecure_channel(address) as channel:
        try:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            reply = await check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return "away"
    return "" if reply.status == health_pb2.HealthCheckResponse.SERVING else "not ready"


def _readyz_reason(address: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=PROBE_SECONDS) as reply:
            body = reply.read()
    except urllib.error.HTTPError as not_ready:  # 503 carries the reason
        body = not_ready.read()
    except OSError:
        return ""
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return ""
