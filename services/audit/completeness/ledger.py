"""Keeps the counts of all gateway boots: of the log's entries as they are written, and the workers' word in it."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from services.audit.completeness.counts import BootCounts, Difference, Ended, Kind, WorkerCount

log = logging.getLogger(__name__)

JOBS_COUNTED = "JOBS_COUNTED"  # acts: a worker's word of one gateway boot
DIFFERENCE_EXPLAINED = "DIFFERENCE_EXPLAINED"  # and a person's
COMPLETED = "COMPLETED"
WORKERS, PEOPLE = "inference", "audit"  # the services that such acts come through
SNAPSHOT = "boots"  # in the detail of a CONTROL entry
# A worker tells its counts every 30 seconds.
SETTLED_SECONDS = 120.0
SAMPLE_SECONDS = 15.0
SNAPSHOT_SECONDS = 600.0  # what came after is opened again at a start
KEPT_BOOTS = 64  # that are in order: late counts of a boot that is forgotten would be of one that the log never knew
MOST_BOOTS = 4_096  # of which most differ, then
_MOST = 2**53 - 1


class _Sample(NamedTuple):
    at: float  # monotonic
    ended: Ended


class Ledger:
    """Owned by whoever commits, one group at a time."""

    def __init__(self, monotonic: Callable[[], float], settled_seconds: float = SETTLED_SECONDS) -> None:
        self._now, self._settled_seconds = monotonic, settled_seconds
        self._boots: OrderedDict[str, BootCounts] = OrderedDict()  # the one that changed last at the end
        self._samples: dict[str, deque[_Sample]] = {}
        self._sampled = monotonic()
        self._kept = monotonic()  # when the last snapshot was taken

    def _of(self, boot: str) -> BootCounts:
        counts = self._boots.setdefault(boot, BootCounts())
        self._boots.move_to_end(boot)
        return counts

    # --- from the log -------------------------------------------------------------------------------------------------

    def accepted(self, boot: str, jobs: int) -> None:
        self._of(boot).accepted += jobs

    def ended(self, boot: str, jobs: int, header: Mapping[str, Any]) -> None:
        """`header`: of the END."""
        counts = self._of(boot)
        if header["end"] == COMPLETED:
            tokens = header["usage"].get("output_tokens", 0)
            counts.ended = Ended(counts.ended.jobs + jobs, counts.ended.tokens + tokens)
        else:
            counts.otherwise += jobs

    def missing(self, boot: str, entries: int) -> None:
        self._of(boot).missing += entries

    def act(self, service: str, action: str, target: str, detail: bytes) -> None:
        """What a worker counted, or a person explained; no other act says anything here."""
        if (service, action) == (WORKERS, JOBS_COUNTED):
            self._counted(target, detail)
        elif (service, action) == (PEOPLE, DIFFERENCE_EXPLAINED):
            differences = json.loads(detail)["differences"]
            self._of(target).explained |= {Kind(kind): count for kind, count in differences.items()}

    def _counted(self, boot: str, detail: bytes) -> None:
        try:
            said = json.loads(detail)
            worker, count = str(said["worker"])[:64], WorkerCount(*(_count(said[name]) for name in WorkerCount._fields))
        except (ValueError, KeyError, TypeError):
            log.error("the count of a worker cannot be read")
            return
        if boot not in self._boots and len(self._boots) >= MOST_BOOTS:
            log.error("a worker counted for one gateway process more than can be kept: explain the others first")
            return
        workers = self._of(boot).workers
        workers[worker] = workers.get(worker, count).or_later(count)

    # --- in time ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Now and again: what ended a while ago is settled, and the oldest boots that are in order are forgotten."""
        now = self._now()
        if now - self._sampled >= SAMPLE_SECONDS:
            self._sampled = now
            for boot, counts in self._boots.items():
                self._sample(boot, counts.ended, now)
        for boot, samples in self._samples.items():
            while samples and samples[0].at <= now - self._settled_seconds:
                self._boots[boot].settled = samples.popleft().ended
        self._forget()

    def _sample(self, boot: str, ended: Ended, now: float) -> None:
        samples = self._samples.setdefault(boot, deque())
        if (samples[-1].ended if samples else self._boots[boot].settled) != ended:
            samples.append(_Sample(now, ended))

    def _forget(self) -> None:
        if len(self._boots) <= KEPT_BOOTS:
            return
        in_order = [boot for boot, counts in self._boots.items() if counts.in_order]
        for boot in in_order[: len(self._boots) - KEPT_BOOTS]:
            del self._boots[boot]
            self._samples.pop(boot, None)

    # --- for readers --------------------------------------------------------------------------------------------------

    def boots(self) -> Iterable[tuple[str, BootCounts]]:
        """The one that changed last first."""
        return list(reversed(self._boots.items()))

    def open_differences(self) -> list[Difference]:
        """What is not explained. While there is one, the log cannot be called complete, and nothing is exported."""
        return [
            Difference(boot, kind, count)
            for boot, counts in self.boots()
            for kind, count in counts.unexplained().items()
        ]

    # --- over a restart -----------------------------------------------------------------------------------------------

    def snapshot(self, *, now: bool) -> dict[str, object]:
        """All of it, as part of an entry that the log writes anyway: a start reads on from there."""
        if not now and self._now() - self._kept < SNAPSHOT_SECONDS:
            return {}
        self._kept = self._now()
        return {SNAPSHOT: {boot: _written(counts) for boot, counts in self._boots.items()}}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """What entries are missing is seen anew at each start, and was noted before."""
        for boot, kept in snapshot.items():
            missing = self._of(boot).missing
            self._boots[boot] = BootCounts(
                accepted=kept["accepted"],
                ended=Ended(*kept["ended"]),
                otherwise=kept["otherwise"],
                missing=missing,
                workers={worker: WorkerCount(*count) for worker, count in kept["workers"].items()},
                explained={Kind(kind): count for kind, count in kept["explained"].items()},
            )


def _written(counts: BootCounts) -> dict[str, object]:
    return {
        "accepted": counts.accepted,
        "ended": list(counts.ended),
        "otherwise": counts.otherwise,
        "workers": {worker: list(count) for worker, count in counts.workers.items()},
        "explained": {kind.value: count for kind, count in counts.explained.items()},
    }


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError("not a count")
    return value
