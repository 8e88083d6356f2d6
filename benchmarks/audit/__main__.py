"""The index of a log of so many records: made from the journal, searched, and a quarter of them exported."""

from __future__ import annotations

import os
import resource
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.export.package import package
from strongroom.export.take import take
from strongroom.verify import verify_export

from benchmarks import report
from benchmarks.audit.texts import Texts, queries
from benchmarks.sizes import folder_bytes
from services.audit.export_stream import messages
from services.audit.exporting import Export
from services.audit.index.files import IndexFolder
from services.audit.index.follower import Follower
from services.audit.index.record_keys import TreeKeys
from services.audit.index.search import MOST_COUNTED, Filter, search
from services.audit.journal.reading import JournalReader
from services.audit.records.entries import Accept, End, Ending
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer

SEED, QUERIES, PAGE, GROUP_RECORDS = 7, 200, 20, 64
TENANTS, CALLERS = 4, 100


def grow(folders: Folders, records: int) -> float:
    """Through the writer itself; seconds that it took."""
    began, texts, boot = time.perf_counter(), Texts(SEED), secrets.token_hex(8)
    writer = Writer(folders, Clock(time.time, time.monotonic))
    with closing(writer):
        for first in range(0, records, GROUP_RECORDS):
            count = min(GROUP_RECORDS, records - first)
            items = [item for n in range(first, first + count) for item in _record(boot, n, texts)]
            failed = [answer for answer in writer.commit(items) if isinstance(answer, Exception)]
            assert not failed, failed[0]
        writer.stop()
    return time.perf_counter() - began


def _record(boot: str, number: int, texts: Texts) -> list[Item]:
    place: dict[str, Any] = {"record_id": f"{number:012x}{secrets.token_hex(10)}", "boot": boot}
    accept = Accept(
        **place, sequence=2 * number, tenant=f"tenant-{number % TENANTS}", caller=f"desk-{number % CALLERS}",
        model="deepseek", deadline_ms=1, job_digests=(bytes(32),), fields=texts.request(),
    )  # fmt: skip
    end = End(
        **place, sequence=2 * number + 1, end=Ending.COMPLETED, finish_reason="STOP",
        reason="advice/2" if number % 50 == 0 else "", usage={"input_tokens": 150, "output_tokens": 60},
        fields=texts.answer(),
    )  # fmt: skip
    return [accept, end]


def rebuild(index: Follower, records: int) -> dict[str, float]:
    cpu, began = time.process_time(), time.perf_counter()
    asked = index.rebuild()  # before it starts, so that it does not first catch up
    index.start()
    asked.wait(24 * 3600)
    assert asked.finished and not asked.failed
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "records_a_second": records / seconds,
        "cpu_us_a_record": (time.process_time() - cpu) / records * 1e6,
        "highest_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def searches(index: Follower) -> dict[str, Any]:
    """First pages with their counts, one query after the other, each asked for the first time."""
    kinds: dict[str, list[float]] = {"all": [], "two Chinese characters": [], "with a caller": []}
    found = 0
    for query in queries(QUERIES, SEED):
        seconds, page = _timed(index, Filter(text=query))
        kinds["all"].append(seconds)
        found += bool(page)
        if len(query) == 2 and not query.isascii():
            kinds["two Chinese characters"].append(seconds)
        kinds["with a caller"].append(_timed(index, Filter(text=query, tenant="tenant-1", caller="desk-1"))[0])
    return {"found": found, "counted_to": MOST_COUNTED, **{kind: _spread(times) for kind, times in kinds.items()}}


