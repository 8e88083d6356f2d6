"""What the monitor of a stack says is wrong: the alerts that fire now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ASK_SECONDS = 1.0
API_KEY_FILE = "development-api-key"


@dataclass(frozen=True, kw_only=True)
class FiringAlert:
    """One alert, as a person at a terminal needs it."""

    alert: str
    severity: str
    where: str
    seconds: float  # since it began to fire
    title: str
    remedy: str


async def firing_alerts(monitor: str, keys: Path) -> Sequence[FiringAlert] | None:
    """None if there is nobody to ask: without a monitor, or without this home's own key."""
    import grpc
    from strongroom.monitor.v1 import monitor_pb2 as pb
    from strongroom.monitor.v1 import monitor_pb2_grpc as rpc

    try:
        key = (keys / API_KEY_FILE).read_text(encoding="ascii").strip()
        async with grpc.aio.insecure_channel(monitor) as channel:
            status = await rpc.MonitorServiceStub(channel).GetStatus(
                pb.GetStatusRequest(), metadata=[("authorization", f"Bearer {key}")], timeout=ASK_SECONDS
            )
    except (OSError, ValueError, grpc.aio.AioRpcError):
        return None
    shown = [a for a in status.active_alerts if a.state == pb.ALERT_STATE_FIRING and not a.covered]
    return [
        FiringAlert(
            alert=alert.rule_id,
            severity=pb.AlertSeverity.Name(alert.severity).removeprefix("ALERT_SEVERITY_").lower(),
            where=", ".join(f"{label} {value}" for label, value in sorted(alert.labels.items())),
            seconds=round(max(time.time() - alert.fired_time.ToNanoseconds() / 1e9, 0.0), 1),
            title=alert.title.en,
            remedy=alert.remedy.en,
        )
        for alert in shown
    ]


def as_lines(alerts: Sequence[FiringAlert] | None) -> list[str]:
    """For people; nothing while nothing fires."""
    lines = []
    for each in alerts or ():
        where = f", {each.where}" if each.where else ""
        lines += [
            "",
            f"{each.severity}: {each.title} ({each.alert}{where}), for {each.seconds:.0f} s",
            f"  {each.remedy}",
        ]
    return lines
