"""Alerts on their way into the audit log: in order, bounded, and nobody waits for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from chassis.client import connect
from chassis.identity import Principal, digest
from chassis.server import serving
from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.loading import shipped
from services.monitor.recording import BURST, MAX_WAITING, SECONDS_AN_ACT, AlertRecorder

METHOD = "/strongroom.audit.v1.AuditService/RecordAct"
KNOWN = {digest("token-monitor"): Principal("service", "monitor")}


class Audit(rpc.AuditServiceServicer):
    """Takes acts, or answers with a code."""

    def __init__(self) -> None:
        self.acts: list[pb.RecordActRequest] = []
        self.code: grpc.StatusCode | None = None
        self.asked = 0

    async def RecordAct(self, request, context):
        self.asked += 1
        if self.code:
            await context.abort(self.code, "not now")
        self.acts.append(request)
        return pb.RecordActResponse()


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def audit() -> AsyncIterator[tuple[Audit, str]]:
    servicer = Audit()

    def register(server: grpc.aio.Server) -> None:
        rpc.add_AuditServiceServicer_to_server(servicer, server)

    allowed = {METHOD: frozenset({"service:monitor"})}
    async with serving("127.0.0.1:0", register, known=KNOWN, allowed=allowed, grace_seconds=0) as port:
        yield servicer, f"127.0.0.1:{port}"


@pytest.fixture
async def recorder(audit, clock) -> AsyncIterator[AlertRecorder]:
    async with connect(audit[1], "token-monitor") as channel:
        recorder = AlertRecorder(rpc.AuditServiceStub(channel), clock)
        running = asyncio.create_task(recorder.run())
        yield recorder
        running.cancel()


def alert(place: str = "127.0.0.1:7413", id: str = "disk_low") -> Alert:
    return Alert(rule=shipped().rule(id), key=(place,), state=State.FIRING, value=1e9, since=100.0, fired=110.5)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_fires_and_what_resolves_is_recorded_with_its_particulars(recorder, audit):
    recorder.note([alert()])
    recorder.note([replace(alert(), state=State.RESOLVED, resolved=200.25)])
    await until(lambda: recorder.recorded == 2)
    fired, resolved = audit[0].acts
    assert (fired.action, fired.target) == ("ALERT_FIRED", "disk_low/127.0.0.1:7413")
    assert json.loads(fired.detail) == {
        "severity": "warning",
        "labels": {"instance": "127.0.0.1:7413"},
        "value": "1e+09",
        "threshold": "< 2.14748e+09",
        "since": 100.0,
        "fired": 110.5,
    }
    assert resolved.action == "ALERT_RESOLVED" and json.loads(resolved.detail)["resolved"] == 200.25


async def test_notices_are_not_for_the_log(recorder, audit):
    recorder.note([Alert(rule=shipped().rule("answers_run_on"), state=State.FIRING, value=1, since=1, fired=1)])
    recorder.note([alert()])
    await until(lambda: recorder.recorded == 1)
    assert [act.target for act in audit[0].acts] == ["disk_low/127.0.0.1:7413"]


async def test_while_audit_is_away_alerts_wait_in_order_and_are_recorded_later(recorder, audit):
    audit[0].code = grpc.StatusCode.UNAVAILABLE
    recorder.note([alert("a"), alert("b")])
    await until(lambda: audit[0].asked >= 1)
    audit[0].code = None
    recorder.note([alert("c")])
    await until(lambda: recorder.recorded == 3)
    assert [act.target for act in audit[0].acts] == ["disk_low/a", "disk_low/b", "disk_low/c"]


async def test_what_audit_refuses_for_good_is_counted_and_the_next_one_comes(recorder, audit):
    audit[0].code = grpc.StatusCode.INVALID_ARGUMENT
    recorder.note([alert("a")])
    await until(lambda: recorder.dropped == 1)
    audit[0].code = None
    recorder.note([alert("b")])
    await until(lambda: recorder.recorded == 1)


async def test_an_alert_that_flaps_does_not_fill_the_log_for_ever(recorder, clock):
    """Fails if the recorder asked for no share of time: the journal keeps every entry."""
    for _ in range(100):
        recorder.note([alert()])
    assert recorder.dropped == 100 - BURST
    await until(lambda: recorder.recorded == BURST)
    clock.seconds += 2 * SECONDS_AN_ACT
    recorder.note([alert(), alert(), alert()])
    await until(lambda: recorder.recorded == BURST + 2)
    assert recorder.dropped == 100 - BURST + 1


async def test_invariant_6_what_waits_for_audit_is_bounded(clock):
    """Fails if `note` appends without looking at the length."""
    async with connect("127.0.0.1:1", "token-monitor") as channel:
        recorder = AlertRecorder(rpc.AuditServiceStub(channel), clock)
        for n in range(1_000):
            clock.seconds += SECONDS_AN_ACT
            recorder.note([alert(f"place-{n}")])
        assert len(recorder._waiting) == MAX_WAITING
        assert recorder.dropped == 1_000 - MAX_WAITING
