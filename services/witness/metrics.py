"""The names of a witness' metrics."""

from __future__ import annotations

from chassis.metrics import Label, Metrics
from services.witness.memory import Memory

STATUS = Label("status", ("200", "400", "403", "404", "408", "409", "413", "422"))
LOG = Label("log", room=64)


class WitnessMetrics(Metrics):
    def __init__(self) -> None:
        super().__init__()
        self._submissions = self.counters(
            "strongroom_witness_submissions_total", "Checkpoints submitted, by the HTTP status of the answer.", STATUS
        )

    def answered(self, status: int) -> None:
        self._submissions.of(str(status)).inc()

    def watch(self, memory: Memory) -> None:
        self.gauge_by(
            "strongroom_witness_cosigned_entries",
            "Entries that the newest cosigned checkpoint of a log covers.",
            LOG,
            lambda: {origin: newest.size for origin in memory.logs if (newest := memory.newest(origin))},
        )
