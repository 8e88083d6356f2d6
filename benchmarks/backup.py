"""A log as it grows: disk, memory, time to start; its backup and restore, and how long appends take meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2_grpc as rpc

from benchmarks import report
from benchmarks.journal_load import END_FIELDS, MODEL, RELEASE_BODY, REQUEST_FIELDS, Appending, record_id
from benchmarks.local_service import LocalService, local_service
from benchmarks.local_stack import COMMAND
from benchmarks.sizes import folder_bytes, pss
from chassis.client import connect
from services.audit.records.entries import Accept, End, Ending, Release
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer

RECORDS = (20_000, 100_000)
GROUP_RECORDS, RELEASES = 64, 2
CALLERS, BEAT_SECONDS, CALM_SECONDS = 8, 0.02, 10.0
MIB = 1024 * 1024


class TimedAppending(Appending):
    """Keeps how long each append took until it was durable."""

    seconds: list[float]

    async def _append(self, record: str, **entry: Any) -> None:
        began = time.perf_counter()
        await super()._append(record, **entry)
        self.seconds.append(time.perf_counter() - began)

    async def measured(self, seconds: float) -> list[float]:
        self.seconds = []
        await self.load(CALLERS, RELEASES, seconds, BEAT_SECONDS)
        return self.seconds

    async def lone(self, records: int) -> list[float]:
        """One entry after the other, of records without a RELEASE."""
        self.seconds = []
        for _ in range(records):
            await self._record(0, 0.0)
        return self.seconds


def grow(home: Path, records: int) -> None:
    """By so many records, of one boot, through the writer itself."""
    writer = Writer(Folders(home / "audit", home / "keys"), Clock(time.time, time.monotonic))
    boot = secrets.token_hex(8)
    for first in range(0, records, GROUP_RECORDS):
        count = min(GROUP_RECORDS, records - first)
        items = [item for n in range(first, first + count) for item in _record(boot, n)]
        failed = [answer for answer in writer.commit(items) if isinstance(answer, Exception)]
        assert not failed, failed[0]
        writer.publish()
    writer.stop()
    writer.close()


def _record(boot: str, number: int) -> list[Item]:
    place: dict[str, Any] = {"record_id": record_id(), "boot": boot}
    at = number * (2 + RELEASES)
    accept = Accept(
        **place, sequence=at, tenant="bank", caller=f"desk-{number % 100}", model=MODEL, deadline_ms=1,
        job_digests=(bytes(32),), fields=REQUEST_FIELDS,
    )  # fmt: skip
    releases = [Release(**place, sequence=at + 1 + n, n=n, body=RELEASE_BODY) for n in range(RELEASES)]
    end = End(
        **place, sequence=at + 1 + RELEASES, end=Ending.COMPLETED, finish_reason="STOP",
        usage={"input_tokens": 150, "output_tokens": 16}, fields=END_FIELDS,
    )  # fmt: skip
    return [accept, *releases, end]


def command(home: Path, port_base: int, *arguments: str) -> tuple[float, int]:
    """Seconds and the highest resident bytes of a `strongroom audit` command."""
    environ = {**os.environ, "STRONGROOM_HOME": str(home), "STRONGROOM_PORT_BASE": str(port_base)}
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, "audit", *arguments], env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"strongroom audit {arguments[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


async def appends(service: LocalService, target: Path) -> dict[str, Any]:
    """A calm while, and a while of backup, of the same load."""
    async with (
        connect(service.address, service.gateway_token) as channel,
        TimedAppending(rpc.AuditServiceStub(channel)).running() as appending,
    ):
        assert isinstance(appending, TimedAppending)
        calm = await appending.measured(CALM_SECONDS)
        copying = asyncio.create_task(
            asyncio.to_thread(command, service.home, service.port - 3, "backup", str(target), "--json")
        )
        during: list[float] = []
        while not copying.done():
            during += await appending.measured(0.5)
        seconds, highest = await copying
    return {"calm": spread(calm), "during": spread(during), "backup_seconds": seconds, "backup_rss": highest}


def spread(seconds: list[float]) -> dict[str, float]:
    parts = statistics.quantiles([1000 * each for each in seconds], n=100)
    return {"count": len(seconds), "p50_ms": parts[49], "p99_ms": parts[98], "max_ms": 1000 * max(seconds)}


def measure(home: Path, records: int) -> dict[str, Any]:
    found: dict[str, Any] = {"records": records}
    found["bytes"] = {name: folder_bytes(home / "audit" / name) for name in ("journal", "tlog", "keys")}
    began = time.perf_counter()
    with local_service("audit", home) as service:
        found |= {"start_seconds": time.perf_counter() - began, "audit_pss": pss(service.pid)}
        backup = home / f"backup-{records}"
        found |= asyncio.run(appends(service, backup))
        found["audit_pss_after"] = pss(service.pid)
    elsewhere = home / f"restored-{records}"
    elsewhere.mkdir(mode=0o700)
    found["restore_seconds"], found["restore_rss"] = command(home, 0, "restore", str(backup), "--home", str(elsewhere))
    found["backup_bytes"] = json.loads((backup / "manifest.json").read_text())["total_bytes"]
    for folder in (backup, elsewhere):
        shutil.rmtree(folder)
    return found


def main() -> int:
    options = report.arguments("backup").parse_args()
    found, grown = [], 0
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        home = Path(folder)
        with local_service("audit", home):
            pass  # makes the keys and the log
        for records in RECORDS:
            grow(home, records - grown)
            grown = records
            found.append(measure(home, records))
    print(report.table(*_log_table(found)))
    print("\n" + report.table(*_append_table(found)))
    report.write(options.json, {"logs": found})
    return 0


def _log_table(found: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    header = ("records", "journal MiB", "tiles MiB", "start s", "audit MiB", "backup s", "its MiB", "restore s", "MiB")
    rows = [
        (
            each["records"], each["bytes"]["journal"] / MIB, each["bytes"]["tlog"] / MIB, each["start_seconds"],
            each["audit_pss"] / MIB, each["backup_seconds"], each["backup_rss"] / MIB, each["restore_seconds"],
            each["restore_rss"] / MIB,
        )
        for each in found
    ]  # fmt: skip
    return header, rows


def _append_table(found: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    header = ("appends until durable, ms", "count", "p50", "p99", "longest")
    rows = [
        (f"{each['records']} records, {what}", *(each[name][part] for part in ("count", "p50_ms", "p99_ms", "max_ms")))
        for each in found
        for name, what in (("calm", "calm"), ("during", "during a backup"))
    ]
    return header, rows


if __name__ == "__main__":
    sys.exit(main())
