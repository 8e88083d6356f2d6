"""What runs in a home, and whether it takes work: from the run files, checked against the kernel, and by asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stack import runfiles
from stack.alerts import FiringAlert, as_lines, firing_alerts
from stack.options import Stack
from stack.plan import service_of
from stack.probes import Probe, redis_probe, service_probe
from stack.redis_server import NAME as REDIS
from stack.runfiles import RunFile

MONITOR = "monitor"
READY, NOT_READY, DOWN = 0, 1, 3  # exit codes


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One process. `reason` is empty when it is ready."""

    service: str
    name: str
    pid: int
    ready: bool
    reason: str
    address: str
    grpc: str
    http: str
    restarts: int
    uptime_seconds: float
    log: str


@dataclass(frozen=True, kw_only=True)
class StackStatus:
    """A home's stack."""

    home: str
    up: bool  # a supervisor holds the home
    ready: bool  # and every process of it takes work
    services: list[ServiceStatus]
    alerts: Sequence[FiringAlert] | None  # None: the monitor does not say

    @property
    def exit_code(self) -> int:
        return READY if self.ready else NOT_READY if self.up or self.services else DOWN

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def stack_status(stack: Stack) -> StackStatus:
    """Asks every process at once."""
    up = runfiles.is_held(stack.run_folder)
    runs = [run for run in runfiles.read_all(stack.run_folder) if up or run.process()]
    services = list(await asyncio.gather(*(_status(run) for run in runs)))
    monitor = next((run.grpc for run in runs if run.name == MONITOR and run.process()), "")
    alerts = await firing_alerts(monitor, stack.options.keys_folder) if monitor else None
    supervisor = runfiles.read(stack.run_folder, runfiles.SUPERVISOR)
    ready = bool(up and supervisor and supervisor.state == "ready" and services and all(s.ready for s in services))
    return StackStatus(home=str(stack.home), up=up, ready=ready, services=services, alerts=alerts)


async def _status(run: RunFile) -> ServiceStatus:
    process = run.process()
    reason = await _probe(run)() if process else run.reason or "not running"
    return ServiceStatus(
        service=service_of(run.name),
        name=run.name,
        pid=run.pid if process else 0,
        ready=not reason,
        reason=reason,
        address=run.address,
        grpc=run.grpc,
        http=run.http,
        restarts=run.restarts,
        uptime_seconds=round(time.time() - run.started, 1) if process else 0.0,
        log=run.log,
    )


def _probe(run: RunFile) -> Probe:
    return redis_probe(run.address) if run.name == REDIS else service_probe(run.grpc, run.http)


def as_table(status: StackStatus) -> list[str]:
    """For people."""
    if not status.services:
        return [f"no stack runs in {status.home}: start one with `strongroom up`"]
    rows = [("", "pid", "state", "address", "HTTP", "restarts", "up")]
    for each in status.services:
        state, up = ("ready" if each.ready else each.reason.splitlines()[0]), f"{each.uptime_seconds:.0f} s"
        rows.append((each.name, str(each.pid or "-"), state, each.address, each.http, str(each.restarts), up))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if not status.up:
        lines.append("no supervisor: these were left behind by one that was killed; `strongroom down` ends them")
    return lines + as_lines(status.alerts)
