"""The index of a log as it stands: made again, searched, and one caller's records taken from it and verified."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.export.package import package
from strongroom.export.take import take
from strongroom.verify import VERIFIES, verify_export, verify_home

from benchmarks.audit.processes import child_of, highest_rss
from benchmarks.audit.texts import queries
from benchmarks.local_stack import cpu_seconds
from benchmarks.sizes import folder_bytes
from services.audit.export_stream import messages
from services.audit.exporting import Export
from services.audit.index.files import IndexFolder
from services.audit.index.process import IndexProcess
from services.audit.index.search import MOST_COUNTED, Filter, search
from services.audit.records.planning import Clock
from services.audit.writer import Folders, Writer

QUERIES, PAGE = 200, 20
CALLER = Filter(tenant="tenant-1", caller="desk-1")


def measure(home: Path, records: int, seed: int, check: bool, rebuild: bool) -> dict[str, Any]:
    folders = Folders(home / "audit", home / "keys")
    with closing(Writer(folders, Clock(time.time, time.monotonic))) as writer:
        # It gives way to nothing: how fast it is, not how patient.
        with closing(started(folders, writer, gives_way_seconds=0.0)) as index:
            found: dict[str, Any] = {"records": records, "catch_up": caught_up(index, writer, records)}
            if rebuild:
                found["rebuild"] = rebuilt(index, records)
            found["bytes"] = {name: folder_bytes(home / "audit" / name) for name in ("journal", "index")}
            found["search"] = searches(index, seed)
            found["export"] = export(index, writer, home)
            if check:
                began = time.perf_counter()
                *_, result = index.check()
                assert not result.problems, result.problems
                found["check_records_a_second"] = records / (time.perf_counter() - began)
        writer.stop()
    found["verify_entries_a_second"] = verified(home)
    return found


def started(folders: Folders, writer: Writer, **settings: Any) -> IndexProcess:
    places = {"journal": str(folders.journal), "tlog": str(folders.tlog), "index": str(folders.index)}
    index = IndexProcess(
        {**places, "vkey": writer.verifier_key, "kept_free_bytes": 0},  # type: ignore[typeddict-item]
        IndexFolder(folders.index, writer.provider),
        writer.custody.keys,
        lambda: writer.publisher.published,
        **settings,
    )
    index.start()
    return index


def caught_up(index: IndexProcess, writer: Writer, records: int) -> dict[str, float]:
    """From nothing, as it follows the log."""
    began = time.perf_counter()
    while index.leaves < writer.publisher.published:
        time.sleep(0.1)
    seconds, process = time.perf_counter() - began, child_of(os.getpid())
    return {
        "seconds": seconds,
        "records_a_second": records / seconds,
        "cpu_us_a_record": cpu_seconds(process) / records * 1e6,
        "highest_rss": highest_rss(process),
    }


def rebuilt(index: IndexProcess, records: int) -> dict[str, float]:
    process = child_of(os.getpid())
    cpu, began = cpu_seconds(process), time.perf_counter()
    asked = index.rebuild()
    asked.wait(24 * 3600)
    assert asked.finished and not asked.failed
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "records_a_second": records / seconds,
        "cpu_us_a_record": (cpu_seconds(process) - cpu) / records * 1e6,
    }


def searches(index: IndexProcess, seed: int) -> dict[str, Any]:
    """First pages with their counts, one query after the other, each asked for the first time."""
    kinds: dict[str, list[float]] = {"all": [], "two Chinese characters": [], "with a caller": []}
    found = 0
    for query in queries(QUERIES, seed):
        seconds, page = _timed(index, Filter(text=query))
        kinds["all"].append(seconds)
        found += bool(page)
        if len(query) == 2 and not query.isascii():
            kinds["two Chinese characters"].append(seconds)
        kinds["with a caller"].append(_timed(index, Filter(text=query, tenant="tenant-1", caller="desk-1"))[0])
    return {"found": found, "counted_to": MOST_COUNTED, **{kind: _spread(times) for kind, times in kinds.items()}}


def _timed(index: IndexProcess, wanted: Filter) -> tuple[float, int]:
    began = time.perf_counter()
    page = search(index.store, wanted, None, PAGE)
    return time.perf_counter() - began, len(page.found)


def _spread(seconds: list[float]) -> dict[str, float]:
    parts = statistics.quantiles([1000 * each for each in seconds], n=100)
    return {"count": len(seconds), "p50_ms": parts[49], "p95_ms": parts[94], "max_ms": 1000 * max(seconds)}


def export(index: IndexProcess, writer: Writer, folder: Path) -> dict[str, float]:
    """One caller's records, made into a ZIP and verified: all but the wire."""
    signed = writer.checkpoint_of(index.leaves)
    start = pb.ExportStart(checkpoint=signed.note, verifier_key=writer.verifier_key)

    def ask(request: pb.ExportRecordsRequest) -> Iterator[pb.ExportRecordsResponse]:
        yield pb.ExportRecordsResponse(start=start)
        made = Export(index.store, writer.stored, writer.tree, signed)
        yield from messages(made.records(CALLER, None), made.left_out)

    began = time.perf_counter()
    taken = take(folder / "parts", "", pb.RecordFilter(), "benchmark", ask, lambda done, total: None)
    streamed = time.perf_counter() - began
    package(folder / "parts", taken, folder / "export.zip", {"reason": "benchmark", "filter": {}})
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    assert verify_export(folder / "export.zip").exit_code == VERIFIES
    return {
        "records": taken.lines["records.jsonl"],
        "streamed_seconds": streamed,
        "seconds": seconds,
        "verify_seconds": time.perf_counter() - began,
        "bytes": (folder / "export.zip").stat().st_size,
    }


def verified(home: Path) -> float:
    """Entries a second of the whole log, in this process: every byte of it, as `strongroom-verify` does."""
    began = time.perf_counter()
    report = verify_home(home)
    assert report.exit_code == VERIFIES, report
    return sum(report.entries.values()) / (time.perf_counter() - began)
