"""Audit alone: CPU per journal entry by kind, entries per second, and both for the whole service over its stream.

The writer, in this process: groups of one kind, each made durable with one fdatasync. The floor, in turn with it: the
same bytes in the same groups, appended and synced bare. The service, as a process of its own: records opened, released
piece by piece and ended by callers in a closed loop, and once by eight whose pieces come every 20 ms, and its CPU read
from the kernel.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2_grpc as rpc

from benchmarks.journal_load import END_FIELDS, MODEL, RELEASE_BODY, REQUEST_FIELDS, Appending, record_id
from benchmarks.local_service import LocalService, local_service
from benchmarks.report import arguments, machine, table, write
from chassis.client import connect
from services.audit.records.entries import Accept, End, Ending, Release
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer

GROUPS = (1, 8, 64)
RELEASES = 8  # of a record, as a 64-token stream has
BEAT = 0.02  # seconds; a decode step
# Callers, releases a record, seconds between entries: 0 is a closed loop.
LOADS = {
    **{f"{callers} · {releases}": (callers, releases, 0.0) for releases in (1, RELEASES) for callers in (1, 8, 64)},
    f"8 · {RELEASES} · every 20 ms": (8, RELEASES, BEAT),
}
SECONDS, ROUNDS = 3.0, 3
KINDS = ("ACCEPTED", "RELEASE", "END")
BOOT = "benchmark"


@dataclass
class Spent:
    """What a kind of entry cost so far."""

    entries: int = 0
    groups: int = 0
    size: int = 0  # bytes of frames
    cpu: float = 0.0
    wall: float = 0.0
    floor_cpu: float = 0.0
    floor_wall: float = 0.0

    def figures(self) -> dict[str, float]:
        return {
            "cpu_us_per_entry": self.cpu / self.entries * 1e6,
            "entries_per_second": self.entries / self.wall,
            "floor_cpu_us_per_entry": self.floor_cpu / self.entries * 1e6,
            "floor_entries_per_second": self.entries / self.floor_wall,
            "bytes_per_entry": self.size / self.entries,
        }


class Bare:
    """The floor: a file that is allocated already, appended to and synced."""

    def __init__(self, path: Path, size: int = 64 * 1024 * 1024) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._file, bytes(size), 0)
        os.fsync(self._file)
        self._size, self._at = size, 0

    def append(self, size: int) -> None:
        if self._at + size > self._size:
            self._at = 0
        os.pwrite(self._file, b"\x5a" * size, self._at)
        self._at += size
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class Boot:
    """Makes the items of whole records, in groups of one kind."""

    def __init__(self, group: int) -> None:
        self._group, self._sequence = group, -1

    def _place(self, record: str) -> dict[str, Any]:
        self._sequence += 1
        return {"record_id": record, "boot": BOOT, "sequence": self._sequence}

    def groups(self) -> list[tuple[str, list[Item]]]:
        """The entries of `group` records: all ACCEPTED, each RELEASE, all END."""
        records = [record_id() for _ in range(self._group)]
        groups: list[tuple[str, list[Item]]] = [("ACCEPTED", [self._accept(record) for record in records])]
        for n in range(RELEASES):
            groups.append(("RELEASE", [Release(**self._place(record), n=n, body=RELEASE_BODY) for record in records]))
        return [*groups, ("END", [self._end(record) for record in records])]

    def _accept(self, record: str) -> Accept:
        return Accept(
            **self._place(record),
            tenant="development",
            caller="developer",
            model=MODEL,
            trace_id="0af7651916cd43dd8448eb211c80319c",
            deadline_ms=int(time.time() * 1000) + 60_000,
            job_digests=(bytes(32),),
            fields=REQUEST_FIELDS,
        )

    def _end(self, record: str) -> End:
        usage = {"input_tokens": 150, "output_tokens": 16}
        return End(**self._place(record), end=Ending.COMPLETED, finish_reason="STOP", usage=usage, fields=END_FIELDS)


def measure_writer(folder: Path, group: int, seconds: float) -> dict[str, Spent]:
    """Commits groups for `seconds`, each followed by the floor's append of as many bytes."""
    spent: dict[str, Spent] = defaultdict(Spent)
    writer = Writer(Folders(folder / "audit", folder / "keys"), Clock(time.time, time.monotonic))
    bare, boot = Bare(folder / "bare"), Boot(group)
    until = time.perf_counter() + seconds
    try:
        while time.perf_counter() < until:
            for kind, items in boot.groups():
                _commit(writer, bare, spent[kind], items)
    finally:
        bare.close()
        writer.close()
    return spent


