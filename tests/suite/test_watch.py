"""The monitor beside real services: it sees them work, tells when one stops, and is missed by nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import Callable

import grpc
import pytest
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc as rpc

PATIENCE = 60  # a loaded machine: the alert itself comes after some 13 s
HTTP = {"gateway": 10, "guard": 11, "inference": 12, "audit": 13, "monitor": 14}


@pytest.fixture
async def suite(watched):
    """Of this file alone: what was killed elsewhere a while ago is still told of."""
    await watched.ready()
    return watched


def counted(suite, service: str, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{suite.port_base + HTTP[service]}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def status_until(stub, suite, holds: Callable[[pb.GetStatusResponse], bool]) -> pb.GetStatusResponse:
    async with asyncio.timeout(PATIENCE):
        while not holds(status := await stub.GetStatus(pb.GetStatusRequest(), metadata=suite.metadata)):
            await asyncio.sleep(0.2)
    return status


def figure(status: pb.GetStatusResponse, id: str) -> float:
    return sum(each.value for each in status.figures if each.id == id)


def up(status: pb.GetStatusResponse) -> set[str]:
    return {service.service for service in status.services if service.up and service.ready}


async def test_every_service_is_seen_up_and_at_work(suite):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base + 4}") as channel:
        stub = rpc.MonitorServiceStub(channel)
        await status_until(stub, suite, lambda status: up(status) == {"gateway", "guard", "inference", "audit"})
        for _ in range(3):
            assert (await suite.ask("one two three four", max_tokens=4)).outcome
        status = await status_until(stub, suite, lambda status: figure(status, "requests_per_second") > 0)
        assert figure(status, "output_tokens_per_second") > 0
        assert figure(status, "tree_entries") > 3
        assert figure(status, "slots") > 0
        assert [alert.rule_id for alert in status.active_alerts if alert.severity == pb.ALERT_SEVERITY_CRITICAL] == []


async def test_a_guard_that_stops_is_told_recorded_and_told_again_when_it_is_back(suite):
    guard = suite.running["guard"].pid
    acts = counted(suite, "audit", 'strongroom_audit_entries_total{kind="ACT"}')
    async with grpc.aio.insecure_channel(f"127.0.0.1:{suite.port_base + 4}") as channel:
        stub = rpc.MonitorServiceStub(channel)
        await status_until(stub, suite, lambda status: "guard" in up(status))
        news = aiter(stub.WatchAlerts(pb.WatchAlertsRequest(), metadata=suite.metadata, timeout=3 * PATIENCE))
        assert (await anext(news)).complete
        os.kill(guard, signal.SIGSTOP)
        try:
            fired = await heard(news, "guard_down", pb.ALERT_STATE_FIRING)
        finally:
            os.kill(guard, signal.SIGCONT)
        assert fired.labels == {"instance": f"127.0.0.1:{suite.port_base + HTTP['guard']}"}
        assert "policy file" in fired.remedy.en
        await heard(news, "guard_down", pb.ALERT_STATE_RESOLVED)
    async with asyncio.timeout(PATIENCE):
        while counted(suite, "audit", 'strongroom_audit_entries_total{kind="ACT"}') < acts + 2:
            await asyncio.sleep(0.2)
    await suite.ready()


async def test_a_monitor_that_is_gone_or_hangs_is_missed_by_nobody(suite):
    os.kill(suite.running["monitor"].pid, signal.SIGSTOP)
    try:
        for _ in range(5):
            assert (await suite.ask("still there?", max_tokens=2)).outcome
    finally:
        os.kill(suite.running["monitor"].pid, signal.SIGCONT)
    suite.kill("monitor")
    for _ in range(5):
        assert (await suite.ask("still there?", max_tokens=2)).outcome
    suite.start("monitor")


async def heard(news, rule: str, state: pb.AlertState.ValueType) -> pb.Alert:
    async with asyncio.timeout(PATIENCE):
        while True:
            for alert in (await anext(news)).alerts:
                if (alert.rule_id, alert.state) == (rule, state):
                    return alert