def export(index: Follower, writer: Writer, folder: Path) -> dict[str, float]:
    """One tenant's records, made into a ZIP and verified: all but the wire."""
    signed = writer.checkpoint_of(index.leaves)
    start = pb.ExportStart(checkpoint=signed.note, verifier_key=writer.verifier_key)

    def ask(request: pb.ExportRecordsRequest) -> Iterator[pb.ExportRecordsResponse]:
        yield pb.ExportRecordsResponse(start=start)
        made = Export(index.store, writer.stored, writer.tree, signed)
        yield from messages(made.records(Filter(tenant="tenant-1"), None))

    began = time.perf_counter()
    taken = take(folder / "parts", "", pb.RecordFilter(), "benchmark", ask, lambda done, total: None)
    streamed = time.perf_counter() - began
    package(folder / "parts", taken, folder / "export.zip", {"reason": "benchmark", "filter": {}})
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    assert verify_export(folder / "export.zip").exit_code == 0
    return {
        "records": taken.lines["records.jsonl"],
        "streamed_seconds": streamed,
        "seconds": seconds,
        "verify_seconds": time.perf_counter() - began,
        "bytes": (folder / "export.zip").stat().st_size,
    }


def _timed(index: Follower, wanted: Filter) -> tuple[float, int]:
    began = time.perf_counter()
    page = search(index.store, wanted, None, PAGE)
    return time.perf_counter() - began, len(page.found)


def _spread(seconds: list[float]) -> dict[str, float]:
    parts = statistics.quantiles([1000 * each for each in seconds], n=100)
    return {"count": len(seconds), "p50_ms": parts[49], "p95_ms": parts[94], "max_ms": 1000 * max(seconds)}


def measure(home: Path, records: int, check: bool) -> dict[str, Any]:
    folders = Folders(home / "audit", home / "keys")
    found: dict[str, Any] = {"records": records, "grow_seconds": grow(folders, records)}
    with closing(Writer(folders, Clock(time.time, time.monotonic))) as writer:
        folder = IndexFolder(folders.index, writer.provider)
        journal, keys = JournalReader(folders.journal, writer.origin), TreeKeys(writer.custody.keys)
        with closing(Follower(journal, keys, folder, lambda: writer.publisher.published)) as index:
            found["rebuild"] = rebuild(index, records)
            found["bytes"] = {name: folder_bytes(home / "audit" / name) for name in ("journal", "index")}
            found["search"] = searches(index)
            found["export"] = export(index, writer, home)
            if check:
                began = time.perf_counter()
                *_, result = index.check()
                assert not result.problems, result.problems
                found["check_records_a_second"] = records / (time.perf_counter() - began)
    return found


def main() -> int:
    parser = report.arguments("audit")
    parser.add_argument("--records", type=int, default=20_000, metavar="N", help="of the log (20,000)")
    parser.add_argument("--check", action="store_true", help="compare every row with the journal too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-", dir=os.environ.get("TMPDIR")) as folder:
        found = measure(Path(folder), options.records, options.check)
    made = found["rebuild"]
    print(report.table(("index", "value"), _index_rows(found, made)))
    kinds = [(kind, values) for kind, values in found["search"].items() if isinstance(values, dict)]
    rows = [(kind, each["count"], each["p50_ms"], each["p95_ms"], each["max_ms"]) for kind, each in kinds]
    print("\n" + report.table(("first page and count", "queries", "p50 ms", "p95 ms", "max ms"), rows))
    report.write(options.json, {"index": found})
    return 0


def _index_rows(found: dict[str, Any], made: dict[str, float]) -> list[tuple[str, Any]]:
    size, left = found["bytes"], found["export"]
    return [
        ("records", found["records"]),
        ("rebuild, records/s", made["records_a_second"]),
        ("CPU a record, µs", made["cpu_us_a_record"]),
        ("highest memory, MiB", made["highest_rss"] / 2**20),
        ("journal, bytes a record", size["journal"] / found["records"]),
        ("index, bytes a record", size["index"] / found["records"]),
        ("queries that found something", found["search"]["found"]),
        ("exported with proofs, records", left["records"]),
        ("export, s, verified", left["seconds"]),
        ("of it streaming, s", left["streamed_seconds"]),
        ("verification again, s", left["verify_seconds"]),
        ("export, bytes a record", left["bytes"] / left["records"]),
        *([("check, records/s", found["check_records_a_second"])] if "check_records_a_second" in found else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