def _commit(writer: Writer, bare: Bare, spent: Spent, items: Sequence[Item]) -> None:
    before = writer.journal.bytes_written
    cpu, wall = time.process_time(), time.perf_counter()
    answers = writer.commit(items)
    spent.cpu += time.process_time() - cpu
    spent.wall += time.perf_counter() - wall
    wrong = [answer for answer in answers if isinstance(answer, Exception)]
    if wrong:
        raise RuntimeError("an entry was refused") from wrong[0]
    size = writer.journal.bytes_written - before
    cpu, wall = time.process_time(), time.perf_counter()
    bare.append(size)
    spent.floor_cpu += time.process_time() - cpu
    spent.floor_wall += time.perf_counter() - wall
    spent.entries += len(items)
    spent.groups += 1
    spent.size += size


async def measure_service(
    service: LocalService, callers: int, releases: int, seconds: float, beat: float
) -> dict[str, float]:
    """Over one append stream each caller opens a record, releases its pieces and ends it."""
    async with (
        connect(service.address, service.gateway_token) as channel,
        Appending(rpc.AuditServiceStub(channel)).running() as appending,
    ):
        await appending.load(callers, releases, 0.5)  # warm
        cpu, counted = service.cpu_seconds(), service.counters("strongroom_audit_")
        began = time.perf_counter()
        records = await appending.load(callers, releases, seconds, beat)
        wall = time.perf_counter() - began
        cpu, after = service.cpu_seconds() - cpu, service.counters("strongroom_audit_")
    entries = after["entries"] - counted["entries"]
    return {
        "cpu_ms_per_record": cpu * 1000 / records,
        "cpu_us_per_entry": cpu * 1e6 / entries,
        "entries_per_second": entries / wall,
        "entries_per_group": entries / max(1, after["commit_groups"] - counted["commit_groups"]),
        "fsyncs_per_record": (after["fsyncs"] - counted["fsyncs"]) / records,
    }


def best(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The round that cost least CPU: on a machine that others use too, the others only ever add to it."""
    return min(rounds, key=lambda one: one["cpu_us_per_entry"])


def measure_writers(rounds: int, seconds: float) -> dict[str, dict[int, dict[str, float]]]:
    found: dict[str, dict[int, dict[str, float]]] = {kind: {} for kind in KINDS}
    for group in GROUPS:
        measured = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
                measured.append(measure_writer(Path(folder), group, seconds))
        for kind in KINDS:
            found[kind][group] = best([one[kind].figures() for one in measured])
    return found


async def measure_services(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    with local_service("audit") as service:
        for name, (callers, releases, beat) in LOADS.items():
            measured = [await measure_service(service, callers, releases, seconds, beat) for _ in range(rounds)]
            found[name] = best(measured)
    return found


def main() -> None:
    parser = arguments("journal")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the cheapest is shown")
    parser.add_argument("--only", choices=("writer", "service"), help="one half alone")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if options.only != "service":
        result["writer"] = measure_writers(options.rounds, options.seconds)
    if options.only != "writer":
        result["service"] = asyncio.run(measure_services(options.rounds, options.seconds))
    show(result)
    write(options.json, result)


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    header = ["writer", "group", "CPU µs", "entries/s", "floor CPU µs", "floor entries/s", "bytes"]
    rows = [
        [kind, group, *figures.values()]
        for kind, groups in result.get("writer", {}).items()
        for group, figures in groups.items()
    ]
    if rows:
        print("\n" + table(header, rows))
    header = ["service: callers · releases", "CPU ms/record", "CPU µs/entry", "entries/s", "entries/group", "fsyncs"]
    rows = [[name, *figures.values()] for name, figures in result.get("service", {}).items()]
    if rows:
        print("\n" + table(header, rows))


if __name__ == "__main__":
    main()
