"""A real gateway servicer on a loopback port, between neighbours that are small real servicers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc
from strongroom.gateway.v1 import gateway_pb2_grpc
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.identity import Principal, digest
from chassis.server import serving
from chassis.web import serving_http
from services.gateway.asking import Deadlines
from services.gateway.audit_client import AuditClient
from services.gateway.edge.http_call import Bounds
from services.gateway.edge.routes import PREFIX, EdgeApp
from services.gateway.grammar_check import GrammarCheck
from services.gateway.guard_client import GuardClient
from services.gateway.replays import Replays
from services.gateway.requests.admission import Admission
from services.gateway.requests.conductor import Conductor
from services.gateway.requests.question import Profile
from services.gateway.requests.rejections import Rejections
from services.gateway.requests.terms import Neighbours
from services.gateway.servicer import ALLOWED, MAX_CALL_BYTES, GatewayServicer
from tests.rpc.gateway.neighbours import AuditServicer, GuardServicer, ScriptedQueue

CALLER = {
    digest("key"): Principal("person", "developer", "development", frozenset({"caller"})),
    digest("other"): Principal("person", "other", "development", frozenset({"caller"})),
    digest("auditor"): Principal("person", "auditor", "development", frozenset({"auditor"})),
    digest("gateway"): Principal("service", "gateway"),
}
GATEWAY = frozenset({"service:gateway"})
BOUNDS = Bounds(body_bytes=20_000, body_seconds=0.5, linger_seconds=1.0, keep_alive_seconds=0.1)


@dataclass
class Door:
    """The gateway under test, its neighbours and a caller's stub."""

    stub: gateway_pb2_grpc.GatewayServiceStub
    port: int
    http_port: int
    guard: GuardServicer
    audit: AuditServicer
    queue: Any  # a ScriptedQueue unless a test brings another
    conductor: Conductor

    @staticmethod
    def key(token: str = "key") -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {token}")]


@asynccontextmanager
async def opened_door(queue: Any = None) -> AsyncIterator[Door]:
    guard_servicer, audit_servicer, queue = GuardServicer(), AuditServicer(), queue or ScriptedQueue()
    guard_methods = {f"/strongroom.guard.v1.GuardService/{name}": GATEWAY for name in ("Exchange", "GetPolicy")}
    audit_names = [
        "Append",
        "RecordAct",
        "GetReceipt",
        "GetOutcome",
        "GetConsistencyProof",
        "TakeReplay",
        "FinishReplay",
    ]
    audit_methods = {f"/strongroom.audit.v1.AuditService/{name}": GATEWAY for name in audit_names}
    async with AsyncExitStack() as opened:
        add_guard = lambda server: guard_pb2_grpc.add_GuardServiceServicer_to_server(guard_servicer, server)
        add_audit = lambda server: audit_pb2_grpc.add_AuditServiceServicer_to_server(audit_servicer, server)
        options = {"known": CALLER, "grace_seconds": 0}
        guard_port = await opened.enter_async_context(
            serving("127.0.0.1:0", add_guard, allowed=guard_methods, **options)
        )
        audit_port = await opened.enter_async_context(
            serving("127.0.0.1:0", add_audit, allowed=audit_methods, **options)
        )
        guard = await GuardClient.connected(opened, [f"127.0.0.1:{guard_port}"], "gateway")
        audit = await AuditClient.connected(opened, f"127.0.0.1:{audit_port}", "gateway", "boot-1", guard.policy)
        grammars = await opened.enter_async_context(GrammarCheck(read_seconds=30).running())
        conductor = Conductor(
            Neighbours(guard, audit, queue),
            Admission(4),
            Rejections(audit.reject, 0.05),
            "",
            Profile(),
            grammars=grammars,
        )
        servicer = GatewayServicer(conductor, audit, Replays(audit.stub, queue, conductor), Deadlines(10, 60))
        add = lambda server: gateway_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server)
        port = await opened.enter_async_context(
            serving("127.0.0.1:0", add, allowed=ALLOWED, max_message_bytes=MAX_CALL_BYTES, **options)
        )
        edge = EdgeApp(conductor, CALLER, Deadlines(10, 60), BOUNDS)
        serving_edge = serving_http("127.0.0.1:0", lambda: "", apart=(PREFIX, edge))
        http_port = await opened.enter_async_context(serving_edge)
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        await _until(lambda: guard.replicas.all[0].connected and audit._stream.connected.is_set())
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        yield Door(stub, port, http_port, guard_servicer, audit_servicer, queue, conductor)
        await conductor.drain(2)


async def _until(holds, seconds: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def told_before() -> audit_pb2.GetOutcomeResponse:
    """What audit says of the request that holds an idempotency key."""
    answer = {"content": "told before", "finish_reason": "STOP", "reasoning": "so", "tool_calls": []}
    texts = {"answer_released": [answer], "findings": [], "parameters": {"policy_digest": "ab"}}
    fields = [audit_pb2.Field(name=name, content=json.dumps(value).encode()) for name, value in texts.items()]
    return audit_pb2.GetOutcomeResponse(state="COMPLETED", model="tiny", trace_id="e" * 32, fields=fields, receipt="{}")


@pytest.fixture
def parts() -> SimpleNamespace:
    """For tests that put neighbours together themselves."""
    return SimpleNamespace(guard_servicer=GuardServicer, known=CALLER)


@pytest.fixture
def until():  # type: ignore[no-untyped-def]
    return _until


@pytest.fixture
def door_with():  # type: ignore[no-untyped-def]
    """A door before a queue of the test's own."""
    return opened_door


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with opened_door() as door:
        yield door


@pytest.fixture
async def http(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of its HTTP edge."""
    headers = {"authorization": "Bearer key"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{door.http_port}", headers=headers) as client:
        yield client
