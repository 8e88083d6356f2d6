"""Audit: appended to by 64 callers with its index behind, and a log of so many records: indexed, searched, exported."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.audit import appending, reading
from benchmarks.audit.growing import SEED, grow
from services.audit.writer import Folders


def main() -> int:
    parser = report.arguments("audit")
    parser.add_argument("--records", type=int, default=20_000, metavar="N", help="of the log that is read (20,000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the 64 callers (10)")
    parser.add_argument("--only", choices=("appends", "index"), help="one half alone")
    parser.add_argument("--refused", action="store_true", help="records of one entry each: half the time to make them")
    parser.add_argument("--no-rebuild", action="store_true", help="make the index once: by following, from nothing")
    parser.add_argument("--check", action="store_true", help="compare every row with the journal too")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.only != "index":
        found["appends"] = asyncio.run(appending.measure(options.seconds, SEED))
        print(report.table(("64 callers, two streams", "value"), _append_rows(found["appends"])))
    if options.only != "appends":
        found["index"] = _index(options)
        print(report.table(("index", "value"), _index_rows(found["index"])))
        kinds = [(kind, each) for kind, each in found["index"]["search"].items() if isinstance(each, dict)]
        rows = [(kind, each["count"], each["p50_ms"], each["p95_ms"], each["max_ms"]) for kind, each in kinds]
        print("\n" + report.table(("first page and count", "queries", "p50 ms", "p95 ms", "max ms"), rows))
    report.write(options.json, found)
    return 0


def _index(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-", dir=os.environ.get("TMPDIR")) as folder:
        home = Path(folder)
        seconds = grow(Folders(home / "audit", home / "keys"), options.records, options.refused)
        made = reading.measure(home, options.records, SEED, options.check, not options.no_rebuild)
        return {"grow_seconds": seconds, "entries_a_record": 1 if options.refused else 2, **made}


def _append_rows(found: dict[str, float]) -> list[tuple[str, Any]]:
    return [
        ("entries/s", found["entries_a_second"]),
        ("audit's CPU an entry, ms", found["cpu_ms_an_entry"]),
        ("entries a group", found["entries_a_group"]),
        ("bytes an entry", found["bytes_an_entry"]),
        ("floor at this grouping, entries/s", found["floor_entries_a_second"]),
        ("a lone append, p50 ms", found["lone_p50_ms"]),
        ("bare fdatasync, p50 ms", found["floor_sync_p50_ms"]),
        ("index behind at the end, entries", found["index_lag_entries"]),
        ("for, s", found["index_lag_seconds"]),
        ("caught up after, s", found["index_catch_up_seconds"]),
        ("catching up, entries/s", found["index_catch_up_entries_a_second"]),
        ("the index's CPU an entry, ms", found["index_cpu_ms_an_entry"]),
    ]


def _index_rows(found: dict[str, Any]) -> list[tuple[str, Any]]:
    made, size, left = found["catch_up"], found["bytes"], found["export"]
    return [
        ("records", found["records"]),
        ("followed from nothing, records/s", made["records_a_second"]),
        *([("rebuild, records/s", found["rebuild"]["records_a_second"])] if "rebuild" in found else []),
        ("CPU a record, µs", made["cpu_us_a_record"]),
        ("highest memory, MiB", made["highest_rss"] / 2**20),
        ("journal, bytes a record", size["journal"] / found["records"]),
        ("index, bytes a record", size["index"] / found["records"]),
        ("queries that found something", found["search"]["found"]),
        ("one caller's records, with proofs", left["records"]),
        ("exported and verified, s", left["seconds"]),
        ("of it streaming, s", left["streamed_seconds"]),
        ("verification again, s", left["verify_seconds"]),
        ("export, bytes a record", left["bytes"] / left["records"]),
        ("deep verification of the log, entries/s", found["verify_entries_a_second"]),
        *([("check, records/s", found["check_records_a_second"])] if "check_records_a_second" in found else []),
    ]


if __name__ == "__main__":
    sys.exit(main())
