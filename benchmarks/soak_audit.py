"""Audit under a million appends: what it keeps in memory, how far its index falls behind, whether the log verifies.

64 callers over two streams append to audit as a process, as fast as they are answered. Once what is bounded is full,
neither its memory nor that of the process that writes the index may grow. Ends with 1 when that is broken, or when the
log does not verify.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.audit.appending import STREAMS, caught_up, gauge, loaded, stream
from benchmarks.audit.processes import child_of, pss
from benchmarks.local_service import LocalService, local_service
from benchmarks.report import arguments, machine, table, write

APPENDS, ROUND_SECONDS = 1_000_000, 10.0
MIB = 2**20
WARM_ENTRIES = 250_000  # until what is bounded is full: the 100,000 records that are found without reading the journal
ROOM = 16 * MIB  # by which the allocator may be less tidy at the end; the tree of 750,000 leaves more would be 52
INDEX_ROOM = 24 * MIB
INDEX_MOST = 160 * MIB  # of the process that writes the index: an interpreter, and 64 MiB that SQLite fills


@dataclass(frozen=True)
class Seen:
    """At one moment."""

    seconds: float
    entries: int
    audit: int  # bytes
    index: int
    behind: float  # entries

    @property
    def indexed(self) -> float:
        return self.entries - self.behind


async def soak(service: LocalService, appends: int, seed: int) -> tuple[list[Seen], float]:
    """What was seen, and how long the index took afterwards to catch up."""
    async with AsyncExitStack() as opened:
        streams = [await stream(opened, service, seed + n) for n in range(STREAMS)]
        seen, began = [_seen(service, 0.0)], time.perf_counter()
        while seen[-1].entries < appends:
            await loaded(streams, _round(seen, appends))
            seen.append(_seen(service, time.perf_counter() - began))
            print(_line(seen[-1]), flush=True)
        caught = await caught_up(service, seen[-1].behind)
        return [*seen, _seen(service, time.perf_counter() - began)], caught


def _round(seen: list[Seen], appends: int) -> float:
    """Shorter where few are left."""
    last = seen[-1]
    rate = last.entries / last.seconds if last.seconds else 0.0
    return min(ROUND_SECONDS, max(0.5, (appends - last.entries) / rate)) if rate else 2.0


def _seen(service: LocalService, seconds: float) -> Seen:
    entries = service.counters("strongroom_audit_")["entries"]
    behind = gauge(service, "strongroom_audit_index_lag_entries")
    return Seen(seconds, entries, pss(service.pid), pss(child_of(service.pid)), behind)


def _line(seen: Seen) -> str:
    return (
        f"{seen.seconds:7.0f} s {seen.entries:9d} entries  audit {seen.audit / MIB:6.1f} MiB"
        f"  index {seen.index / MIB:6.1f} MiB  behind {seen.behind:.0f}"
    )


def warm(seen: list[Seen], through: Callable[[Seen], float]) -> Seen:
    """The first look at which all that is bounded was full, or the middle one where that was never reached."""
    return next((each for each in seen if through(each) >= WARM_ENTRIES), seen[len(seen) // 2])


def broken(seen: list[Seen]) -> list[str]:
    last, begun = seen[-1], warm(seen, lambda each: each.entries)
    found = []
    if (grown := last.audit - begun.audit) > ROOM:
        found.append(f"audit grew by {grown / MIB:.1f} MiB, more than {ROOM / MIB:.0f}")
    most, filled = max(each.index for each in seen), warm(seen, lambda each: each.indexed)
    if most > INDEX_MOST:
        found.append(f"the process that writes the index took {most / MIB:.1f} MiB, more than {INDEX_MOST / MIB:.0f}")
    if filled.indexed >= WARM_ENTRIES and (grown := most - filled.index) > INDEX_ROOM:
        found.append(f"the index process grew by {grown / MIB:.1f} MiB, more than {INDEX_ROOM / MIB:.0f}")
    return found


def main() -> int:
    parser = arguments("soak_audit")
    parser.add_argument("--appends", type=int, default=APPENDS, metavar="N", help=f"entries ({APPENDS:,})")
    parser.add_argument("--seed", type=int, default=7, help="of the texts")
    options = parser.parse_args()
    print(" · ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="strongroom-soak-") as folder:
        with local_service("audit", Path(folder)) as service:
            seen, caught = asyncio.run(soak(service, options.appends, options.seed))
        verified = subprocess.run([sys.executable, "-m", "strongroom.verify", folder], check=False).returncode
    wrong = [*broken(seen), *([f"strongroom-verify says {verified}"] if verified else [])]
    print("\n" + table(("", "value"), _rows(seen, caught)))
    print("\n".join(wrong) or "\nmemory as promised, and the log verifies")
    write(
        options.json,
        {"seed": options.seed, "caught_up_seconds": caught, "seen": [vars(each) for each in seen], "broken": wrong},
    )
    return 1 if wrong else 0


def _rows(seen: list[Seen], caught: float) -> list[tuple[str, Any]]:
    loaded_for, last = seen[-2], seen[-1]
    begun, filled = warm(seen, lambda each: each.entries), warm(seen, lambda each: each.indexed)
    more = max(1, last.entries - begun.entries)
    return [
        ("entries/s", loaded_for.entries / loaded_for.seconds),
        ("index behind at the end, entries", loaded_for.behind),
        ("caught up after, s", caught),
        ("audit once warm, MiB", begun.audit / MIB),
        ("audit at the end, MiB", last.audit / MIB),
        ("audit, bytes an entry since then", (last.audit - begun.audit) / more),
        ("index process once warm, MiB", filled.index / MIB),
        ("index process at the end, MiB", last.index / MIB),
    ]


if __name__ == "__main__":
    sys.exit(main())
