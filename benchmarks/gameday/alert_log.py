"""What a person who watches hears: every alert of a stack's monitor, with the moment at which it was heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc as rpc

from benchmarks.local_stack import LocalStack

MONITOR_PORT = 4
NAMES = {pb.ALERT_STATE_FIRING: "firing", pb.ALERT_STATE_RESOLVED: "resolved"}
SEVERITIES = {pb.ALERT_SEVERITY_CRITICAL: "critical", pb.ALERT_SEVERITY_WARNING: "warning"}


@dataclass(frozen=True)
class Heard:
    at: float  # on this process' monotonic clock
    alert: pb.Alert

    @property
    def severity(self) -> str:
        return SEVERITIES.get(self.alert.severity, "notice")


@dataclass
class AlertLog:
    heard: list[Heard] = field(default_factory=list)

    def first(self, state: pb.AlertState.ValueType, since: float) -> dict[str, Heard]:
        """By rule, what was heard first after a moment."""
        found: dict[str, Heard] = {}
        for each in self.heard:
            if each.at >= since and each.alert.state == state:
                found.setdefault(each.alert.rule_id, each)
        return found

    async def until(self, rules: Collection[str], state: pb.AlertState.ValueType, since: float, seconds: float) -> None:
        """Waits until all of these were heard, or the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not set(rules) <= self.first(state, since).keys():
            await asyncio.sleep(0.1)


@asynccontextmanager
async def listening(stack: LocalStack) -> AsyncIterator[AlertLog]:
    log = AlertLog()

    async def listen(stub: rpc.MonitorServiceStub) -> None:
        key = [("authorization", f"Bearer {stack.api_key}")]
        async for news in stub.WatchAlerts(pb.WatchAlertsRequest(), metadata=key, timeout=3600):
            log.heard += [Heard(time.monotonic(), alert) for alert in news.alerts]

    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.port_base + MONITOR_PORT}") as channel:
        task = asyncio.create_task(listen(rpc.MonitorServiceStub(channel)))
        try:
            yield log
        finally:
            assert not task.done(), "the monitor stopped telling"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
