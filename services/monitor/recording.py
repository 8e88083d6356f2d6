"""Alerts as ACT entries of the audit log: behind, bounded, and harmless when audit is away."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import grpc
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc

from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.rules import Severity

log = logging.getLogger(__name__)

MAX_WAITING = 256
MAX_TARGET_CHARACTERS = 256  # audit's own bound
CALL_SECONDS = 5.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 60.0
# The log keeps everything for ever: an alert that flaps must not fill it.
BURST, SECONDS_AN_ACT = 20, 30.0
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)


class AlertRecorder:
    """`note` never waits. Owned by the event loop; `run` sends, one at a time and in order."""

    def __init__(self, audit: rpc.AuditServiceStub, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit, self._clock = audit, clock
        self._waiting: deque[pb.RecordActRequest] = deque()
        self._arrived = asyncio.Event()
        self._allowed, self._counted_at = float(BURST), clock()
        self.recorded = self.dropped = 0

    def note(self, changes: Sequence[Alert]) -> None:
        for alert in changes:
            if alert.rule.severity is Severity.NOTICE:
                continue
            if len(self._waiting) >= MAX_WAITING or not self._may():
                self.dropped += 1
                continue
            self._waiting.append(_act(alert))
            self._arrived.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_RETRY_SECONDS
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                if await self._sent(self._waiting[0]):
                    self._waiting.popleft()
                    pause = FIRST_RETRY_SECONDS
                else:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LAST_RETRY_SECONDS)

    async def _sent(self, act: pb.RecordActRequest) -> bool:
        """Whether it is settled: recorded, or refused for good."""
        try:
            await self._audit.RecordAct(act, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in PASSING:
                return False
            log.warning("audit does not take an alert: %s", error.code().name)
            self.dropped += 1
            return True
        self.recorded += 1
        return True

    def _may(self) -> bool:
        now = self._clock()
        self._allowed = min(self._allowed + (now - self._counted_at) / SECONDS_AN_ACT, BURST)
        self._counted_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def _act(alert: Alert) -> pb.RecordActRequest:
    fired = alert.state is State.FIRING
    particulars = {
        "severity": alert.rule.severity.value,
        "labels": dict(alert.labels),
        "value": f"{alert.value:.6g}",
        "threshold": f"{alert.rule.condition.sign} {alert.rule.condition.threshold:g}",
        "since": round(alert.since, 3),
        "fired": round(alert.fired or 0, 3),
        **({} if fired else {"resolved": round(alert.resolved or 0, 3)}),
    }
    return pb.RecordActRequest(
        action="ALERT_FIRED" if fired else "ALERT_RESOLVED",
        target=alert.id[:MAX_TARGET_CHARACTERS],
        detail=json.dumps(particulars, sort_keys=True).encode(),
    )
